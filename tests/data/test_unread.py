"""What is passed over is named in one line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from leadline.data import unread as module
from leadline.data.unread import unread, unread_here


def files(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_pictures_that_are_not_read_are_counted_by_ending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IMAGE_SUFFIXES", (".jpg", ".jfif"))
    files(tmp_path, "a.jpg", "b.jfif", "IMG_1.HEIC", "deep/2.heic", "c.avif", "d.CR2", "e.mov", "notes.txt", ".f.heic")
    said = unread(tmp_path)
    for part in ("2 .heic (HEIC, ", "1 .avif (AVIF, ", "1 .cr2 (a raw format, ", "1 .mov (a video, "):
        assert part in said
    assert said.count("\n") == 0 and "pip install pillow-heif" in said
    assert "2 .heic" not in unread_here(tmp_path) and "1 .heic" in unread_here(tmp_path)


def test_where_all_is_read_nothing_is_said(tmp_path: Path) -> None:
    files(tmp_path, "a.jpg", "B.JPG ", "notes.txt", "README", "x/c.png", "depth/a.npy", ".DS_Store", "Thumbs.db")
    assert unread(tmp_path) == unread_here(tmp_path) == unread_here(tmp_path / "none") == ""


def test_beside_photographs_any_other_file_is_named(tmp_path: Path) -> None:
    files(tmp_path, "a.jpg", "IMG_0001", "b.jpg_large", "c.h5")
    os.mkfifo(tmp_path / "d.jpg")
    said = unread_here(tmp_path)
    for part in ("1 without an ending", "1 .jpg_large", "1 .h5", "1 pipe or device"):
        assert part in said


def test_a_folder_that_may_not_be_entered_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(root: Path, refused: list[str]) -> list[str]:
        refused.append("locked\x1b")
        return ["a.jpg"]

    monkeypatch.setattr(module, "walk", refuse)
    assert unread(tmp_path).endswith(r"passed over the folder locked\x1b (it may not be read)")
