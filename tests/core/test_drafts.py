"""Files that are written in one step: by several at once, killed, and beside files of other programs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from leadline.core import storage as drafts
from leadline.core.storage import STALE_S, is_abandoned, sweep, write_atomically


def killed_draft(folder: Path) -> Path:
    """The draft of a process that was killed while it wrote."""
    code = (
        "import os, sys, signal; from pathlib import Path; from leadline.core import storage\n"
        "os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)\n"
        "storage.write_atomically(Path(sys.argv[1]), b'half')"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(folder / "file")])
    assert ended.returncode == -signal.SIGKILL
    [draft] = folder.iterdir()
    return draft


def test_what_a_killed_process_leaves_is_swept_at_once(tmp_path: Path) -> None:
    draft = killed_draft(tmp_path)
    assert draft.name.startswith(".file.") and is_abandoned(draft)
    sweep(tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_draft_of_a_living_process_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draft = killed_draft(tmp_path)
    monkeypatch.setattr(drafts, "_lives", lambda process: True)
    sweep(tmp_path)
    assert draft.exists()
    os.utime(draft, (time.time() - 2 * STALE_S,) * 2)  # another process has got its number since
    sweep(tmp_path)
    assert not draft.exists()


def test_a_draft_of_another_machine_stays_until_it_is_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draft = killed_draft(tmp_path)
    monkeypatch.setattr(drafts, "_machine", lambda: "0" * 12)
    sweep(tmp_path)
    assert draft.exists()
    os.utime(draft, (time.time() - 2 * STALE_S,) * 2)
    sweep(tmp_path)
    assert not draft.exists()


def test_a_process_does_not_sweep_what_it_writes_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fsync

    def sync(handle: int) -> None:
        sweep(tmp_path)
        real(handle)

    monkeypatch.setattr(os, "fsync", sync)
    assert write_atomically(tmp_path / "file", b"whole").read_bytes() == b"whole"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_other_hidden_files_are_never_swept(tmp_path: Path) -> None:
    names = [".plan.json.swp", ".plan.json.1", ".file", ".0123456789ab.1.01234567", "a.0123456789ab.1.01234567"]
    for name in names:
        (tmp_path / name).write_bytes(b"mine")
        os.utime(tmp_path / name, (1, 1))
    sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)


def test_a_draft_that_somebody_took_away_is_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, taken = os.fsync, []

    def sync(handle: int) -> None:
        real(handle)
        if not taken:
            [draft] = tmp_path.iterdir()
            draft.unlink()
            taken.append(draft)

    monkeypatch.setattr(os, "fsync", sync)
    assert write_atomically(tmp_path / "file", b"whole").read_bytes() == b"whole"
    assert taken and [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_folder_that_was_removed_meanwhile_is_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder := tmp_path / "pieces").mkdir()

    def sync(handle: int) -> None:
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()

    monkeypatch.setattr(os, "fsync", sync)
    with pytest.raises(FileNotFoundError):
        write_atomically(folder / "file", b"whole")
    assert not folder.exists()


def test_threads_that_write_one_file_leave_a_whole_one(tmp_path: Path) -> None:
    contents = [bytes([i]) * 200_000 for i in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda content: write_atomically(tmp_path / "file", content), contents))
    assert (tmp_path / "file").read_bytes() in contents
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_full_disk_leaves_the_old_file_and_no_draft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_atomically(tmp_path / "file", b"old")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("name", ["x" * 255, "é" * 127])
def test_the_longest_names_can_be_written(tmp_path: Path, name: str) -> None:
    assert write_atomically(tmp_path / name, b"whole").read_bytes() == b"whole"
