"""What people type for images: folders, lists and patterns, with the names and links that they have on disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from leadline.core.errors import BadImage
from leadline.core.image_sources import sources


def files(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def found(root: Path, source: str) -> list[str]:
    return [os.path.relpath(path, root) for path in sources(f"{root}/{source}" if source else root)]


def test_a_link_to_a_folder_above_gives_each_photograph_once(tmp_path: Path) -> None:
    files(tmp_path, "photos/a.jpg", "photos/sub/b.jpg", "photos/.trash/c.jpg", "other/d.jpg")
    (tmp_path / "photos" / "sub" / "up").symlink_to("..")
    (tmp_path / "photos" / "aaa").symlink_to("../other")
    (tmp_path / "photos" / "bbb").symlink_to("../other")
    expected = ["photos/a.jpg", "photos/aaa/d.jpg", "photos/sub/b.jpg"]
    assert found(tmp_path, "photos/**/*.jpg") == expected
    assert found(tmp_path, "photos/**") == expected
    assert found(tmp_path, "photos/**/**/*.jpg") == expected
    assert found(tmp_path, "photos/*/*.jpg") == ["photos/aaa/d.jpg", "photos/sub/b.jpg"]


def test_a_photograph_is_named_by_its_own_folder_and_not_by_a_link(tmp_path: Path) -> None:
    files(tmp_path, "photos/z/a.jpg")
    (tmp_path / "photos" / "a").symlink_to("z")
    assert found(tmp_path, "photos/**/*.jpg") == ["photos/z/a.jpg"]
    assert found(tmp_path, "photos/*/*.jpg") == ["photos/z/a.jpg"]


@pytest.mark.parametrize("name", ["photos[1]", "what?", "all*", "[a-b]", "photos[1"])
def test_a_folder_that_looks_like_a_pattern_is_itself(tmp_path: Path, name: str) -> None:
    files(tmp_path, f"{name}/a.jpg", f"{name}/deep/b.jpg", "photos1/c.jpg", "whatx/c.jpg", "a/c.jpg")
    assert found(tmp_path, name) == [f"{name}/a.jpg"]
    assert found(tmp_path, f"{name}/*.jpg") == [f"{name}/a.jpg"]
    assert found(tmp_path, f"{name}/**/*.jpg") == [f"{name}/a.jpg", f"{name}/deep/b.jpg"]


def test_brackets_that_fit_nothing_are_part_of_the_name(tmp_path: Path) -> None:
    files(tmp_path, "IMG[1]_a.jpg", "IMG[1]_b.jpg")
    assert found(tmp_path, "IMG[1]*.jpg") == ["IMG[1]_a.jpg", "IMG[1]_b.jpg"]
    files(tmp_path, "IMG1_c.jpg")
    assert found(tmp_path, "IMG[1]*.jpg") == ["IMG1_c.jpg"]


def test_a_pattern_without_an_ending_stands_for_images(tmp_path: Path) -> None:
    files(tmp_path, "a.jpg", "a.json", "b.AVIF", "c.txt", ".d.jpg")
    assert found(tmp_path, "*") == ["a.jpg", "b.AVIF"]
    assert found(tmp_path, "*.json") == ["a.json"]


def test_hidden_files_pipes_and_folders_are_no_photographs_but_a_link_to_nothing_is_named(tmp_path: Path) -> None:
    files(tmp_path, "a.jpg", "._a.jpg", "b.JFIF", "c.jpg ", "d.jpg.", "deep.jpg/e.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "gone.jpg").symlink_to("away.jpg")
    assert found(tmp_path, "") == ["a.jpg", "b.JFIF", "c.jpg ", "d.jpg.", "gone.jpg"]
    assert found(tmp_path, "gone.jpg") == ["gone.jpg"]


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfimages/000.png\r\nimages/my room.png\r\n",
        "images/000.png\nimages/my room.png".encode("utf-16"),
        b"images/000.png\rimages/my room.png\r",
        b"images\\000.png\r\nimages\\my room.png\r\n",
        b'  images/000.png  \n"images/my room.png"\n',
        b"images/000.png depth/000.png 518.8\nimages/my room.png\tdepth/000.png\n",
        b"images/000.png,depth/000.png\nimages/my room.png, depth/000.png\n",
    ],
)
def test_a_list_is_read_as_other_programs_write_it(tmp_path: Path, content: bytes) -> None:
    files(tmp_path, "images/000.png", "images/my room.png")
    (tmp_path / "list.txt").write_bytes(content)
    assert found(tmp_path, "list.txt") == ["images/000.png", "images/my room.png"]


def test_odd_names_in_a_list_that_exist_are_themselves(tmp_path: Path) -> None:
    names = ["back\\slash.png", "#1.png", "a, b.png", "~b.png", " c.png", "x\u2028y.png", "caf\udce9.png", 'quo"te.png']
    files(tmp_path, *names)
    (tmp_path / "list.txt").write_text("# mine\n" + "\n".join(names) + "\n", "utf-8", "surrogateescape")
    assert found(tmp_path, "list.txt") == names


def test_a_bad_line_in_a_list_stays_for_its_turn(tmp_path: Path) -> None:
    files(tmp_path, "a.png", "b.png")
    long = "x" * 300 + ".png"
    (tmp_path / "list.txt").write_bytes(b"a.png\nno\0.png\n~nobody/c.png\n" + long.encode() + b"\nb.png\n")
    assert [p.name for p in sources(tmp_path / "list.txt")] == ["a.png", "no\0.png", "c.png", long, "b.png"]


def test_a_tilde_is_the_user_s_folder_unless_something_is_called_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, here = tmp_path / "home", tmp_path / "here"
    files(tmp_path, "home/a.jpg", "here/~x.jpg")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(here)
    assert sources("~") == [home / "a.jpg"] == sources("~/*.jpg")
    assert sources("~x.jpg") == [Path("~x.jpg")]
    (here / "list.txt").write_text("~/a.jpg\n")
    assert sources(here / "list.txt") == [home / "a.jpg"]


@pytest.mark.parametrize("name", ["a\0b.jpg", "x" * 300 + ".jpg", "x" * 300 + "*.jpg", "~nobody-here/a.jpg", "none/**"])
def test_a_name_that_nothing_has_is_a_bad_image(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadImage, match=r"there is no|no file matches"):
        sources(name if name.startswith("~") else tmp_path / name)


def test_what_is_passed_over_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("formats", "image_sources"):
        monkeypatch.setattr(f"leadline.core.{place}.IMAGE_SUFFIXES", (".jpg", ".jfif"))
    files(tmp_path, "a.jpg", "b.JFIF", "IMG.HEIC", "2.heic", "c.avif", "IMG_0001", "d.jpg_large", "notes.txt", "README")
    files(tmp_path, "e.npy", ".f.heic", "deep/g.heic")
    os.mkfifo(tmp_path / "pipe.jpg")
    for source in (tmp_path, f"{tmp_path}/*"):
        said: list[str] = []
        assert [path.name for path in sources(source, said.append)] == ["a.jpg", "b.JFIF"]
        [line] = said
        for part in (
            "2 .heic (HEIC, read where pillow-heif is installed",
            "1 .avif (AVIF, ",
            "1 without an ending, 1 .jpg_large (no ending of a photograph)",
            "pipe.jpg (a pipe, a socket or a device)",
        ):
            assert part in line
        assert "txt" not in line and "npy" not in line and "README" not in line


def test_where_all_is_read_nothing_is_said(tmp_path: Path) -> None:
    files(tmp_path, "a.jpg", "B.JPG ", "notes.txt", "README", ".DS_Store", "Thumbs.db", "deep/b.heic")
    said: list[str] = []
    for source in (tmp_path, f"{tmp_path}/**/*.jpg", f"{tmp_path}/*", tmp_path / "a.jpg"):
        sources(source, said.append)
    assert said == []


def test_a_folder_below_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files(tmp_path, "a/a.jpg", "locked/b.jpg")
    listed, said = os.listdir, []

    def guarded(path: str) -> list[str]:
        if path.endswith("locked"):
            raise PermissionError(13, "Permission denied")
        return listed(path)

    monkeypatch.setattr("leadline.core.image_sources.os.listdir", guarded)
    for pattern in ("**/*.jpg", "*/*.jpg", "**"):
        assert [path.name for path in sources(f"{tmp_path}/{pattern}", said.append)] == ["a.jpg"]
    assert len(said) == 3 and all("locked (it may not be read)" in line for line in said)


def test_a_folder_that_may_not_be_read_is_a_bad_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: str) -> list[str]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("leadline.core.image_sources.os.listdir", refuse)
    with pytest.raises(BadImage, match="may not be read: permission denied"):
        sources(tmp_path)
