"""`leadline label` with teachers that have nothing to say, and what it says of that."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from leadline.data.labels import open_labels
from leadline.data.layouts import open_dataset
from leadline.errors import BadData
from leadline.labelling import label
from leadline.options_distill import Asking, Foreign, Labelling
from leadline.spec import Kind
from leadline.teachers import Teacher, asked
from leadline.types import Sample
from tests.rooms import render, write_folder, write_photos

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_teacher_that_says_nothing_is_an_error_and_a_line_of_pixels_is_none(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "thin", [render(1, size=(600, 2)), render(2, size=(48, 64))])
    kind: Kind = "metric"

    def made(value: float, out: str) -> None:
        def ask(seen: Sample) -> torch.Tensor:
            if value < 0 and seen.image.shape[-1] == 2:
                raise ValueError("too thin")
            return torch.full_like(seen.image[:, :1], abs(value))

        list(
            label(
                lambda: Teacher("t", kind, ask),
                lambda: open_dataset(folder, "all"),
                "x",
                Labelling(tmp_path / out, split="all"),
            )
        )

    made(2.0, "a")
    assert len(open_labels(tmp_path / "a")) == 2 and open_labels(tmp_path / "a").said["silent"] == 0
    made(-2.0, "b")
    assert [line["why"] for line in open_labels(tmp_path / "b").said["skipped"]] == ["too thin"]
    with pytest.raises(BadData, match=r"t says nothing about any of 2 images"):
        made(float("nan"), "c")


def test_a_teacher_that_says_nothing_is_told_what_may_be_wrong(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "rooms", [render(seed, size=(48, 64)) for seed in range(2)])
    bare = write_photos(tmp_path / "bare")
    said = Foreign(kind="relative_disparity")

    def label_by(asking: Asking, data: Path) -> None:
        list(label(lambda: asked(asking), lambda: open_dataset(data, "all"), "it", Labelling(tmp_path / "o", "all")))

    with pytest.raises(BadData, match=r"it has no depth that could give depth its scale: state one \(--metric SCALE"):
        label_by(Asking((str(folder / "depth"),), foreign=said, metric="truth"), bare)
    with pytest.raises(BadData, match=r"a fit that is upside down.* is its stated kind right"):
        label_by(Asking((str(folder / "depth"),), foreign=said, metric="truth"), folder)
    (maps := tmp_path / "maps").mkdir()
    np.save(maps / "other.npy", np.ones((48, 64), np.float32))
    with pytest.raises(BadData, match=r"its maps are found by the pictures' names"):
        label_by(Asking((str(maps),), foreign=said), bare)
    hole = Teacher("hole", "metric", lambda seen: torch.zeros_like(seen.image[:, :1]))
    with pytest.raises(BadData, match=r"a metric teacher's numbers must be above 0"):
        list(label(lambda: hole, lambda: open_dataset(folder, "all"), "it", Labelling(tmp_path / "p", "all")))
