"""`leadline label`: one image, or one answer, never stops the rest."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from support.png_bomb import bomb
from support.tiny_scenes import render, write_folder
from test_labelling import labelled

from leadline.core.errors import BadArtefact, BadData
from leadline.data.batch import Batch
from leadline.data.label_set import open_labels
from leadline.data.layouts.detect import open_dataset
from leadline.distill.labelling import shards
from leadline.distill.labelling.label import label
from leadline.distill.options import ExternalModel, Labelling
from leadline.distill.teachers import Answer, Teacher, ensemble, open_teacher

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def own(photos: Path, tmp_path: Path) -> Path:
    """A folder of photographs that may be changed."""
    return Path(shutil.copytree(photos, tmp_path / "photos"))


@pytest.mark.parametrize("error", [RuntimeError("too small"), IndexError("0"), ZeroDivisionError("0"), MemoryError("")])
def test_an_image_that_a_teacher_breaks_at_does_not_stop_the_rest(tmp_path: Path, error: Exception) -> None:
    folder = write_folder(tmp_path / "rooms", [render(seed, size=(24, 32)) for seed in range(4)])

    def ask(seen: Batch) -> torch.Tensor:
        if seen.name == ("001",):
            raise error
        return 1 + seen.image[:, :1]

    run = Labelling(out=tmp_path / "labels", split="all")
    list(label(lambda: Teacher("t", "metric", ask), lambda: open_dataset(folder, "all"), "x", run))
    [skipped] = open_labels(run.out).manifest["skipped"]
    assert skipped["name"] == "001" and skipped["why"] == (str(error) or type(error).__name__)


def test_folders_pipes_links_and_empty_files_named_as_photographs_do_not_stop_the_rest(
    own: Path, teacher: Path, tmp_path: Path
) -> None:
    images = own / "images"
    (images / "folder.jpg").mkdir()
    os.mkfifo(images / "pipe.jpg")
    (images / "nowhere.jpg").symlink_to(tmp_path / "nothing")
    (images / "itself.jpg").symlink_to(images / "itself.jpg")
    (images / "device.jpg").symlink_to("/dev/zero")
    (images / "empty.jpg").touch()
    labelled(own, teacher, tmp_path / "labels")
    made = open_labels(tmp_path / "labels")
    assert len(made) == 10
    left = {line["name"].split("/")[-1] for line in made.manifest["skipped"]}
    assert left >= {"empty", "006"} and not any(name.endswith("folder") for name in left)


def test_an_image_that_goes_away_between_two_looks_is_left_out(
    photos: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = shards.marks

    def gone(image: Any, file: Path | None) -> dict[str, str]:
        if file is not None and file.stem == "002":
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(file))
        return real(image, file)

    monkeypatch.setattr(shards, "marks", gone)
    labelled(photos, teacher, tmp_path / "labels")
    assert {line["name"][-1] for line in open_labels(tmp_path / "labels").manifest["skipped"]} == {"2", "6"}


@pytest.mark.parametrize("sure", [float("nan"), float("inf"), -3.0, 300.0])
def test_a_confidence_that_is_none_is_brought_to_0_to_1(sure: float) -> None:
    def ask(seen: Batch) -> Answer:
        return Answer(seen.image[:, :1], torch.full_like(seen.image[:, :1], sure))

    said = Teacher("t", "metric", ask)(Batch(torch.ones(1, 3, 4, 4), None, None, ("a",)))
    assert (said.confidence == (1.0 if sure > 1 else 0.0)).all()


def test_a_confidence_of_another_shape_is_an_error() -> None:
    odd = Teacher("t", "metric", lambda seen: Answer(seen.image[:, :1], torch.ones(1, 1, 2, 2)))
    with pytest.raises(ValueError, match=r"the teacher t gave .* and a confidence \(1, 1, 2, 2\)"):
        odd(Batch(torch.ones(1, 3, 4, 4), None, None, ("a",)))


@pytest.mark.parametrize("weight", [0.0, float("inf"), float("nan"), -1.0])
def test_weights_of_teachers_are_finite(weight: float) -> None:
    one = Teacher("t", "metric", lambda seen: seen.image[:, :1])
    with pytest.raises(ValueError, match=r"one above 0 for each, finite, is needed"):
        ensemble([one, one], [1.0, weight])


def net_of(path: Path, make: Any) -> Path:
    """An ONNX file of somebody else's: `make(helper)` gives its nodes, from `in` [1,3,8,8] to `out`."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    nodes, constants = make(onnx.helper)
    places = [
        onnx.helper.make_tensor_value_info("in", 1, [1, 3, 8, 8]),
        onnx.helper.make_tensor_value_info("out", 1, None),
    ]
    graph = onnx.helper.make_graph(nodes, "g", places[:1], places[1:], constants)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def not_a_number(make: Any) -> Any:
    zero = make.make_tensor("zero", 1, [1], [0.0])
    nodes = [make.make_node("Mul", ["in", "zero"], ["none"]), make.make_node("Div", ["none", "none"], ["nan"])]
    return [*nodes, make.make_node("ReduceMean", ["nan"], ["out"], axes=[1], keepdims=1)], [zero]


def one_number(make: Any) -> Any:
    return [make.make_node("ReduceMean", ["in"], ["out"], keepdims=0)], []


def several_channels(make: Any) -> Any:
    return [make.make_node("Identity", ["in"], ["out"])], []


def flat_list(make: Any) -> Any:
    return [make.make_node("Flatten", ["in"], ["out"])], []


@pytest.mark.parametrize("make", [one_number, several_channels, flat_list])
def test_a_net_that_gives_no_map_is_refused_as_it_is_opened(tmp_path: Path, make: Any) -> None:
    with pytest.raises(BadArtefact, match="one map is needed"):
        open_teacher(net_of(tmp_path / "net.onnx", make), ExternalModel(kind="metric"))


def test_a_net_that_gives_no_numbers_says_nothing(photos: Path, tmp_path: Path) -> None:
    net = net_of(tmp_path / "net.onnx", not_a_number)
    with pytest.raises(BadData, match=r"net has no prediction for any of 10 images; 1 more were left out"):
        list(label(lambda: open_teacher(net, ExternalModel(kind="metric")), lambda: open_dataset(photos, "train"), "x",
                   Labelling(out=tmp_path / "labels")))  # fmt: skip


@pytest.mark.parametrize("bad", ["a bomb", "half a file", "colours", "a folder", "nothing"])
def test_a_map_that_cannot_be_read_leaves_out_its_picture_alone(tmp_path: Path, bad: str) -> None:
    folder = write_folder(tmp_path / "rooms", [render(seed, size=(24, 32)) for seed in range(4)])
    maps = Path(shutil.copytree(folder / "depth", tmp_path / "maps"))
    one = maps / "001.png"
    if bad == "a bomb":
        one.write_bytes(bomb(20_000, 10_000))
    elif bad == "half a file":
        one.write_bytes(one.read_bytes()[:100])
    elif bad == "colours":
        shutil.copy(folder / "images" / "001.png", one)
    elif bad == "nothing":
        one.write_bytes(b"")
    else:
        one.unlink()
        one.mkdir()
    said = ExternalModel(kind="metric", depth_scale=1000.0)
    run = Labelling(out=tmp_path / "labels", split="all")
    list(label(lambda: open_teacher(maps, said), lambda: open_dataset(folder, "all"), "x", run))
    made = open_labels(run.out)
    if bad == "a folder":  # there is no map
        assert [name for name, line in made.places.items() if line.get("no_prediction")] == ["001"]
    else:
        assert [line["name"] for line in made.manifest["skipped"]] == ["001"] and len(made) == 3
