"""Drafts: a file is written aside, under a name that no other writer has, and put in place in one step.

A draft's name says on which machine and by which process it is written. So what a killed process has left is told from
what another one is writing at this moment.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import os
import re
import secrets
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from leadline.core.errors import ExportFailed, LeadlineError

STALE_S = 3600
"""A draft of another machine that nobody has written to for so long is left over from a process that was killed."""

_NAME = re.compile(r"\..+\.([0-9a-f]{12})\.(\d+)\.[0-9a-f]{8}", re.DOTALL)
_LONGEST = 120  # characters of the file's own name in that of its draft: file systems hold 255 bytes
_OPEN: set[str] = set()
"""The names of this process's own drafts, at this moment."""


def write_atomically(path: Path, content: bytes) -> Path:
    """Put `content` at `path` in one step that a crash cannot split, whoever else writes there at the same time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for last in (False, False, True):
        with aside(path) as draft:
            try:
                with draft.open("xb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                draft.replace(path)
                return path
            except FileNotFoundError:  # somebody has taken the draft for left over, or removed the folder
                if last:
                    raise
    raise AssertionError("the last attempt returns or raises")


@contextlib.contextmanager
def aside(path: Path) -> Iterator[Path]:
    """A place beside `path` for its draft. Nobody sweeps it inside; afterwards what is still there is gone."""
    draft = _draft(path)
    _OPEN.add(draft.name)
    try:
        yield draft
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        _OPEN.discard(draft.name)


def sweep(folder: Path) -> None:
    """Remove the drafts in `folder` that nobody writes to any more; other files are left as they are."""
    with contextlib.suppress(FileNotFoundError):
        for draft in folder.iterdir():
            with contextlib.suppress(OSError):  # another process sweeps too
                if is_abandoned(draft):
                    draft.unlink()


def is_draft(path: Path) -> bool:
    """Whether the file is a draft by its name."""
    return _NAME.fullmatch(path.name) is not None


def is_abandoned(draft: Path) -> bool:
    """Whether the file is a draft whose process has ended; of another machine, one left alone for STALE_S."""
    name = _NAME.fullmatch(draft.name)
    if name is None:
        return False
    machine, process = name[1], int(name[2])
    if machine == _machine() and (process == os.getpid() or not _lives(process)):
        return draft.name not in _OPEN
    return time.time() - draft.stat().st_mtime > STALE_S


def _draft(path: Path) -> Path:
    name = path.name.encode("utf-8", "surrogateescape")[:_LONGEST].decode("utf-8", "replace")
    return path.with_name(f".{name}.{_machine()}.{os.getpid()}.{secrets.token_hex(4)}")


def _lives(process: int) -> bool:
    """Whether a process of this machine may still run."""
    if sys.platform == "win32":
        return True  # signal 0 would end it there
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # another user's
    return True


@functools.cache
def _machine() -> str:
    """What processes share whose numbers can be told apart: the machine since its start, and in it the container."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def cache() -> Path:
    """Where leadline keeps what it can make anew: $LEADLINE_CACHE, or `leadline` in the user's own cache folder."""
    try:
        if given := os.environ.get("LEADLINE_CACHE"):
            return Path(given).expanduser()
        if sys.platform == "win32":
            return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "leadline"
        if sys.platform == "darwin":
            return Path.home() / "Library" / "Caches" / "leadline"
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "leadline"
    except RuntimeError as error:  # a container's user has no home
        raise LeadlineError(f"leadline has no place for its cache: {error}; {_SET_ANOTHER}") from None


_SET_ANOTHER = "set LEADLINE_CACHE to a folder that can be written"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


@contextlib.contextmanager
def kept(*places: Path | None) -> Iterator[None]:
    """What the system says of `places` inside is a LeadlineError that names LEADLINE_CACHE, if they are in the cache.

    Files elsewhere were named by the user: there the error stays what it is.
    """
    try:
        yield
    except (OSError, ExportFailed) as error:
        cause, root = error if isinstance(error, OSError) else error.__cause__, cache()
        inside = any(place is not None and place.is_relative_to(root) for place in places)
        if not inside or not isinstance(cause, OSError):
            raise
        where = Path(os.fsdecode(cause.filename or "elsewhere"))
        if not (cause.errno in _FULL or where.is_relative_to(root) or root.is_relative_to(where)):
            raise
        raise LeadlineError(f"leadline's cache {root} cannot be used: {cause}; {_SET_ANOTHER}") from error


def sha256(path: Path, *others: Path) -> str:
    """The file's SHA-256, as hexadecimal text; with `others` that of all their names and SHA-256."""
    if others:
        lines = " ".join(f"{one.name} {sha256(one)}" for one in (path, *others))
        return hashlib.sha256(lines.encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
