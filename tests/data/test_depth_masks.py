"""Masks and confidence beside depth: 0 does not count, everything else does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.tiny_scenes import Room, write_folder

from leadline.cli.main import main
from leadline.core.errors import BadData
from leadline.data.cache import cached
from leadline.data.layouts.detect import open_dataset
from leadline.data.layouts.masks import read_mask
from leadline.data.validate.check import check

COUNTS = np.zeros((96, 128), bool)
COUNTS[:, 40:] = True


def save(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, values)
    else:
        Image.fromarray(values).save(path)


@pytest.mark.parametrize(
    "folder", ["confidence", "Confidence", "conf", "mask", "masks", "valid", "valid_mask", "depth_mask"]
)
def test_where_the_mask_is_0_depth_does_not_count(tmp_path: Path, rooms: list[Room], folder: str) -> None:
    write_folder(tmp_path, rooms[:2])
    save(tmp_path / folder / "000.png", COUNTS.astype(np.uint8) * (2 if "onf" in folder else 255))
    data = open_dataset(tmp_path, "all")
    assert (data[0].valid == COUNTS).all() and (data[0].target[~COUNTS] == 0).all()
    assert data[1].valid.all()  # it has no mask


def test_the_middle_confidence_counts(tmp_path: Path, rooms: list[Room]) -> None:
    write_folder(tmp_path, rooms[:1])
    values = np.zeros((96, 128), np.uint8)
    values[:32], values[32:64] = 1, 2
    save(tmp_path / "confidence" / "000.png", values)
    valid = open_dataset(tmp_path, "all")[0].valid
    assert valid[:64].all() and not valid[64:].any()


def test_a_mask_of_the_sensors_size_follows_the_depth_to_the_pictures_size(tmp_path: Path, rooms: list[Room]) -> None:
    image, depth = rooms[0]
    save(tmp_path / "rgb" / "a.png", image)
    save(tmp_path / "depth" / "a.png", np.rint(depth[::2, ::2] * 1000).astype(np.uint16))
    save(tmp_path / "confidence" / "a.png", COUNTS[::4, ::4].astype(np.uint8))
    assert (open_dataset(tmp_path, "all")[0].valid == COUNTS).all()


@pytest.mark.parametrize("mask", ["a_depth_mask.npy", "a_mask.png", "a_confidence.png", "a.mask.png"])
def test_masks_lie_side_by_side_with_depth(tmp_path: Path, rooms: list[Room], mask: str) -> None:
    image, depth = rooms[0]
    save(tmp_path / "a.png", image)
    save(tmp_path / "a_depth.npy", depth)
    save(tmp_path / mask, COUNTS.astype(np.float32 if mask.endswith("npy") else np.uint8))
    data = open_dataset(tmp_path, "all")
    assert len(data) == 1 and (data[0].valid == COUNTS).all()


@pytest.mark.parametrize(
    "values",
    [
        COUNTS, COUNTS.astype(np.uint8), COUNTS * np.float32(0.5), np.where(COUNTS, 1.0, np.nan),
        COUNTS.astype(np.int64) * 70000, COUNTS[None], COUNTS[..., None],
    ],
)  # fmt: skip
def test_arrays_of_any_number_type_are_masks(tmp_path: Path, values: np.ndarray) -> None:
    save(tmp_path / "m.npy", values)
    assert (read_mask(tmp_path / "m.npy") == COUNTS).all()


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "I;16"])
def test_pictures_of_any_mode_are_masks(tmp_path: Path, mode: str) -> None:
    picture = Image.fromarray(COUNTS.astype(np.uint8))
    if mode == "I;16":
        picture = Image.fromarray(COUNTS.astype(np.uint16) * 300)
    elif mode == "P":
        picture.putpalette([255, 255, 255, 0, 0, 0])  # the numbers count, not the colours
    else:
        picture = Image.fromarray(COUNTS.astype(np.uint8) * 255).convert(mode)
    picture.save(tmp_path / "m.png")
    assert (read_mask(tmp_path / "m.png") == COUNTS).all()


def test_the_blur_of_a_jpeg_is_no_value(tmp_path: Path) -> None:
    Image.fromarray(COUNTS.astype(np.uint8) * 255).save(tmp_path / "m.jpg", quality=60)
    assert (read_mask(tmp_path / "m.jpg") == COUNTS).mean() > 0.98


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x93NUMPY\x01\x00"])
@pytest.mark.parametrize("name", ["m.png", "m.npy"])
def test_a_damaged_mask_is_named_with_a_way_to_do_without(tmp_path: Path, content: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadData, match=rf"{name} cannot be read as a mask.*masks = false"):
        read_mask(tmp_path / name)


def test_an_array_that_claims_too_much_is_refused_before_it_is_read(tmp_path: Path) -> None:
    np.lib.format.open_memmap(tmp_path / "m.npy", "w+", np.uint8, (20_000, 20_000))
    with pytest.raises(BadData, match="400000000 numbers"):
        read_mask(tmp_path / "m.npy")


def test_masks_are_mentioned_and_can_be_left_aside(
    tmp_path: Path, rooms: list[Room], capsys: pytest.CaptureFixture[str]
) -> None:
    write_folder(tmp_path, rooms[:2])
    for i in range(2):
        save(tmp_path / "confidence" / f"{i:03d}.png", np.zeros((96, 128), np.uint8))
    said = [finding.what for finding in check(tmp_path).findings]
    assert any("confidence" in what and "100% of the pixels" in what for what in said)
    main(["data", "ls", str(tmp_path)])
    assert "confidence" in capsys.readouterr().out
    (tmp_path / "dataset.toml").write_text("masks = false\n")
    assert open_dataset(tmp_path, "all")[0].valid.all()


def test_a_mask_that_changes_is_no_longer_taken_from_the_cache(tmp_path: Path, rooms: list[Room]) -> None:
    write_folder(tmp_path / "set", rooms[:2])
    for share in (COUNTS, ~COUNTS):
        save(tmp_path / "set" / "mask" / "000.png", np.repeat(share[..., None].astype(np.uint8), 3, 2))
        [data] = cached([open_dataset(tmp_path / "set", "train")], tmp_path / "cache", gb=1.0)
        assert (data[0].valid == share).all()
        save(tmp_path / "set" / "mask" / "001.png", np.zeros((9, 12), np.uint8))  # of another size on disk


def test_a_part_called_valid_is_no_mask(tmp_path: Path, rooms: list[Room]) -> None:
    write_folder(tmp_path / "train", rooms[:2])
    write_folder(tmp_path / "valid", rooms[2:3])
    assert open_dataset(tmp_path, "val")[0].valid.all() and len(open_dataset(tmp_path)) == 2
