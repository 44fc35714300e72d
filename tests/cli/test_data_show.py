"""`leadline data show`: what one sees of a data set and of its labels is what they hold."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support import tiny_streets
from support.tiny_classes import pictures, write_batches
from support.tiny_scenes import render, write_folder, write_photos

from leadline.cli.main import main
from leadline.core import viz
from leadline.core.spec import Kind
from leadline.core.tasks import CAMVID, CIFAR10
from leadline.core.types import Depth
from leadline.core.viz_labels import palette
from leadline.data.batch import Batch
from leadline.data.label_set import open_labels, read_label
from leadline.data.layouts.detect import open_dataset
from leadline.distill.labelling.label import label
from leadline.distill.options import Labelling
from leadline.distill.teachers import Answer, Teacher

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "rooms", [render(seed, size=(64, 80)) for seed in range(5)])


def labelled(folder: Path, out: Path, kind: Kind = "metric", split: str = "train") -> Path:
    def bright(seen: Batch) -> Answer:
        depth = 1 + 3 * seen.image.mean(1, keepdim=True)
        return Answer(depth, torch.ones_like(depth))

    run = Labelling(out=out, split=split)  # type: ignore[arg-type]
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


@pytest.fixture
def streets(tmp_path: Path) -> Path:
    tiny_streets.write(tmp_path / "streets", "train", 3, 0)
    return tmp_path / "streets"


def test_classes_of_pixels_are_colours_beside_the_image_with_a_legend(
    capsys: Captured, tmp_path: Path, streets: Path
) -> None:
    [one] = drawn(capsys, streets, "--out", tmp_path / "look", "--names", "train/001")
    item, numbers = open_dataset(streets, "train")[1], tiny_streets.street(1)[1]
    assert np.array_equal(one[:, :48], item.image)
    for number in np.unique(numbers):
        colour = (0, 0, 0) if number == tiny_streets.VOID else palette(len(CAMVID))[number]
        assert (one[:, 48:96][numbers == number] == colour).all()
    counts = np.bincount(numbers[numbers != tiny_streets.VOID])
    most, next_ = np.argsort(-counts)[:2]  # the picture has rows for two
    assert np.array_equal(one[8, 96 + 9], palette(len(CAMVID))[most])
    assert np.array_equal(one[16 + 8, 96 + 9], palette(len(CAMVID))[next_])


def test_the_class_of_an_image_is_its_name_above_it(capsys: Captured, tmp_path: Path) -> None:
    write_batches(tmp_path / "cifar", "data_batch_1", 12, 0)
    first, other, again = drawn(
        capsys, tmp_path / "cifar", "--out", tmp_path / "look",
        "--names", "data_batch_1/00000", "data_batch_1/00001", "data_batch_1/00010",
    )  # fmt: skip
    images, labels = pictures(12, 0)
    enlarged = images[1].repeat(4, axis=0).repeat(4, axis=1)
    assert np.array_equal(other, viz.captioned(enlarged, CIFAR10[labels[1]]))
    line = slice(None, len(first) - 128)
    assert np.array_equal(first[line], again[line]) and not np.array_equal(first[line], other[line])


def test_a_label_stands_alone_beside_an_image_that_has_classes(capsys: Captured, tmp_path: Path, streets: Path) -> None:
    known = labelled(streets, tmp_path / "labels", split="all")  # metres, which classes are not
    values, _ = read_label(open_labels(known), "train/001")
    [one] = drawn(capsys, streets, "--out", tmp_path / "look", "--labels", known, "--names", "train/001")
    image = open_dataset(streets, "train")[1].image
    assert np.array_equal(one, viz.side_by_side(image, Depth(values, "metric", values > 0)))


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


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def densedepth(root: Path) -> Path:
    """Its own download: a list in data/ that names data/nyu2_train/..., from the folder above."""
    room = root / "data" / "nyu2_train" / "room"
    room.mkdir(parents=True)
    for i in range(3):
        Image.fromarray(render(i, size=(64, 80))[0]).save(room / f"{i}.jpg")
        Image.fromarray(np.full((64, 80), 50 + i, np.uint8)).save(room / f"{i}.png")
    rows = [f"data/nyu2_train/room/{i}.jpg,data/nyu2_train/room/{i}.png" for i in range(3)]
    (root / "data" / "nyu2_train.csv").write_text("\n".join(rows))
    return root / "data"


def test_names_that_lead_out_of_their_folder_are_drawn_inside(capsys: Captured, tmp_path: Path) -> None:
    data = densedepth(tmp_path / "dd")
    before = contents(tmp_path / "dd")
    assert len(drawn(capsys, data, "--out", tmp_path / "look")) == 3
    assert contents(tmp_path / "dd") == before
    assert sorted(contents(tmp_path / "look")) == [f"data/nyu2_train/room/{i}.png" for i in range(3)]
    assert main(["data", "show", str(data), "--out", str(tmp_path / "dd")]) == 1  # the same names are the depth maps'
    assert "whose files are read" in capsys.readouterr().err and contents(tmp_path / "dd") == before


def test_a_list_that_names_files_elsewhere_writes_none_there(capsys: Captured, tmp_path: Path) -> None:
    data = densedepth(tmp_path / "a" / "dd")
    (tmp_path / "a" / "away").mkdir()
    Image.new("RGB", (80, 64)).save(tmp_path / "a" / "away" / "x.jpg")
    (data / "nyu2_train.csv").write_text("../../away/x.jpg,nyu2_train/room/0.png\n")
    before = contents(tmp_path)
    assert len(drawn(capsys, data, "--out", tmp_path / "a" / "dd" / "p" / "look")) == 1
    assert {name for name in contents(tmp_path) if name not in before} == {"a/dd/p/look/away/x.png"}


def test_pictures_never_land_among_the_photographs(capsys: Captured, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.fromarray(np.full((8, 8), 3000, np.uint16)).save(photos / "deep.png")
    Image.new("RGBA", (8, 8), (1, 2, 3, 4)).save(photos / "clear.png")
    (tmp_path / "link").symlink_to(photos)
    before = contents(photos)
    for out in (photos, photos / "look", tmp_path / "link", photos / ".." / "photos"):
        assert main(["data", "show", str(photos), "--out", str(out)]) == 1
        assert "whose files are read: give another --out" in capsys.readouterr().err
    (tmp_path / "look").mkdir()
    (tmp_path / "look" / "clear.png").symlink_to(photos / "clear.png")
    assert main(["data", "show", str(photos), "--out", str(tmp_path / "look")]) == 1
    assert contents(photos) == before


def test_files_behind_links_are_never_drawn_over(capsys: Captured, tmp_path: Path, folder: Path) -> None:
    away = tmp_path / "away"
    away.mkdir()
    for file in (folder / "images").iterdir():
        file.rename(away / file.name)
        file.symlink_to(away / file.name)
    before = contents(away)
    assert main(["data", "show", str(folder), "--out", str(away)]) == 1
    assert "away, whose files are read" in capsys.readouterr().err and contents(away) == before
