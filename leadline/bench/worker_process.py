"""The other end of `worker`: starts it, asks it, stops it between two questions, and sees to it that none stays behind.

Processes keep runtimes apart: several copies of OpenMP or LLVM in one process clash, a crash would end everything, and
threads that spin while they wait for work would slow down whatever runs next. So a worker stands still (SIGSTOP) unless
it is asked.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from leadline.core.errors import LeadlineError

_SLEEPS = sys.platform == "linux"  # elsewhere nothing ends a stopped process whose parent is killed


class RowFailed(LeadlineError):
    """A worker cannot do what it was asked; the message says why in one line."""


class Worker:
    """A running worker process. `cores` are those it stays on, empty for any; `threads` what its libraries may use."""

    def __init__(self, cores: Sequence[int], threads: int) -> None:
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 closed in `close`
        names = ",".join(map(str, cores)) or "any"
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "leadline.bench.worker", names],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": _import_path()},
            process_group=0 if os.name == "posix" else None,  # its own: `close` ends what it has started, too
        )
        self._answers: queue.Queue[bytes] = queue.Queue()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def ask(self, do: str, timeout_s: float = 600.0, **arguments: Any) -> dict[str, Any]:
        """What the worker's job `do` returns. RowFailed if it fails, dies or takes longer than `timeout_s`."""
        self._signal("SIGCONT")
        try:
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps({"do": do} | arguments).encode() + b"\n")
            self._process.stdin.flush()
            line = self._answers.get(timeout=min(timeout_s, threading.TIMEOUT_MAX))
        except queue.Empty:
            self.close()
            raise RowFailed(f"no answer to {do!r} within {timeout_s:.0f} s") from None
        except BrokenPipeError:
            line = b""
        if not line:
            raise RowFailed(self._last_words())
        self._signal("SIGSTOP")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise RowFailed(" ".join(str(answer["error"]).split()))
        return answer

    def close(self) -> None:
        """End the process and those it has started, whatever they are doing."""
        if os.name == "posix":
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        self._listener.join(timeout=5)
        for pipe in (self._process.stdin, self._process.stdout, self._errors):
            with contextlib.suppress(OSError):
                pipe.close()  # type: ignore[union-attr]

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with contextlib.suppress(ValueError, OSError):  # closed meanwhile
            for line in self._process.stdout:
                self._answers.put(line)
        self._answers.put(b"")

    def _signal(self, name: str) -> None:
        if _SLEEPS:
            self._process.send_signal(getattr(signal, name))

    def _last_words(self) -> str:
        code = self._process.wait()
        why = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
        self._errors.seek(0)
        lines = [line.strip() for line in self._errors.read().decode("utf-8", "replace").splitlines() if line.strip()]
        return f"its process died ({why})" + (f": {lines[-1][:300]}" if lines else "")


def _import_path() -> str:
    """PYTHONPATH with which the worker finds this very package, installed or not."""
    return os.pathsep.join(filter(None, [str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH")]))


@contextlib.contextmanager
def working(cores: Sequence[int] = (), threads: int = 1) -> Iterator[Worker]:
    """A worker that ends with the block."""
    worker = Worker(cores, threads)
    try:
        yield worker
    finally:
        worker.close()
