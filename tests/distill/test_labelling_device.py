"""`leadline label --device`: where a teacher answers; the label set says so, and is made there to its end."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from test_labelling import labelled
from torch import Tensor

from leadline.core.errors import BadData
from leadline.data.batch import Batch
from leadline.data.label_set import open_labels, read_label
from leadline.data.layouts.detect import open_dataset
from leadline.distill.labelling.label import label
from leadline.distill.options import Labelling
from leadline.distill.teachers import Teacher

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_teacher_is_asked_on_the_device_and_its_answer_is_brought_back(photos: Path, tmp_path: Path) -> None:
    seen: list[str] = []

    def ask(batch: Batch) -> Tensor:
        seen.extend(x.device.type for x in (batch.image, batch.target, batch.valid))
        return torch.full((1, 1, *batch.image.shape[2:]), 2.0)

    run = Labelling(out=tmp_path / "labels", device="meta")  # the device that every machine has beside its CPU
    list(label(lambda: Teacher("flat", "metric", ask), lambda: open_dataset(photos, "train"), "../photos", run))
    made = open_labels(run.out)
    assert set(seen) == {"meta"} and len(seen) == 3 * len(made) == 30
    assert made.manifest["device"] == "meta"


def test_labels_are_not_gone_on_with_on_another_device(photos: Path, teacher: Path, tmp_path: Path) -> None:
    labelled(photos, teacher, tmp_path / "labels")
    assert "device" not in open_labels(tmp_path / "labels").manifest
    with pytest.raises(BadData, match=r"made otherwise: device cuda \(there: None\)"):
        labelled(photos, teacher, tmp_path / "labels", device="cuda")


@pytest.mark.parametrize("device", ["cuda:99", "gpu"])
def test_a_device_that_is_not_there_is_named(photos: Path, teacher: Path, tmp_path: Path, device: str) -> None:
    with pytest.raises(ValueError, match=rf"device is '{device}', where this torch cannot compute \(.+\); try cpu"):
        labelled(photos, teacher, tmp_path / "labels", device=device)


def test_a_run_that_could_not_begin_leaves_its_folder_free(photos: Path, teacher: Path, tmp_path: Path) -> None:
    out = tmp_path / "labels"
    with pytest.raises(ValueError, match=r"device is 'gpu'"):
        labelled(photos, teacher, out, device="gpu")
    assert (out / "plan.json").exists()
    labelled(photos, teacher, out)
    assert len(open_labels(out)) == 10


@pytest.mark.gpu
def test_a_gpu_says_what_the_cpu_says(photos: Path, teacher: Path, tmp_path: Path) -> None:
    for device in ("cpu", "cuda"):
        labelled(photos, teacher, tmp_path / device, device=device)
    here, there = (open_labels(tmp_path / device) for device in ("cpu", "cuda"))
    for name in here.places:
        a, b = (read_label(labels, name)[0] for labels in (here, there))
        assert abs(a - b).max() < 0.01  # metres
