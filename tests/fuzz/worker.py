"""A process that tries cases one after another, so that a crash, a hang or a greedy one costs only itself.

On standard input a line of JSON for each case, on standard output one with what became of it.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import resource
import shutil
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fuzz.case import generator

_ROOM = 5 << 30
"""Bytes that a case may ask for beyond what the process has; a request for more fails at once and is a fault.

More than the 4 GiB of a 32-bit length: a read of so many bytes from a short file takes addresses and no memory.
"""


def serve(family: str, prepared: Path) -> None:
    """Answer requests until there are no more. What a case prints goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    make = importlib.import_module(f"fuzz.{family}").make
    answers.write(json.dumps({"outcome": "ready"}) + "\n")
    answers.flush()
    for line in sys.stdin:
        request = json.loads(line)
        answers.write(json.dumps(tried(make, family, Path(request["folder"]), prepared, request)) + "\n")
        answers.flush()


def tried(make: Any, family: str, folder: Path, prepared: Path, request: dict[str, Any]) -> dict[str, Any]:
    """What became of one case: `read`, `refused` with the error's kind, or `fault` with a traceback."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        case = make(generator(family, request["seed"], request["number"]), folder, prepared)
    except Exception as error:  # a fault of this test
        said = "".join(traceback.format_exception(error))
        return {"outcome": "fault", "kind": "not made", "what": "a case", "text": str(error)[:400], "fault": said}
    (folder.parent / f"{folder.name}.what").write_text(case.what, "utf-8", "backslashreplace")
    _forget_peak()
    resource.setrlimit(resource.RLIMIT_AS, (_mib("VmSize") * 1024 * 1024 + _ROOM, -1))
    began, said = time.perf_counter(), {"outcome": "read", "kind": ""}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # as in the tests: a warning is something that nobody has thought of
            case.use()
    except BaseException as error:
        resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
        fault = _fault(error, case.told)
        said = {"outcome": "fault" if fault else "refused", "kind": type(error).__name__, "text": str(error)[:400]}
        if fault:
            said["fault"] = f"{fault}\n{''.join(traceback.format_exception(error))}"
    resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
    peak = _mib("VmHWM")
    if peak > request["most_mib"] and said["outcome"] != "fault":
        said = {"outcome": "fault", "kind": "memory", "fault": f"{peak} MiB were taken; {said}"}
    return {**said, "what": case.what, "peak_mib": peak, "seconds": time.perf_counter() - began}


def _fault(error: BaseException, told: bool) -> str | None:
    """Why the error is not one that leadline may answer with; None if it is."""
    from leadline.core.errors import LeadlineError

    if any(isinstance(one, MemoryError) or "allocate memory" in str(one) for one in _chain(error)):
        return "it asked for more memory than it may have"
    if isinstance(error, LeadlineError):
        return None if str(error).strip() else "the error says nothing"
    if told and isinstance(error, ValueError):
        *_, last = traceback.extract_tb(error.__traceback__)
        if f"{os.sep}leadline{os.sep}" in last.filename:
            return None
    return "not one of leadline's own errors"


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is not None and one not in seen:
            seen.append(one)
            waiting += [one.__cause__, one.__context__]
            yield one


def _forget_peak() -> None:
    with contextlib.suppress(OSError):  # elsewhere than on Linux the peak is that of the process
        Path("/proc/self/clear_refs").write_text("5")


def _mib(name: str) -> int:
    """VmHWM, the most memory held, or VmSize, the addresses taken, of this process in MiB."""
    try:
        said = Path("/proc/self/status").read_text("ascii", "replace")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1 << 20 if sys.platform == "darwin" else 1 << 10)
    return next(int(line.split()[1]) // 1024 for line in said.splitlines() if line.startswith(f"{name}:"))


if __name__ == "__main__":
    if sys.argv[1] == "prepare":
        importlib.import_module(f"fuzz.{sys.argv[2]}").prepare(Path(sys.argv[3]))
    else:
        serve(sys.argv[1], Path(sys.argv[2]))
