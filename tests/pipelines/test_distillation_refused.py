"""What a distillation refuses before any work."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.tiny_scenes import render, write_folder
from test_distillation import labels, place, run

from leadline.cli.main import main
from leadline.cli.train import run_training as train
from leadline.core.errors import BadData
from leadline.distill.options import Distillation, TeacherOptions
from leadline.nn import zoo
from leadline.nn.build import build
from leadline.nn.checkpoint import save
from leadline.pipelines.distill import teacher_supervision
from leadline.pipelines.training_setup import parts

__all__ = ["place"]


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (Distillation(), r"there is no teacher: give one \(--teacher\), or label sets"),
        (
            Distillation(features=("affinity",), labels=(Path("labels/rooms"),)),
            r"features \(affinity\) are those of one net",
        ),
        (
            Distillation(teachers=TeacherOptions(teacher=("litedepth", "fastdepth")), features=("affinity",)),
            r"something else, averaged, or several",
        ),
        (
            Distillation(teachers=TeacherOptions(teacher=("litedepth",)), features=("cosine:a=b",)),
            r"compared by 'cosine' in 'cosine:a=b'",
        ),
        (
            Distillation(teachers=TeacherOptions(teacher=("litedepth",)), features=("hint:head=",)),
            r"'hint:head=' has a module without a name",
        ),
        (
            Distillation(teachers=TeacherOptions(teacher=("litedepth",)), features=("hint*much:head",)),
            r"the weight 'much'",
        ),
        (
            Distillation(teachers=TeacherOptions(teacher=("litedepth",)), features=("hint*-1:head",)),
            r"the weight -1.0; a number above 0",
        ),
    ],
)
def test_what_cannot_be_distilled(place: Path, tmp_path: Path, how: Distillation, said: str) -> None:
    from dataclasses import replace

    training = run(place, tmp_path / "run", data=("rooms:4",))
    how = replace(how, labels=tuple(place / path for path in how.labels))
    with pytest.raises(ValueError, match=said):
        train(training, distillation=how)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (
            {"unlabelled": ("x:2",), "teachers": TeacherOptions(teacher=("litedepth",), metric="truth")},
            "unlabelled images have none",
        ),
        ({"teachers": TeacherOptions(flip=True)}, "options of a teacher are given, and no teacher is"),
        ({"weight": 0.5}, "weight is 0.5, of unlabelled images, and there are none"),
        ({"label_weight": 1.0}, "label_weight is 1, so nothing is learned from a teacher"),
        ({"unlabelled": ("x:2",), "weight": 0.0, "label_weight": 1.0}, "label_weight is 1, so nothing is learned"),
    ],
)
def test_options_that_contradict_each_other_are_refused_when_they_are_made(how: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Distillation(**how)


def test_an_empty_folder_of_photographs_is_said_before_any_work(place: Path, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    with pytest.raises(BadData, match=r"none"):
        train(
            run(place, tmp_path / "run"),
            distillation=Distillation(unlabelled=(f"{tmp_path / 'none'}:2",), labels=labels(place)),
        )
    assert not (tmp_path / "run").exists()


def test_photographs_that_nobody_has_labelled_are_refused(place: Path, tmp_path: Path) -> None:
    write_folder(tmp_path / "new", [render(seed, size=(72, 96)) for seed in range(40, 43)])
    shutil.rmtree(tmp_path / "new" / "depth")
    with pytest.raises(BadData, match=r"no label set is about new train"):
        train(
            run(place, tmp_path / "run"),
            distillation=Distillation(unlabelled=(f"{tmp_path / 'new'}:2",), labels=labels(place)),
        )


def test_a_student_of_relative_disparity_cannot_learn_metres(place: Path, tmp_path: Path) -> None:
    training = run(place, tmp_path / "run", model="monodepth_vgg")
    with pytest.raises(
        ValueError, match=r"monodepth_vgg gives relative_disparity, which cannot be compared with metres"
    ):
        train(training, distillation=Distillation(unlabelled=(f"{place / 'photos'}:2",), labels=labels(place)))
    with pytest.raises(ValueError, match=r"the loss 'stereo' learns from pairs of views alone"):
        train(run(place, tmp_path / "run", loss=("stereo",)), distillation=Distillation(labels=labels(place)))


@pytest.mark.slow
def test_a_relative_teacher_teaches_a_metric_student_its_shapes(place: Path, tmp_path: Path) -> None:
    """Its numbers would be metres a hundred times too small, were they taken for any."""
    net = build(zoo.monodepth_vgg(), seed=0)
    path = save(net, tmp_path / "relative.safetensors")
    words = [
        "label",
        str(place / "photos"),
        "--teacher",
        str(path),
        "--height",
        "24",
        "--out",
        str(tmp_path / "labels"),
    ]
    assert main(words) == 0
    training = run(place, tmp_path / "run")
    how = Distillation(unlabelled=(f"{place / 'photos'}:2",), labels=(tmp_path / "labels",))
    made = parts(training, supervision=teacher_supervision(training, how))
    batch = next(made.loading(workers=0)(0))
    assert batch.pseudo_kind == ("metric", "metric", "relative_disparity", "relative_disparity")
    before, _ = made.loss(made.net, batch)
    batch.pseudo_depth[2:] *= 100
    after, _ = made.loss(made.net, batch)
    assert np.isclose(float(before.detach()), float(after.detach()), rtol=1e-3)
