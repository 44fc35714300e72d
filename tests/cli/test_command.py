"""From words to a function call: help, what is not understood, and the one line in which anything fails."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

import leadline
from leadline.cli.command import check_writable, names, run, warn, write_whole
from leadline.cli.main import VERBS, main
from leadline.training.options import FitOptions

ROOT = Path(__file__).resolve().parents[2]
Captured = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["predct"], "there is no verb 'predct'; nearest: predict"),
        (["data", "lss"], "there is no data verb 'lss'; nearest: ls"),
        (["predict"], "SOURCE"),
        (["predict", "x", "--nope"], "there is no flag --nope; nearest: --no-flip, "),
        (["val", "--data", "x", "--limit", "many"], "--limit: 'many' is no whole number (see"),
        (["bench", "x", "--n", "1.5"], "--n: '1.5' is no whole number (see"),
        (["predict", "x", "--fov", "wide"], "--fov: 'wide' is no number (see"),
        (["train", "--data", "x", "--out", "y", "--lr", "fast"], "--fit.lr: 'fast' is no number (see"),
    ],
)
def test_words_that_are_not_understood_are_one_line_and_exit_code_2(
    capsys: Captured, args: list[str], message: str
) -> None:
    assert main(args) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("leadline: ") and err.count("\n") == 1
    assert message in err


@pytest.mark.parametrize("args", [[], ["--help"], ["data"], ["data", "-h"]])
def test_help_shows_every_verb_and_what_it_does(capsys: Captured, args: list[str]) -> None:
    assert main(args) == 0
    out = capsys.readouterr().out
    verbs = VERBS["data"] if args[:1] == ["data"] else VERBS
    assert isinstance(verbs, dict)
    assert all(f"  {verb} " in out for verb in verbs)


@pytest.mark.parametrize("verb", [name for name, found in VERBS.items() if callable(found)])
def test_every_verb_has_help_for_every_flag(capsys: Captured, verb: str) -> None:
    assert main([verb, "--help-all"]) == 0
    out = capsys.readouterr().out
    assert f"usage: leadline {verb}" in out
    assert "--json" in out


def test_of_a_flag_that_is_given_twice_the_last_counts_and_that_is_said(capsys: Captured) -> None:
    assert main(["label", "none", "--teacher", "a", "--teacher=b", "--out", "x"]) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert "--teacher is given twice, and the last counts" in first and "b is no teacher" in second


def test_the_version_is_the_package_s(capsys: Captured) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"leadline {leadline.__version__}\n"


def test_a_message_of_several_lines_becomes_one(capsys: Captured) -> None:
    def fail() -> int:
        """Fail."""
        raise ValueError("first\n  second")

    assert run({"fail": fail}, ["fail"]) == 1
    assert capsys.readouterr().err == "leadline: first second\n"


def test_debugging_shows_the_traceback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LEADLINE_DEBUG", "1")
    with pytest.raises(leadline.LeadlineError, match="there is no"):
        main(["predict", str(tmp_path / "none.jpg")])


def test_an_interruption_is_one_line_and_exit_code_130(capsys: Captured) -> None:
    def stop() -> int:
        """Stop."""
        raise KeyboardInterrupt

    assert run({"stop": stop}, ["stop"]) == 130
    assert capsys.readouterr().err == "leadline: interrupted\n"


def test_the_help_loads_neither_torch_nor_numpy() -> None:
    code = (
        "import sys; from leadline.cli.main import main; main(['--help']); main(['predict', '--help']); "
        "sys.exit(str(sorted({'torch', 'numpy', 'PIL', 'matplotlib', 'scipy'} & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr == "[]\n"


def test_a_reader_that_has_gone_is_no_traceback() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "leadline", "--help"]
    done = subprocess.run(command, cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert done.stderr == ""


def test_names_stand_between_commas_and_blanks_do_not_count() -> None:
    assert names(" onnx , openvino,,onnx ", "runtime") == ("onnx", "openvino")
    assert names(None, "runtime") == ()


@pytest.mark.parametrize("text", ["", " ", ",", " , "])
def test_a_flag_that_names_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="and names nothing"):
        names(text, "runtime")


@pytest.mark.parametrize(
    "args",
    [
        ["val", "--data", "x", "--protocol", ","],
        ["bench", "x", "--runtime", " "],
        ["bench", "x", "--precision", ""],
        ["parity", "x", "--runtime", ","],
        [
            "prune",
            "x",
            "--method",
            "l1",
            "--budget",
            "macs=0.5x",
            "--data",
            "x",
            "--out",
            "y.safetensors",
            "--protocol",
            ",",
        ],
    ],
)
def test_every_list_with_commas_refuses_to_name_nothing(capsys: Captured, args: list[str]) -> None:
    assert main(args) == 1
    assert "names nothing" in capsys.readouterr().err


def test_a_tilde_is_the_user_s_folder_behind_any_flag(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/the-home")
    said = []

    def verb(source: str, /, *, out: str = "") -> int:
        """Take words."""
        said.append((source, out))
        return 0

    for args in (["~/a", "--out=~/b"], ["~", "--out", "~/b"], ["a~/b", "--out", "~x"]):
        assert run({"verb": verb}, ["verb", *args]) == 0
    assert said == [("/the-home/a", "/the-home/b"), ("/the-home", "/the-home/b"), ("a~/b", "~x")]


def test_what_is_complained_of_cannot_move_the_cursor(capsys: Captured) -> None:
    warn("no \x1b[2Jfile\r\n called\x00 caf\udce9")
    assert capsys.readouterr().err == "leadline: no \\x1b[2Jfile called\\x00 caf\\xe9\n"


def test_a_file_is_written_whole_and_a_device_stays_one(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    write_whole(tmp_path / "link", "caf\udce9")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real").read_text() == "caf\\udce9"
    write_whole(tmp_path / "new" / "deep", "x")
    assert (tmp_path / "new" / "deep").read_text() == "x"
    check_writable(Path("/dev/null"))
    write_whole(Path("/dev/null"), "x")
    assert not Path("/dev/null").is_file() and Path("/dev/null").exists()


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EEXIST, "leadline: out: it is there already, as a file; give another folder"),
        (errno.ENOTDIR, "leadline: out: it is a file, or lies below one; a folder is needed"),
        (errno.ENOSPC, "leadline: out: the disk is full; make room"),
        (errno.EROFS, "leadline: out: the disk is read-only; give a folder that can be written"),
        (errno.EACCES, "leadline: out: permission denied; give"),
    ],
)
def test_what_the_system_refuses_is_said_with_what_to_do(capsys: Captured, number: int, said: str) -> None:
    def verb() -> int:
        raise OSError(number, os.strerror(number), "out")

    assert run({"verb": verb}, ["verb"]) == 1
    assert capsys.readouterr().err.startswith(said)


def test_the_learning_rate_and_the_steps_have_short_names(capsys: Captured) -> None:
    def train(*, fit: FitOptions) -> int:
        print(fit.lr, fit.steps)
        return 0

    assert run({"train": train, "other": train}, ["train", "--lr", "0.5", "--steps=7"]) == 0
    assert capsys.readouterr().out == "0.5 7\n"
    assert run({"train": train, "other": train}, ["other", "--lr", "0.5"]) == 2
