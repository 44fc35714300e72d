"""Names of files as folders and lists have them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from leadline.core.errors import BadData
from leadline.data.layouts.detect import open_dataset
from leadline.data.layouts.filelist import each_once, find_files, located, read_lines, stem, walk
from leadline.data.synthetic.textures import textures


def files(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_each_real_folder_is_entered_once_by_its_own_place(tmp_path: Path) -> None:
    files(tmp_path, "set/z/1.png", "set/z/2.png", "more/3.png")
    for link, to in (("a", "z"), ("up", ".."), ("self", "."), ("m", "../more"), ("n", "../more")):
        (tmp_path / "set" / link).symlink_to(to)
    assert find_files(tmp_path / "set", (".png",)) == ["m/3.png", "z/1.png", "z/2.png"]
    assert each_once([tmp_path / "set" / "z", tmp_path / "set" / "a"]) == [tmp_path / "set" / "z"]


def test_pipes_are_left_out_and_links_to_nothing_stay_to_be_named(tmp_path: Path) -> None:
    files(tmp_path, "1.png", "__MACOSX/2.png", "@eaDir/3.png", "4.PNG ", "5.png.")
    os.mkfifo(tmp_path / "6.png")
    (tmp_path / "7.png").symlink_to("away.png")
    (tmp_path / "8.png").symlink_to("8.png")
    assert find_files(tmp_path, (".png",)) == ["1.png", "4.PNG ", "5.png.", "7.png", "8.png"]


def test_a_folder_that_may_not_be_read_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files(tmp_path, "a/1.png", "locked/2.png")
    scandir = os.scandir

    def guarded(path: Path) -> Iterator[os.DirEntry[str]]:
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied")
        return scandir(path)  # type: ignore[return-value]

    monkeypatch.setattr("leadline.data.layouts.filelist.os.scandir", guarded)
    refused: list[str] = []
    assert (list(walk(tmp_path, refused)), refused) == (["a/1.png"], ["locked"])
    with pytest.raises(BadData, match="may not be read: permission denied"):
        find_files(tmp_path / "locked", (".png",))


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfa 1.png\r\n\r\nb.png\r\n",
        "a 1.png\nb.png\n".encode("utf-16"),
        b"  a 1.png  \rb.png\t\r# c.png",
    ],
)
def test_lists_are_read_as_other_programs_write_them(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    assert read_lines(tmp_path / "a.txt") == ["a 1.png", "b.png"]


def test_a_list_keeps_names_that_are_no_utf_8_and_lines_that_are_no_names(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"caf\xe9.png\nb.png\n")
    assert read_lines(tmp_path / "a.txt") == ["caf\udce9.png", "b.png"]
    (tmp_path / "b.txt").write_bytes(b"a\0.png\nb.png\n")
    assert read_lines(tmp_path / "b.txt") == ["a\0.png", "b.png"]


def test_listed_names_may_have_been_written_on_windows_and_bad_ones_stay(tmp_path: Path) -> None:
    files(tmp_path, "sync/k/1.jpg", "sync/k\\2.jpg")
    long = "x" * 300
    names = ["k\\1.jpg", "\\k\\1.jpg", "k\\2.jpg", "no\0.jpg", long]
    assert located(tmp_path, names, ["", "sync"]) == ["sync/k/1.jpg", "sync/k/1.jpg", "sync/k\\2.jpg", "no\0.jpg", long]


@pytest.mark.parametrize(("name", "expected"), [("a/b.c.png", "a/b.c"), ("", ""), ("..", ".."), ("a.", "a.")])
def test_a_stem_of_odd_names(name: str, expected: str) -> None:
    assert stem(name) == expected


def test_a_pipe_is_never_waited_for(tmp_path: Path) -> None:
    for name in ("nyu_test_files_with_gt.txt", "a.jpg", "nyu_labeled.mat"):
        os.mkfifo(tmp_path / name)
    with pytest.raises(BadData, match=r"nyu_labeled\.mat is no file; get it again"):
        open_dataset(tmp_path, "all", layout="nyu_mat")
    with pytest.raises(BadData, match="is no file"):
        read_lines(tmp_path / "nyu_test_files_with_gt.txt")
    with pytest.raises(BadData, match="no readable photograph"):
        textures(tmp_path)
