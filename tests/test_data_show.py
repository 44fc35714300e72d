"""`leadline data show`: what one sees of a data set and of its labels is what they hold."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from leadline import viz
from leadline.cli import main
from leadline.data.labels import open_labels, read_label
from leadline.data.layouts import open_dataset
from leadline.labelling import label
from leadline.options_distill import Labelling
from leadline.spec import Kind
from leadline.teachers import Answer, Teacher
from leadline.types import Depth, Sample
from tests.rooms import render, write_folder, write_photos

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "rooms", [render(seed, size=(64, 80)) for seed in range(5)])


def labelled(folder: Path, out: Path, kind: Kind = "metric", split: str = "train") -> Path:
    def bright(seen: Sample) -> Answer:
        depth = 1 + 3 * seen.image.mean(1, keepdim=True)
        return Answer(depth, torch.ones_like(depth))

    run = Labelling(out, split=split)  # type: ignore[arg-type]
    for _ in label(lambda: Teacher("t", kind, bright), lambda: open_dataset(folder, split), "x", run):
        pass
    return out


def drawn(capsys: Captured, *words: object, code: int = 0) -> list[np.ndarray]:
    assert main(["data", "show", *map(str, words), "--json"]) == code
    return [np.asarray(Image.open(file)) for file in json.loads(capsys.readouterr().out)["drawn"]]


def test_without_labels_one_sees_each_frame_beside_its_depth(capsys: Captured, tmp_path: Path, folder: Path) -> None:
    seen = drawn(capsys, folder, "--out", tmp_path / "look", "--n", 2, "--vmax", 7)
    assert sorted(file.name for file in (tmp_path / "look").rglob("*.png")) == ["000.png", "004.png"]
    data = open_dataset(folder, "all")
    for picture, sample in zip(seen, (data[0], data[4]), strict=True):
        depth = Depth(sample.target, "metric", sample.valid)
        assert np.array_equal(picture, viz.side_by_side(sample.image, depth, vmax=7))


def test_metric_labels_are_drawn_beside_the_truth_and_their_difference(
    capsys: Captured, tmp_path: Path, folder: Path
) -> None:
    known = labelled(folder, tmp_path / "labels")
    assert len(open_labels(known)) == 4  # of the train part, and no other frame is shown
    names = list(open_labels(known).places)
    seen = drawn(capsys, folder, "--out", tmp_path / "look", "--labels", known)
    assert len(seen) == 4
    [one] = drawn(capsys, folder, "--out", tmp_path / "look", "--labels", known, "--names", names[1])
    assert np.array_equal(one, seen[1])
    values, _ = read_label(open_labels(known), names[1])
    assert np.array_equal(one[-64:, 160:240], viz.colorize(Depth(values, "metric", values > 0)))
    assert not np.array_equal(one[-64:, 80:160], one[-64:, 160:240])  # the truth


def test_relative_labels_are_drawn_in_their_own_colours(capsys: Captured, tmp_path: Path, folder: Path) -> None:
    known = labelled(folder, tmp_path / "labels", "relative_disparity", "all")
    values, _ = read_label(open_labels(known), "000")
    [one] = drawn(capsys, folder, "--out", tmp_path / "look", "--labels", known, "--names", "000")
    assert np.array_equal(one[:, 80:160], viz.colorize(Depth(values, "relative_disparity", values > 0)))


def test_a_damaged_photograph_is_named_and_the_others_are_drawn(capsys: Captured, tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos")
    assert main(["data", "show", str(photos), "--out", str(tmp_path / "look"), "--n", "11"]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 10 and err.count("\n") == 1 and "cannot be decoded" in err
    first = Path(out.splitlines()[0])
    assert np.asarray(Image.open(first)).shape == (48, 64, 3)  # the photograph alone


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--names", "nix"], "has no frame 'nix'; it has 5, such as '000'"),
        (["--labels", "LABELS"], "has no label for"),
        (["--n", "0"], "n is 0; at least one frame must be drawn"),
    ],
)
def test_frames_that_are_not_there_and_foreign_labels_are_refused(
    capsys: Captured, tmp_path: Path, folder: Path, words: list[str], said: str
) -> None:
    (tmp_path / "other").mkdir()
    Image.new("RGB", (80, 64), "red").save(tmp_path / "other" / "red.png")
    known = labelled(tmp_path / "other", tmp_path / "labels")
    words = [str(known) if word == "LABELS" else word for word in words]
    assert main(["data", "show", str(folder), "--out", str(tmp_path / "look"), *words]) == 1
    assert said in capsys.readouterr().err
    assert not (tmp_path / "look").exists()
