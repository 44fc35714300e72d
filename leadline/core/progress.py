"""What goes on, told to a person who waits, on standard error: on a terminal in one line that the next overwrites,
elsewhere (a log file, CI) in plain lines, few of them. `--quiet` silences both.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from leadline.core.text import shown

AFTER_S = 1.0
"""Off a terminal the first line waits so long: a mistake that is found before ends in one line, the error's."""
EVERY_S = 5.0
"""Off a terminal so many seconds lie between two lines."""
QUIET_VARIABLE = "LEADLINE_QUIET"


@dataclass
class _Command:
    """The command that runs now. Times are those of `time.monotonic`; `waiting` is a line that is not written yet."""

    quiet: bool = False
    began_at: float = float("-inf")
    written_at: float = float("-inf")
    waiting: str = ""
    timer: threading.Timer | None = None


_now = _Command()
_LOCK = threading.RLock()


@contextlib.contextmanager
def command(quiet: bool = False) -> Iterator[None]:
    """One command of the command line, quiet or not; the environment variable LEADLINE_QUIET (1) makes all quiet."""
    before = vars(_now).copy()
    quiet = quiet or os.environ.get(QUIET_VARIABLE, "0") not in ("", "0")
    vars(_now).update(vars(_Command(quiet, time.monotonic())))
    try:
        yield
    finally:
        if _now.timer is not None:
            _now.timer.cancel()
        vars(_now).update(before)


def is_quiet() -> bool:
    """Whether the command that runs now was told to be quiet."""
    return _now.quiet


def progress(line: str) -> None:
    """Say what goes on. On a terminal the next line overwrites it, and "" clears it. Elsewhere a line is written unless
    the last one is younger than `EVERY_S`; the first one waits as `AFTER_S` says.
    """
    if _now.quiet:
        return
    if sys.stderr.isatty():
        print(f"\r\x1b[2K{shown(line)}", end="", file=sys.stderr, flush=True)
        return
    with _LOCK:
        now = time.monotonic()
        if line and now - _now.began_at < AFTER_S:
            _now.waiting = line
            if _now.timer is None:
                _now.timer = threading.Timer(AFTER_S - (now - _now.began_at), write_waiting)
                _now.timer.daemon = True
                _now.timer.start()
        elif line and now - _now.written_at >= EVERY_S:
            _write(line)


def write_waiting() -> None:
    """Write the line that waits, if one does: its time has come, or what follows will print into nothing."""
    with _LOCK:
        if _now.waiting:
            _write(_now.waiting)


def _write(line: str) -> None:
    _now.waiting, _now.written_at = "", time.monotonic()
    print(f"leadline: {shown(line)}", file=sys.stderr, flush=True)
