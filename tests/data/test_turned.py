"""Photographs that EXIF turns: their depth, their intrinsics and their right view keep to them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.tiny_scenes import Room

from leadline.cli.main import main
from leadline.core.errors import BadData
from leadline.core.orientation import ALL, turned
from leadline.core.types import Item
from leadline.data.batch import Batch
from leadline.data.depth_io import write_depth
from leadline.data.label_set import open_labels, with_labels
from leadline.data.layouts.description import Description
from leadline.data.layouts.detect import open_dataset
from leadline.data.layouts.frame import Camera, Frame, Source
from leadline.data.validate.check import check
from leadline.distill.labelling.label import label
from leadline.distill.options import Labelling
from leadline.distill.teachers import Answer, Teacher

EVERY = pytest.mark.parametrize("turn", ALL)
IMAGE = np.arange(12 * 16 * 3, dtype=np.uint8).reshape(12, 16, 3)
DEPTH = np.linspace(1, 9, 12 * 16, dtype=np.float32).reshape(12, 16)


def exif(turn: int) -> Image.Exif:
    made = Image.Exif()
    made[0x0112] = turn
    return made


def read(folder: Path, turn: int, depth: np.ndarray, name: str = "000.npy", **said: object) -> Item:
    """The item of one photograph IMAGE with that tag and of that depth."""
    for kind in ("images", "depth"):
        (folder / kind).mkdir(parents=True)
    Image.fromarray(IMAGE).save(folder / "images" / "000.png", exif=exif(turn))
    write_depth(folder / "depth" / name, depth, scale=1000)
    return open_dataset(folder, "all", depth_scale=1000, **said)[0]


@EVERY
def test_depth_as_the_sensor_stores_it_turns_with_its_photograph(tmp_path: Path, turn: int) -> None:
    sample = read(tmp_path, turn, DEPTH)
    assert (sample.image == turned(IMAGE, turn)).all()
    assert np.allclose(sample.target, turned(DEPTH, turn))


@EVERY
def test_smaller_depth_of_a_sensor_turns_too(tmp_path: Path, turn: int) -> None:
    sample = read(tmp_path, turn, DEPTH[::2, ::2])
    assert np.allclose(sample.target[::2, ::2], turned(DEPTH[::2, ::2], turn))


@pytest.mark.parametrize("turn", [5, 6, 7, 8])
def test_depth_that_only_fits_upright_is_left_upright(tmp_path: Path, turn: int) -> None:
    assert np.allclose(read(tmp_path, turn, turned(DEPTH, turn)).target, turned(DEPTH, turn))


@EVERY
@pytest.mark.parametrize("dtype", ["f2", "f8"])
def test_depth_in_a_tiff_that_pillow_cannot_open_turns_too(tmp_path: Path, dtype: str, turn: int) -> None:
    tifffile = pytest.importorskip("tifffile")
    read(tmp_path, turn, DEPTH)
    (tmp_path / "depth/000.npy").unlink()
    tifffile.imwrite(tmp_path / "depth/000.tif", (DEPTH * 1000).astype(dtype))
    assert np.allclose(open_dataset(tmp_path, "all", depth_scale=1000)[0].target, turned(DEPTH, turn), atol=4e-3)


@EVERY
def test_a_description_says_how_depth_lies(tmp_path: Path, turn: int) -> None:
    upright = read(tmp_path / "a", turn, turned(DEPTH, turn), orientation="upright")
    assert np.allclose(upright.target, turned(DEPTH, turn)) and (upright.image == turned(IMAGE, turn)).all()
    ignored = read(tmp_path / "b", turn, DEPTH, orientation="ignored")
    assert np.allclose(ignored.target, DEPTH) and (ignored.image == IMAGE).all()


def test_what_dataset_toml_says_of_orientation_is_one_of_three_words(tmp_path: Path) -> None:
    read(tmp_path, 1, DEPTH)
    (tmp_path / "dataset.toml").write_text('orientation = "sideways"\n')
    with pytest.raises(BadData, match=r"dataset\.toml.*orientation"):
        open_dataset(tmp_path, "all")


@pytest.mark.parametrize("suffix", ["png", "tiff"])
@pytest.mark.parametrize("turn", [2, 3, 4])
def test_a_depth_picture_that_states_its_own_orientation_is_believed(tmp_path: Path, turn: int, suffix: str) -> None:
    read(tmp_path, turn, DEPTH)
    (tmp_path / "depth" / "000.npy").unlink()
    stored = Image.fromarray(turned((DEPTH * 1000).round().astype(np.uint16), 3))
    stored.save(tmp_path / "depth" / f"000.{suffix}", exif=exif(3))
    assert np.allclose(open_dataset(tmp_path, "all", depth_scale=1000)[0].target, DEPTH, atol=1e-3)


@EVERY
def test_intrinsics_follow_the_turn(turn: int) -> None:
    camera = Camera(100, 200, 7, 5)  # of the pixels as they are stored, 12 high and 16 wide
    size = turned(IMAGE, turn).shape[:2]
    mark = np.zeros((12, 16))
    mark[5, 7] = 1
    [[row, column]] = np.argwhere(turned(mark, turn))
    found = camera.matrix((size[0], size[1]), turn)
    assert (found[0, 2], found[1, 2]) == (column, row)
    assert (found[0, 0], found[1, 1]) == ((200, 100) if turn >= 5 else (100, 200))


def test_intrinsics_of_the_upright_picture_stay() -> None:
    assert np.allclose(Camera(200, 100, 5, 7).matrix((16, 12), 6), [[200, 0, 5], [0, 100, 7], [0, 0, 1]])
    sized = Camera(200, 100, 11.5, 15.5, size=(32, 24))
    assert np.allclose(sized.matrix((16, 12), 6)[0], [100, 0, 5.5])
    lying = Camera(200, 100, 15.5, 11.5, size=(24, 32))
    assert np.allclose(lying.matrix((16, 12), 6)[0], [50, 0, 5.5])


def test_a_stereo_pair_stays_as_its_cameras_see_it(tmp_path: Path) -> None:
    Image.fromarray(IMAGE).save(tmp_path / "left.png", exif=exif(3))
    Image.fromarray(IMAGE[::-1]).save(tmp_path / "right.png")
    np.save(tmp_path / "depth.npy", DEPTH)
    source = Source(tmp_path, Description(intrinsics=(9, 8, 7, 6)))
    sample = source.read(Frame("a", "left.png", "depth.npy", "right.png"))
    assert (sample.image == IMAGE).all() and (sample.right == IMAGE[::-1]).all()
    assert np.allclose(sample.target, DEPTH) and sample.intrinsics[0, 2] == 7


def test_a_lost_orientation_is_named_where_turned_depth_would_fit(tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"turned by 90 degrees.*EXIF orientation"):
        read(tmp_path, 1, turned(DEPTH, 6)[::2, ::2])


def some_turned(write: Callable[..., Path], n: int, turn: int, upright: bool = False) -> Path:
    """Rooms whose first `n` photographs are stored so that the tag turns them; depth too, or it is upright."""
    root = write(lambda i, image, depth: (image, turned(depth, turn) if upright and i < n else depth))
    for file in sorted((root / "images").iterdir())[:n]:
        with Image.open(file) as image:
            image.save(file.with_suffix(".tiff"), exif=exif(turn))
        file.unlink()
    return root


@pytest.mark.parametrize("upright", [False, True])
def test_a_few_photographs_upside_down_are_counted_and_judged_by_themselves(
    room_folder: Callable[..., Path], upright: bool
) -> None:
    root = some_turned(room_folder, 8, 3, upright)
    checked = check(root)
    said = [finding.what for finding in checked.findings]
    assert any("8 of 20 photographs with depth have an EXIF orientation (8 by tag 3)" in what for what in said)
    assert any("of the photographs that EXIF turns: depth is turned by 180" in what for what in said) == upright
    assert checked.ok != upright
    assert check(root, orientation="upright").ok == upright


def test_portrait_photographs_among_others_are_read_and_counted(
    room_folder: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    root = some_turned(room_folder, 5, 6)
    assert main(["data", "check", str(root)]) == 0
    said = capsys.readouterr().out
    assert "note" in said and "(5 by tag 6); their depth: 5 fits the photograph as stored and is turned with it" in said


def test_nothing_is_said_where_no_photograph_is_turned(room_folder: Callable[..., Path], rooms: list[Room]) -> None:
    assert not [finding for finding in check(room_folder()).findings if "EXIF" in finding.what]


def test_labels_are_of_the_upright_photograph(tmp_path: Path) -> None:
    Image.fromarray(IMAGE).save(tmp_path / "a.png", exif=exif(6))

    def by_row(seen: Batch) -> Answer:
        rows = torch.arange(1.0, seen.image.shape[2] + 1)[:, None]
        depth = rows.expand(1, 1, *seen.image.shape[2:])
        return Answer(depth, torch.ones_like(depth))

    run = Labelling(out=tmp_path / "labels", height=None, split="all")
    for _ in label(lambda: Teacher("t", "metric", by_row), lambda: open_dataset(tmp_path, "all"), "x", run):
        pass
    labels = open_labels(tmp_path / "labels")
    sample = with_labels(open_dataset(tmp_path, "all"), labels)[0]
    assert sample.pseudo_depth.shape == sample.image.shape[:2] == (16, 12)
    assert np.allclose(sample.pseudo_depth, np.arange(1, 17)[:, None], atol=0.01)
    with pytest.raises(BadData, match="is of another picture"):  # read as it is stored, it is another one
        with_labels(open_dataset(tmp_path, "all", orientation="ignored"), labels)[0]
