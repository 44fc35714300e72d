"""`leadline label`: which images it takes, and files that are not what they should be."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from support.tiny_scenes import render, write_folder
from test_labelling import labelled

from leadline.cli.main import main
from leadline.core.errors import BadData
from leadline.data.dataset import hold_out
from leadline.data.label_set import open_labels
from leadline.data.layouts.detect import open_dataset
from leadline.data.options import View
from leadline.data.validate.label_set import check_labels
from leadline.distill.labelling.label import label
from leadline.distill.options import Distillation, TeacherOptions
from leadline.pipelines.distill import teacher_supervision
from leadline.pipelines.training_data import without
from leadline.pipelines.training_setup import parts
from leadline.training.options import FitOptions, Training

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("text", ["{", "[1]", "3"])
def test_a_damaged_plan_is_named(photos: Path, teacher: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "plan.json").write_text(text)
    with pytest.raises(BadData, match=r"plan\.json is damaged, .* label anew"):
        labelled(photos, teacher, tmp_path / "labels")


def test_a_file_is_no_folder_to_write_to(photos: Path, teacher: Path, tmp_path: Path) -> None:
    (tmp_path / "labels").write_text("")
    with pytest.raises(BadData, match=r"labels is no folder that can be written: File exists; give another --out"):
        labelled(photos, teacher, tmp_path / "labels")


def test_all_images_of_a_data_set_are_labelled_not_only_those_with_depth(
    teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_folder(tmp_path / "rooms", [render(seed, size=(48, 64)) for seed in range(4)])
    (data / "depth" / "002.png").unlink()
    words = ["label", str(data), "--split", "all", "--teacher", str(teacher)]
    assert main([*words, "--out", str(tmp_path / "a")]) == 0
    assert [*open_labels(tmp_path / "a").places] == ["000", "001", "002", "003"]
    shutil.rmtree(data / "depth")
    (data / "masks").mkdir()
    shutil.copy(data / "images" / "001.png", data / "masks")
    assert main([*words, "--out", str(tmp_path / "b")]) == 0
    assert "1 pictures are not taken for photographs: depth, labels, masks" in capsys.readouterr().err


def test_the_environment_variable_says_the_threads_of_a_teacher_and_of_it_alone(
    photos: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def watched(*given: Any) -> Any:
        seen.append(torch.get_num_threads())
        return label(*given)

    monkeypatch.setattr("leadline.distill.labelling.label.label", watched)
    monkeypatch.setenv("LEADLINE_THREADS", "2")
    assert torch.get_num_threads() == 1
    assert main(["label", str(photos), "--teacher", str(teacher), "--out", str(tmp_path / "labels")]) == 0
    assert seen == [2] and torch.get_num_threads() == 1


def test_where_no_confidence_was_measured_there_is_no_least_sure(photos: Path, teacher: Path, tmp_path: Path) -> None:
    labelled(photos, teacher, tmp_path / "a")
    assert not [one for one in check_labels(tmp_path / "a", 5)[1] if "least sure" in one.what]


def test_photographs_of_a_set_with_depth_are_learned_from_too_but_not_the_neighbours_of_what_is_chosen_on(
    teacher: Path, tmp_path: Path
) -> None:
    data = write_folder(tmp_path / "long", [render(seed % 3, size=(12, 16)) for seed in range(90)])
    for i in range(1, 90, 2):
        (data / "depth" / f"{i:03d}.png").unlink()  # 45 with depth, of which 36 to train on; 16 to 25 for choosing
    teachers = TeacherOptions(teacher=(str(teacher),))
    how = Training(data=(f"{data}:2",), out=tmp_path / "out", model="litedepth", batch=4, val_every=2, workers=0,
                   view=View(size=(64, 96)), loss=("log_l1",), fit=FitOptions(steps=2))  # fmt: skip
    made = parts(how, supervision=teacher_supervision(how, Distillation(unlabelled=(f"{data}:2",), teachers=teachers)))
    chosen = {key.name for key in made.validation.keys} if made.validation else set()
    (labelled, _), (every, n) = made.facts["images"][0], made.facts["images"][1]
    assert chosen and n == 72 - 2 * len(chosen) and labelled and every


def test_photographs_to_choose_on_take_no_others_with_them(teacher: Path, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "plain", [render(seed % 3, size=(12, 16)) for seed in range(45)])
    shutil.rmtree(folder / "depth")
    data = open_dataset(folder, "train")
    rest, chosen = hold_out(data, 2)
    assert len(chosen) == 20 and without(chosen, rest, data, folder, folder).keys == rest.keys


def test_labels_whose_scale_is_the_truth_teach_about_images_that_have_it(teacher: Path, tmp_path: Path) -> None:
    data = write_folder(tmp_path / "rooms", [render(seed, size=(48, 64)) for seed in range(10)])
    (data / "depth" / "000.png").unlink()
    said = ["--external.kind", "relative_depth", "--metric", "truth", "--out", str(tmp_path / "a")]
    assert main(["label", str(data), "--teacher", str(data / "depth"), *said]) == 0
    how = Training(data=(), out=tmp_path / "out", model="fastdepth_small", pretrained=True, batch=2, workers=0,
                   view=View(size=(64, 96)), loss=("log_l1",), fit=FitOptions(steps=2))  # fmt: skip
    made = parts(
        how, supervision=teacher_supervision(how, Distillation(unlabelled=(f"{data}:2",), labels=(tmp_path / "a",)))
    )
    assert made.facts["images"] == [["rooms train", 7]]
