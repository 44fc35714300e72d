"""What a run leaves: the terminal and the curves are whole however it ends, and its files say what can be done."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.tiny_training import batches, loss, options, tiny

from leadline import __version__
from leadline.core.errors import TrainingFailed
from leadline.training import state as train_state
from leadline.training.fit import fit
from leadline.training.state import commit, curves, read_json

HIDE, SHOW = b"\x1b[?25l", b"\x1b[?25h"


def git(*words: str, at: Path) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    return subprocess.run(["git", *who, *words], cwd=at, check=True, capture_output=True, text=True).stdout.strip()


def package(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of the name leadline, from which `commit` believes to be called."""
    place = folder / "leadline"
    place.mkdir(parents=True)
    (place / "__init__.py").touch()
    monkeypatch.setattr(train_state, "__file__", str(place / "training" / "state.py"))
    return place


def test_a_repository_around_an_installation_is_not_its_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git("init", "-q", at=tmp_path)
    (tmp_path / ".gitignore").write_text(".venv\n")
    git("add", ".", at=tmp_path)
    git("commit", "-qm", "mine", at=tmp_path)
    package(tmp_path / ".venv" / "lib" / "site-packages", monkeypatch)
    assert commit() == __version__


def test_a_copy_that_the_users_repository_holds_is_not_leadlines_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package(tmp_path / "vendor", monkeypatch)
    git("init", "-q", at=tmp_path)
    git("add", ".", at=tmp_path)
    git("commit", "-qm", "mine", at=tmp_path)
    assert commit() == __version__


def test_a_checkout_is_at_its_commit_whatever_a_hook_says_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, other = package(tmp_path / "own", monkeypatch), tmp_path / "other"
    other.mkdir()
    for folder in (tmp_path / "own", other):
        git("init", "-q", at=folder)
        (folder / "a.txt").write_text(folder.name)
        git("add", ".", at=folder)
        git("commit", "-qm", folder.name, at=folder)
    head = git("rev-parse", "--short=12", "HEAD", at=tmp_path / "own")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    assert commit() == head
    (place / "__init__.py").write_text("changed = True\n")
    assert commit() == f"{head}+"


def test_without_git_there_is_the_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert commit() == __version__


ENDINGS = """
import os, signal, time
from leadline.training.state import curves

def failed(): raise ValueError("no")
def interrupted(): raise KeyboardInterrupt
def terminated(): os.kill(os.getpid(), signal.SIGTERM); time.sleep(20)
def done(): pass

for end in (failed, interrupted, terminated, done):
    try:
        with curves(None, 10, 0) as write:
            write(1, {"loss": 1.0}, 2.0)
            end()
        print("left by nothing")
    except BaseException as error:
        print("left by", type(error).__name__, getattr(error, "code", ""))
"""


def test_the_terminal_gets_its_cursor_back_however_a_run_ends() -> None:
    ours, theirs = pty.openpty()
    around = {**os.environ, "TERM": "xterm", "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen([sys.executable, "-c", ENDINGS], stdin=theirs, stdout=theirs, stderr=theirs, env=around)
    os.close(theirs)
    said = b""
    while True:
        try:
            said += (read := os.read(ours, 4096))
        except OSError:  # the other side is closed
            break
        if not read:
            break
    os.close(ours)
    assert process.wait() == 0
    for line in said.split(b"left by")[:-1]:
        assert line.count(HIDE) == line.count(SHOW) == 1 and line.index(HIDE) < line.index(SHOW)
    left = [part.split(b"\r")[0].split() for part in said.split(b"left by ")[1:]]
    assert left == [[b"ValueError"], [b"KeyboardInterrupt"], [b"SystemExit", b"143"], [b"nothing"]]


def test_a_failed_run_closes_its_event_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch.utils.tensorboard import SummaryWriter

    closed = []
    close = SummaryWriter.close
    monkeypatch.setattr(SummaryWriter, "close", lambda board: (closed.append(board), close(board)))
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(RuntimeError, match="no"), curves(tmp_path, 3, 0) as write:
        write(1, {"loss": 1.0}, 1.0)
        raise RuntimeError("no")
    assert len(closed) == 1 and signal.getsignal(signal.SIGTERM) == before


def test_a_batch_that_fails_leaves_no_open_curves(tmp_path: Path) -> None:
    alive = []

    def broken(start: int) -> Iterator[Any]:
        yield next(batches()(0))
        alive.extend(thread for thread in threading.enumerate() if "tensorboard" in type(thread).__module__)
        raise TrainingFailed("the disk is gone")

    with pytest.raises(TrainingFailed, match="the disk is gone"):
        fit(tiny(), broken, loss, options(log_every=1), out=tmp_path)
    writing = [thread for thread in threading.enumerate() if "tensorboard" in type(thread).__module__]
    assert len(alive) == 1 and not writing


def test_a_damaged_record_does_not_end_a_run_that_goes_on(tmp_path: Path) -> None:
    fit(tiny(), batches(), loss, options(steps=3), out=tmp_path)
    (tmp_path / "run.json").write_text('{"command": [')
    fit(tiny(), batches(), loss, options(steps=3), out=tmp_path, resume=True)
    assert read_json(tmp_path / "run.json")["resumed"][0]["at_step"] == 3


@pytest.mark.parametrize("content", [b"", b'{"a": [', b"\xff\xfe{}"])
def test_a_damaged_file_of_a_run_is_named_with_what_to_do(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "history.json"
    path.write_bytes(content)
    with pytest.raises(TrainingFailed, match=r"history\.json is damaged .*: remove .*, or give another --out"):
        read_json(path)


@pytest.mark.parametrize("damage", ["empty", "cut", "zeros", "other"])
def test_what_is_said_of_a_damaged_state_can_be_followed(damage: str, tmp_path: Path) -> None:
    plan, state = options(steps=4, save_every=2), tmp_path / "run" / "state.safetensors"
    whole, _ = fit(tiny(), batches(), loss, plan, out=tmp_path / "run")
    good = state.read_bytes()
    state.write_bytes({"empty": b"", "cut": good[:1000], "zeros": bytes(len(good)), "other": b"hello"}[damage])
    with pytest.raises(TrainingFailed, match=r"Remove state\.safetensors, and the run starts .*last\.safetensors"):
        fit(tiny(), batches(), loss, plan, out=tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "last.safetensors").exists()
    state.unlink()
    again, _ = fit(tiny(), batches(), loss, plan, out=tmp_path / "run")
    assert all((a == b).all() for a, b in zip(whole.parameters(), again.parameters(), strict=True))
