"""`leadline label` with teachers that have nothing to say, and what it says of that."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.tiny_scenes import render, write_folder, write_photos

from leadline.core.errors import BadData
from leadline.core.spec import Kind
from leadline.data.batch import Batch
from leadline.data.label_set import open_labels
from leadline.data.layouts.detect import open_dataset
from leadline.distill.labelling.label import label
from leadline.distill.options import ExternalModel, Labelling, TeacherOptions
from leadline.distill.teachers import Teacher, build_teacher, ensemble

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_teacher_that_says_nothing_is_an_error_and_a_line_of_pixels_is_none(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "thin", [render(1, size=(600, 2)), render(2, size=(48, 64))])
    kind: Kind = "metric"

    def made(value: float, out: str) -> None:
        def ask(seen: Batch) -> torch.Tensor:
            if value < 0 and seen.image.shape[-1] == 2:
                raise ValueError("too thin")
            return torch.full_like(seen.image[:, :1], abs(value))

        list(
            label(
                lambda: Teacher("t", kind, ask),
                lambda: open_dataset(folder, "all"),
                "x",
                Labelling(out=tmp_path / out, split="all"),
            )
        )

    made(2.0, "a")
    assert len(open_labels(tmp_path / "a")) == 2 and open_labels(tmp_path / "a").manifest["no_prediction"] == 0
    made(-2.0, "b")
    assert [line["why"] for line in open_labels(tmp_path / "b").manifest["skipped"]] == ["too thin"]
    with pytest.raises(BadData, match=r"t has no prediction for any of 2 images"):
        made(float("nan"), "c")


def test_a_teacher_that_says_nothing_is_told_what_may_be_wrong(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "rooms", [render(seed, size=(48, 64)) for seed in range(2)])
    bare = write_photos(tmp_path / "bare")
    said = ExternalModel(kind="relative_disparity")

    def label_by(teachers: TeacherOptions, data: Path) -> None:
        list(
            label(
                lambda: build_teacher(teachers),
                lambda: open_dataset(data, "all"),
                "it",
                Labelling(out=tmp_path / "o", split="all"),
            )
        )

    with pytest.raises(BadData, match=r"it has no depth that could give depth its scale: state one \(--metric SCALE"):
        label_by(TeacherOptions(teacher=(str(folder / "depth"),), external=said, metric="truth"), bare)
    with pytest.raises(BadData, match=r"a fit that is upside down.* is its stated kind right"):
        label_by(TeacherOptions(teacher=(str(folder / "depth"),), external=said, metric="truth"), folder)
    (maps := tmp_path / "maps").mkdir()
    np.save(maps / "other.npy", np.ones((48, 64), np.float32))
    with pytest.raises(BadData, match=r"its maps are found by the pictures' names, such as images/\d+: is it"):
        label_by(TeacherOptions(teacher=(str(maps),), external=said), bare)
    hole = Teacher("hole", "metric", lambda seen: torch.zeros_like(seen.image[:, :1]))
    with pytest.raises(BadData, match=r"a metric teacher's numbers must be above 0"):
        list(label(lambda: hole, lambda: open_dataset(folder, "all"), "it", Labelling(out=tmp_path / "p", split="all")))


def test_who_of_several_says_nothing_is_counted(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "rooms", [render(seed, size=(48, 64)) for seed in range(3)])
    one = Teacher("one", "metric", lambda seen: torch.ones_like(seen.image[:, :1]))
    hole = Teacher("hole", "metric", lambda seen: torch.zeros_like(seen.image[:, :1]))
    list(
        label(
            lambda: ensemble([one, hole, hole]),
            lambda: open_dataset(folder, "all"),
            "it",
            Labelling(out=tmp_path / "o", split="all"),
        )
    )
    assert open_labels(tmp_path / "o").manifest["abstained"] == {"hole": 3}


def test_one_map_is_not_for_two_pictures_of_the_same_name(tmp_path: Path) -> None:
    for room in ("kitchen", "hall"):
        write_folder(tmp_path / room, [render(1, size=(48, 64))])
    (maps := tmp_path / "maps").mkdir()
    np.save(maps / "000.npy", np.ones((48, 64), np.float32))

    def label_by(teachers: TeacherOptions, out: str) -> None:
        data = lambda: open_dataset(tmp_path, "all", layout="unlabelled")  # noqa: E731
        list(label(lambda: build_teacher(teachers), data, "it", Labelling(out=tmp_path / out, split="all")))

    by_name = TeacherOptions(teacher=(str(maps),), external=ExternalModel(kind="relative_depth"))
    with pytest.raises(BadData, match=r"000\.npy would be the depth of hall/images/000 and of kitchen/images/000"):
        label_by(by_name, "a")
    with pytest.raises(BadData, match=r"000\.npy would be the depth of"):
        label_by(replace(by_name, metric="1,0"), "b")
    (maps / "hall" / "images").mkdir(parents=True)
    np.save(maps / "hall" / "images" / "000.npy", np.ones((48, 64), np.float32))
    label_by(by_name, "c")


def test_a_teacher_whose_weights_lie_beside_it_is_another_with_other_weights(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    weights = onnx.numpy_helper.from_array(np.full((1, 3, 1, 1), 0.2, np.float32), "w")
    place = [onnx.helper.make_tensor_value_info(n, 1, [1, c, 8, 8]) for n, c in (("in", 3), ("out", 1))]
    node = onnx.helper.make_node("Conv", ["in", "w"], ["out"])
    graph = onnx.helper.make_graph([node], "g", place[:1], place[1:], [weights])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)
    path = tmp_path / "net.onnx"
    onnx.save_model(model, path, save_as_external_data=True, location="w.data", size_threshold=0)
    teachers = TeacherOptions(teacher=(str(path),), external=ExternalModel(kind="metric"))
    before = build_teacher(teachers).facts["sha256"]
    assert build_teacher(teachers).facts["sha256"] == before
    values = np.fromfile(tmp_path / "w.data", np.float32)
    (3 * values).tofile(tmp_path / "w.data")
    assert build_teacher(teachers).facts["sha256"] != before
