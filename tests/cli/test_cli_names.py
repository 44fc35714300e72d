"""File names as they are on people's disks, through the verbs: one bad name never stops the rest, and what is printed
is safe and whole whatever the terminal.
"""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from leadline.cli.main import main

RGB = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
DEPTH = np.random.default_rng(1).integers(500, 5000, (48, 64), dtype=np.uint16)
NAMES = ("a", "b\nc", "d\x1b[31m", "caf\udce9", "e ", "f.", "[g]", "H", "h", "~i", "-j", "\xfc", "#k", "l:3", "m\\n")
LONG = "x" * 251
Captured = pytest.CaptureFixture[str]


def picture(path: Path, pixels: np.ndarray = RGB) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:  # pillow does not find a format behind odd endings
        Image.fromarray(pixels).save(file, "PNG")
    return path


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set with odd names, one of whose images is damaged."""
    folder = tmp_path_factory.mktemp("set")
    for i, name in enumerate((*NAMES, LONG, "bad")):
        picture(folder / "images" / f"{name}.png", np.roll(RGB, i, axis=0))
        picture(folder / "depth" / f"{name}.png", np.roll(DEPTH, i, axis=0))
    (folder / "images" / "bad.png").write_bytes(b"x")
    return folder


def on_a_strict_terminal(monkeypatch: pytest.MonkeyPatch, *args: str | Path) -> tuple[int, str, str]:
    """(exit code, standard output, standard error) where the terminal has ASCII and refuses all else."""
    streams = {}
    for name in ("stdout", "stderr"):
        streams[name] = io.TextIOWrapper(io.BytesIO(), "ascii", "strict")
        monkeypatch.setattr(sys, name, streams[name])
    code = main([str(arg) for arg in args])
    said = []
    for stream in streams.values():
        stream.flush()
        said.append(stream.buffer.getvalue().decode("ascii"))  # type: ignore[attr-defined]
    monkeypatch.undo()
    return code, said[0], said[1]


def test_odd_names_are_predicted_and_printed_safely(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, named: Path, teacher: Path
) -> None:
    monkeypatch.setenv("LEADLINE_CACHE", str(tmp_path / "cache"))
    flags = ("predict", named / "images", "-m", teacher, "--save", "npy")
    code, out, err = on_a_strict_terminal(monkeypatch, *flags, "-o", tmp_path / "out")
    assert code == 1 and "bad.png is not an image" in err and err.count("\n") == 1
    assert out.count("wrote") == len(NAMES) + 1 and "\x1b" not in out
    assert out.count("\n") == 3 * (len(NAMES) + 1) + 1
    assert r"b\nc.png" in out and r"d\x1b[31m.png" in out and r"caf\xe9.png" in out
    code, out, err = on_a_strict_terminal(monkeypatch, *flags, "-o", tmp_path / "out2", "--json")
    facts = json.loads(out)
    assert (facts["n"], facts["n_failed"]) == (len(NAMES) + 2, 1)
    written = [file for one in facts["files"] for file in one.get("files", ())]
    assert len({file.casefold() for file in written}) == len(NAMES) + 1 and all(
        Path(file).is_file() for file in written
    )


@pytest.mark.parametrize("verb", ["ls", "check", "show"])
@pytest.mark.parametrize("as_json", [True, False])
def test_odd_names_in_data_are_shown_safely(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, named: Path, verb: str, as_json: bool
) -> None:
    flags = ("--out", tmp_path / "out", "--n", "20") if verb == "show" else ()
    code, out, err = on_a_strict_terminal(monkeypatch, "data", verb, named, *flags, *(["--json"] if as_json else []))
    assert code == (1 if verb == "check" else 0) and "fault of leadline" not in err
    assert "\x1b" not in out + err
    if as_json:
        facts = json.loads(out)
        assert verb != "ls" or facts["items"]["all"] == len(NAMES) + 2
    elif verb == "show":
        assert out.count("\n") == len(NAMES) + 1 and "bad.png" in err


def test_odd_names_are_labelled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, named: Path, teacher: Path) -> None:
    flags = ("--teacher", teacher, "--out", tmp_path / "labels", "--split", "all", "--json")
    code, out, err = on_a_strict_terminal(monkeypatch, "label", named, *flags)
    facts = json.loads(out)
    assert code == 0 and facts["n"] == len(NAMES) + 1
    assert [name for name, _ in [(line["name"], line["why"]) for line in facts["skipped"]]] == ["bad"]
    assert "left out bad" in err


def test_odd_names_are_measured_and_stand_in_the_table(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, named: Path, teacher: Path
) -> None:
    table = tmp_path / "new" / "x.csv"
    flags = ("val", "--data", named, "-m", teacher, "--split", "all", "--csv", table)
    code, _, err = on_a_strict_terminal(monkeypatch, *flags, "--protocol", " indoor-metric@1 , zeroshot-depth@1,")
    assert code == 0 and "left out: bad: " in err
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * (len(NAMES) + 2)
    assert {"b\nc", r"caf\udce9", "bad"} <= {row["name"] for row in rows}


def test_a_frame_that_is_not_there_does_not_stop_a_training(capsys: Captured, tmp_path: Path, teacher: Path) -> None:
    folder = tmp_path / "nyu"
    for i in range(3):
        picture(folder / "rgb" / f"{i}\x1b.png")
        picture(folder / "depth" / f"{i}\x1b.png", DEPTH)
    rows = "".join(f"rgb/{name}.png depth/{name}.png 500\n" for name in ("0\x1b", "1\x1b", "2\x1b", "no\0", "y" * 300))
    (folder / "nyu_train_files_with_gt.txt").write_bytes(b"\xef\xbb\xbf" + rows.replace("/", "\\").encode())
    args = ["train", "--data", folder, "--model", teacher, "--out", tmp_path / "run", "--batch", "2"]
    args += ["--fit.steps", "1", "--view.size", "32", "32", "--val-every", "0", "--workers", "0"]
    assert main([str(arg) for arg in args]) == 0
    err = capsys.readouterr().err
    assert r"left out 2 of 5 frames whose files are missing or empty: rgb\no\x00.png" in err and "\x1b" not in err


def test_bad_lines_of_a_list_do_not_stop_the_others(capsys: Captured, tmp_path: Path, teacher: Path) -> None:
    picture(tmp_path / "images" / "a b.png")
    picture(tmp_path / "images" / "c.png")
    lines = b"\xef\xbb\xbfimages\\a b.png\r\nno\0.png\rloop.png\n" + b"x" * 300 + b".png\r\n  images/c.png\n"
    (tmp_path / "list.txt").write_bytes(lines)
    (tmp_path / "loop.png").symlink_to("loop.png")
    args = ["predict", tmp_path / "list.txt", "-m", teacher, "-o", tmp_path / "out", "--save", " npy, vis ,"]
    assert main([str(arg) for arg in args]) == 1
    assert capsys.readouterr().err.count("cannot be read") == 3
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "a b_depth.npy", "a b_vis.png", "c_depth.npy", "c_vis.png",
    ]  # fmt: skip


@pytest.mark.parametrize("verb", [("predict",), ("data", "ls"), ("data", "check"), ("label",), ("val",)])
def test_photographs_that_are_not_read_are_named(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, teacher: Path, verb: tuple[str, ...]
) -> None:
    for place in ("formats", "image_sources"):
        monkeypatch.setattr(f"leadline.core.{place}.IMAGE_SUFFIXES", (".jpg", ".png", ".jfif"))
    folder = tmp_path / "photos"
    labelled = verb in (("val",), ("data", "check"))
    for name in ("a.png", "b.jfif"):
        picture(folder / "images" / name if labelled else folder / name)
    if labelled:
        picture(folder / "depth" / "a.png", DEPTH)
        picture(folder / "depth" / "b.png", DEPTH)
    for name in ("IMG_1.HEIC", "IMG_2.heic", "c.avif"):
        (folder / name).write_bytes(bytes(400))
    more = {
        "predict": (folder, "-m", teacher, "--save", "npy", "-o", tmp_path / "out"),
        "label": (folder, "--teacher", teacher, "--out", tmp_path / "out"),
        "val": ("--data", folder, "-m", teacher, "--split", "all"),
    }.get(verb[0], (folder,))
    main([str(arg) for arg in (*verb, *more)])
    [line] = [line for line in capsys.readouterr().err.splitlines() if "passed over" in line]
    assert "2 .heic (HEIC, read where pillow-heif is installed" in line and "1 .avif (AVIF" in line


@pytest.mark.parametrize("flag", [(), ("--protocol", "nope@1"), ("--model", "none.safetensors"), ("--split", "dev")])
def test_a_measurement_that_fails_leaves_no_table_and_no_folder(
    capsys: Captured, tmp_path: Path, named: Path, flag: tuple[str, ...]
) -> None:
    old, new = tmp_path / "old.csv", tmp_path / "new" / "x.csv"
    old.write_text("kept")
    data = named if flag else tmp_path / "none"
    for table in (old, new):
        assert main(["val", "--data", str(data), "--csv", str(table), *flag]) == 1
    assert old.read_text() == "kept" and not new.parent.exists()


def test_a_table_that_cannot_be_written_is_refused_at_once(capsys: Captured, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for table, why in ((tmp_path, "is a folder"), (tmp_path / "file" / "x.csv", "is no folder")):
        assert main(["val", "--data", str(tmp_path / "none"), "--csv", str(table)]) == 1
        assert why in capsys.readouterr().err
        assert main(["bench", "nothing", "--json", str(table)]) == 1
        assert why in capsys.readouterr().err
    assert main(["bench", "nothing", "--json", str(tmp_path / "deep" / "x.json")]) == 1
    assert not (tmp_path / "deep").exists()


def test_one_photograph_that_links_lead_to_again_has_one_result(
    capsys: Captured, tmp_path: Path, teacher: Path
) -> None:
    picture(tmp_path / "photos" / "a.jpg")
    (tmp_path / "photos" / "sub").mkdir()
    (tmp_path / "photos" / "sub" / "up").symlink_to("..")
    args = ["predict", f"{tmp_path}/photos/**/*.jpg", "-m", teacher, "-o", tmp_path / "out", "--save", "npy"]
    assert main([str(arg) for arg in args]) == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a_depth.npy"]
