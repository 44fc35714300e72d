"""What is passed over is named in one line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from leadline.data.dataset import Dataset
from leadline.data.layouts.frame import Frame
from leadline.data.layouts.unread import unread, with_files


def files(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_pictures_that_are_not_read_are_counted_by_ending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leadline.core.formats.IMAGE_SUFFIXES", (".jpg", ".jfif"))
    files(tmp_path, "a.jpg", "b.jfif", "IMG_1.HEIC", "deep/2.heic", "c.avif", "d.CR2", "e.mov", "notes.txt", ".f.heic")
    said = unread(tmp_path)
    for part in ("2 .heic (HEIC, ", "1 .avif (AVIF, ", "1 .cr2 (a raw format, ", "1 .mov (a video, "):
        assert part in said
    assert said.count("\n") == 0 and "pip install pillow-heif" in said


def test_where_all_is_read_nothing_is_said(tmp_path: Path) -> None:
    files(
        tmp_path, "a.jpg", "B.JPG ", "notes.txt", "README", "x/c.png", "depth/a.npy", ".DS_Store", "Thumbs.db", "a.h5"
    )
    assert unread(tmp_path) == ""


def test_a_folder_that_may_not_be_entered_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(root: Path, refused: list[str]) -> list[str]:
        refused.append("locked\x1b")
        return ["a.jpg"]

    monkeypatch.setattr("leadline.data.layouts.unread.walk", refuse)
    assert unread(tmp_path).endswith(r"passed over the folder locked\x1b (it may not be read)")


def test_frames_whose_files_are_not_there_are_left_out_and_named(tmp_path: Path) -> None:
    files(tmp_path, "empty.png")
    for name in ("a.png", "a.npy", "c.png"):
        (tmp_path / name).write_bytes(b"x")
    frames = [Frame("a", "a.png", "a.npy"), Frame("b", "b\0.png"), Frame("c", "c.png", "x" * 300), Frame("d", "c.png")]
    frames += [Frame("e", "c.png", "empty.png")]
    said: list[str] = []
    data = Dataset("set", tuple(frames), lambda _: pytest.fail("nothing is read"))
    assert with_files(data, tmp_path, said.append).keys == (frames[0], frames[3])
    [line] = said
    assert line.startswith("set: left out 3 of 5 frames whose files are missing or empty: b\0.png")
    assert with_files(replace(data, keys=tuple(frames[1:3])), tmp_path, said.append).keys == tuple(frames[1:3])
    assert len(said) == 1
