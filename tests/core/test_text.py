"""Text as other programs write it, and names as they are shown."""

from __future__ import annotations

import codecs
from pathlib import Path

import pytest

from leadline.core.text import columns, counted, decoded, figure, read_text, reason, shown, split_lines, split_list


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (b"", "utf-8"),
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be"),
    ],
)
def test_a_byte_order_mark_says_the_encoding_and_is_no_text(tmp_path: Path, mark: bytes, encoding: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(mark + "a/é.png\n".encode(encoding))
    assert read_text(path) == "a/é.png\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe\x00\xd8", "UTF-16"),
        (b"\x89PNG\r\n", "not text in UTF-8"),
        ("a.png\nb.png\n".encode("utf-16-le"), "without a byte order mark"),
        ("a.png\nb.png\n".encode("utf-16-be"), "without a byte order mark"),
    ],
)
def test_what_is_no_text_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decoded(content)


def test_bytes_of_a_file_s_name_can_be_kept() -> None:
    assert decoded(b"caf\xe9.png", "surrogateescape") == "caf\udce9.png"


def test_lines_end_in_any_of_three_ways_and_nothing_else_ends_them() -> None:
    assert split_lines("a\nb\r\nc\rd\u2028e\x0bf\n\n") == ["a", "b", "c", "d\u2028e\x0bf", "", ""]


def test_a_list_with_commas_has_each_name_once_without_blanks() -> None:
    assert split_list(" vis, npy ,,vis") == ("vis", "npy")


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("Zürich 東京.png", "Zürich 東京.png"),
        ("a\nb\tc", r"a\nb\tc"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("caf\udce9", r"caf\xe9"),
        ("\ud800", r"\ud800"),
    ],
)
def test_what_would_move_the_cursor_or_cannot_be_printed_is_written_out(name: str, seen: str) -> None:
    assert shown(name) == seen
    assert shown(name).encode("utf-8")


@pytest.mark.parametrize(
    ("line", "cells"),
    [
        ("a.png d.png 518.8", ["a.png", "d.png", "518.8"]),
        ("my room/0.jpg my room/0.png 518.8579", ["my room/0.jpg", "my room/0.png", "518.8579"]),
        ("a b.jpg None 721.5", ["a b.jpg", "None", "721.5"]),
        ("a b.jpg\t c d.png \t1e3", ["a b.jpg", "c d.png", "1e3"]),
        ("a b.jpg , c.png", ["a b.jpg", "c.png"]),
        ("scene/0001 depth/0001 500", ["scene/0001", "depth/0001", "500"]),
        ("only", ["only"]),
        ("", []),
    ],
)
def test_blanks_in_names_part_no_columns(line: str, cells: list[str]) -> None:
    assert columns(line) == cells


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("one\n  two"), "one two"),
        (AssertionError(), "AssertionError"),
        (ValueError("  \n "), "ValueError"),
        (ValueError("x" * 500), "x" * 17 + "..."),
    ],
)
def test_an_error_is_said_in_one_short_line(error: Exception, line: str) -> None:
    assert reason(error, 20) == line


def test_of_an_error_with_details_the_first_line_can_be_taken_alone() -> None:
    assert reason(ValueError("\nno such layer\nat line 3"), first_line=True) == "no such layer"
    assert reason(AssertionError(), first_line=True) == "AssertionError"


def test_one_thing_is_counted_without_an_s() -> None:
    assert [counted(n, "row") for n in range(3)] == ["0 rows", "1 row", "2 rows"]


def test_a_large_figure_is_no_power_of_ten() -> None:
    assert [figure(n) for n in (368329472, 1e6, 123456, 0.25)] == ["368 329 000", "1 000 000", "123456", "0.25"]
