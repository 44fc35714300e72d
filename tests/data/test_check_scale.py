"""What the check says of units that nobody states, of rotated bits, and of marks."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.tiny_scenes import Room, write_folder, write_png

from leadline.cli.main import main
from leadline.data.depth_io import write_depth
from leadline.data.validate.check import Checked, check

Write = Callable[..., Path]


def found(checked: Checked, words: str, severity: str | None = None) -> bool:
    """Whether a finding says `words` (and has that severity)."""
    return any(words in f"{f.what} {f.advice}" and severity in (None, f.severity) for f in checked.findings)


def street(rooms: Sequence[Room]) -> list[Room]:
    """The rooms six times as large, and their ceilings 60 m away."""
    far = [(image, depth * 6) for image, depth in rooms]
    return [(image, np.where(depth > np.percentile(depth, 95), 60, depth).astype(np.float32)) for image, depth in far]


@pytest.mark.parametrize("scale", [1000, 4000, 5000, 6553.5, 8000, 10000, 256])
def test_the_scale_of_a_plain_folder_of_rooms_is_among_those_named(room_folder: Write, scale: float) -> None:
    checked = check(room_folder(scale=scale), n=6)
    assert scale in checked.summary["depth_scale_of_rooms"]
    if scale == 1000:
        assert not checked.findings
    else:
        assert found(checked, f"{scale:g} (median 2.8")


@pytest.mark.parametrize("scale", [256, 1000, 100])
def test_the_scale_of_a_plain_folder_of_streets_is_among_those_named(
    tmp_path: Path, rooms: list[Room], scale: float
) -> None:
    checked = check(write_folder(tmp_path, street(rooms), scale=scale), n=6)
    assert scale in checked.summary["depth_scale_of_streets"]
    assert scale != 256 or found(checked, "if these are streets, it is likely 256 (median 1")


def test_a_scale_that_is_stated_anywhere_is_not_doubted(tmp_path: Path, rooms: list[Room]) -> None:
    write_folder(tmp_path, street(rooms), scale=256)
    assert not found(check(tmp_path, n=6, depth_scale=256.0), "depth_scale")
    for i, (_, depth) in enumerate(street(rooms)):
        write_depth(tmp_path / "depth" / f"{i:03d}.png", depth, scale=256)
    checked = check(tmp_path)
    assert not found(checked, "depth_scale") and checked.summary["depth_scale"] == pytest.approx(256, rel=0.01)


@pytest.mark.parametrize("factor", [0.7, 1.0, 2.0])
def test_rotated_bits_are_named_with_their_key(tmp_path: Path, rooms: list[Room], factor: float) -> None:
    write_folder(tmp_path, rooms)
    for i, (_, depth) in enumerate(rooms):
        millimetres = np.rint(depth * factor * 1000).astype(np.uint16)
        rotated = millimetres << np.uint16(3) | millimetres >> np.uint16(13)
        Image.fromarray(rotated).save(tmp_path / "depth" / f"{i:03d}.png")
    checked = check(tmp_path, n=6)
    assert found(checked, "the lowest 3 bits", "error") and found(checked, "depth_rotated = 3 as in SUN RGB-D")
    median = float(np.median([depth for _, depth in rooms])) * factor
    [said] = [re.findall(r"a median of ([0-9.]+) m", one.advice) for one in checked.findings if "SUN" in one.advice]
    assert float(said[0]) == pytest.approx(median, rel=0.02)
    mended = check(tmp_path, n=6, depth_rotated=3)
    assert mended.ok and not found(mended, "bits of the stored")
    assert mended.summary["depth_scale"] == pytest.approx(1000, rel=0.01)


def test_bits_are_no_finding_where_all_are_used(room_folder: Write) -> None:
    for scale in (1000, 8000):
        assert not found(check(room_folder(scale=scale), n=6), "bits of the stored numbers")


def test_depth_that_training_refuses_is_an_error_with_its_frames(tmp_path: Path, rooms: list[Room]) -> None:
    write_folder(tmp_path, rooms)
    for i, (_, depth) in enumerate(rooms):
        (tmp_path / "depth" / f"{i:03d}.png").unlink()
        np.save(tmp_path / "depth" / f"{i:03d}.npy", np.where(depth > 4, np.float32(1e10), depth) if i < 3 else depth)
    checked = check(tmp_path)
    assert found(checked, "3 of 20 maps have depth farther than 1000 m, up to 1e+10 m: 000, 001, 002", "error")
    for said in ({"invalid": (0, 1e10)}, {"max_depth": 20.0}):
        assert check(tmp_path, n=6, **said).ok


def test_the_largest_number_of_16_bits_is_named_as_a_mark(tmp_path: Path, rooms: list[Room]) -> None:
    write_folder(tmp_path, [(image, np.where(depth > 5, 65.535, depth)) for image, depth in rooms])
    checked = check(tmp_path)
    assert found(checked, "hold 65535", "note") and checked.summary["depth_max_m"] < 10
    assert not found(check(tmp_path, n=6, invalid=(0.0,)), "hold 65535")


def test_files_of_several_number_types_are_judged_by_the_most_frequent(tmp_path: Path, rooms: list[Room]) -> None:
    write_folder(tmp_path, rooms)
    for i in range(3):
        (tmp_path / "depth" / f"{i:03d}.png").unlink()
        np.save(tmp_path / "depth" / f"{i:03d}.npy", rooms[i][1])
    checked = check(tmp_path, n=10)
    assert checked.summary["depth_scale"] == pytest.approx(1000, rel=0.01) and not checked.findings


def test_maps_of_another_size_than_their_images_are_judged_too(tmp_path: Path, rooms: list[Room]) -> None:
    write_folder(tmp_path, rooms)
    for i, (_, depth) in enumerate(rooms):
        write_png(tmp_path / "depth" / f"{i:03d}.png", depth[::2, ::2], scale=5000)
    assert 5000 in check(tmp_path, n=6).summary["depth_scale_of_rooms"]


def test_metres_of_a_lidar_in_steps_of_eight_are_not_taken_for_rotated(tmp_path: Path, rooms: list[Room]) -> None:
    write_folder(tmp_path, rooms)
    for i, (_, depth) in enumerate(rooms):
        stored = np.rint(depth * 5 * 256 / 8).astype(np.uint16) * np.uint16(8)
        Image.fromarray(stored).save(tmp_path / "depth" / f"{i:03d}.png")
    assert not found(check(tmp_path, n=6, depth_scale=256.0), "rotated", "error")
    assert found(check(tmp_path, n=6, depth_scale=1000.0), "rotated", "error")  # millimetres of a room may be


def test_the_command_names_the_rotation(tmp_path: Path, rooms: list[Room], capsys: pytest.CaptureFixture[str]) -> None:
    write_folder(tmp_path, rooms)
    for i, (_, depth) in enumerate(rooms):
        Image.fromarray(np.rint(depth * 1000).astype(np.uint16) << np.uint16(3)).save(
            tmp_path / "depth" / f"{i:03d}.png"
        )
    assert main(["data", "check", str(tmp_path), "--n", "6"]) == 1
    out = capsys.readouterr().out
    assert "8000" in out and "rotated" in out
    assert main(["data", "ls", str(tmp_path), "--depth-rotated", "3"]) == 0
    assert f"to {rooms[0][1].max():.2f} m" in capsys.readouterr().out
