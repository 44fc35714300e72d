"""What may be written: not over what is read, not outside, however the paths are spelled."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadline.core.writing import is_same, may_be_written, safe_names


@pytest.fixture
def read(tmp_path: Path) -> Path:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.png").write_text("mine")
    return tmp_path / "set" / "a.png"


def test_a_file_that_is_read_may_not_be_written(tmp_path: Path, read: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "set")
    (tmp_path / "soft.png").symlink_to(read)
    os.link(read, tmp_path / "hard.png")
    monkeypatch.chdir(tmp_path / "set")
    for path in (
        read, Path("a.png"), tmp_path / "set" / ".." / "set" / "a.png", tmp_path / "link" / "a.png",
        tmp_path / "soft.png", tmp_path / "hard.png", tmp_path / "SET" / "A.PNG",
    ):  # fmt: skip
        assert is_same(path, read)
        with pytest.raises(ValueError, match=r"over a file that is read, .*a\.png: give another --out"):
            may_be_written(path, reads=[tmp_path / "none", read])
    assert may_be_written(tmp_path / "b.png", reads=[read]) == tmp_path / "b.png"


def test_nothing_is_written_outside_of_its_folder(tmp_path: Path, read: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "away").symlink_to(tmp_path / "set")
    (out / "a.png").symlink_to(read)
    for name in ("../b.png", "../out2/b.png", "away/b.png", "a.png"):
        with pytest.raises(ValueError, match=r"lies outside of .*out"):
            may_be_written(out / name, inside=out)
    may_be_written(out / "x" / ".." / "b.png", inside=out)
    (tmp_path / "linked").symlink_to(out)
    may_be_written(tmp_path / "linked" / "b.png", inside=tmp_path / "linked")


def test_nothing_is_written_among_what_is_read(tmp_path: Path, read: Path) -> None:
    for name in ("b.png", "below/b.png", "../set/b.png"):
        with pytest.raises(ValueError, match="whose files are read"):
            may_be_written(tmp_path / "set" / name, apart=[read.parent])
    may_be_written(tmp_path / "settings" / "b.png", apart=[read.parent])


def test_names_of_lists_become_names_below_a_folder() -> None:
    names = ["../data/room/0", "data/room/0", "/etc/passwd", "..", "a", "A", "seq/b", "./seq//b", "a:b"]
    assert safe_names(names) == [
        "data/room/0", "data/room/0_2", "etc/passwd", "frame", "a", "A_2", "seq/b", "seq/b_2", "a:b",
    ]  # fmt: skip


@given(st.lists(st.text(st.sampled_from("aA./_2\\\0"), max_size=8), max_size=6))
def test_any_names_become_different_places_in_the_folder(names: list[str]) -> None:
    safe = safe_names(names)
    assert len({name.casefold() for name in safe}) == len(names)
    for name in safe:
        may_be_written(Path("/somewhere/out") / name, inside=Path("/somewhere/out"))


@given(st.lists(st.from_regex(r"[a-z0-9]{1,3}(/[a-z0-9]{1,3})?", fullmatch=True), unique=True))
def test_names_that_are_safe_stay(names: list[str]) -> None:
    assert safe_names(names) == names
