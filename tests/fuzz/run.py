"""Hands cases to a worker, starts another one after a crash or a hang, and counts what became of them."""

from __future__ import annotations

import importlib
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S, MOST_MIB = 120.0, 2048
Name = tuple[str, int, int]
"""Family, seed and number of a case."""


@dataclass
class Tally:
    """What became of the cases of one family."""

    tried: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    peak_mib: int = 0
    seconds: float = 0.0
    slowest: str = ""

    def line(self) -> str:
        kinds = ", ".join(f"{kind} {n}" for kind, n in self.outcomes.most_common())
        return (
            f"{self.tried} tried: {kinds}; {len(self.faults)} faults; most memory {self.peak_mib} MiB, "
            f"slowest {self.seconds:.1f} s ({self.slowest})"
        )


def run(
    family: str,
    cases: Iterable[tuple[int, int]],
    out: Path,
    *,
    timeout_s: float = TIMEOUT_S,
    most_mib: int = MOST_MIB,
) -> Tally:
    """Try the cases (seed, number) of `family`; the inputs of those that fail, and why, stay in `out`."""
    tally, prepared = Tally(), out / "prepared" / family
    _prepare(family, prepared)
    worker: subprocess.Popen[bytes] | None = None
    try:
        for seed, number in cases:
            name = f"{family}-{seed}-{number}"
            if worker is None:
                worker = _started(family, prepared, out)
            request = {"seed": seed, "number": number, "folder": str(out / name), "most_mib": most_mib}
            answer = _asked(worker, request, timeout_s)
            if answer is None or "ended" in answer:
                _stop(worker)
                answer = _ended(answer, worker.returncode, out / f"{name}.what", timeout_s)
                worker = None
            _count(tally, answer, out / name, f"{family}:{seed}:{number}")
    finally:
        if worker is not None:
            _stop(worker)
    return tally


def _stop(worker: subprocess.Popen[bytes]) -> None:
    worker.kill()
    with worker:  # waits, and closes the pipes
        pass


def _count(tally: Tally, answer: dict[str, Any], folder: Path, name: str) -> None:
    tally.tried += 1
    tally.peak_mib = max(tally.peak_mib, answer.get("peak_mib", 0))
    if answer.get("seconds", 0.0) > tally.seconds:
        tally.seconds, tally.slowest = answer["seconds"], f"{name}, {answer['what'][:60]}"
    if answer["outcome"] == "fault":
        tally.outcomes[f"fault ({answer['kind']})"] += 1
        why = folder.parent / f"{folder.name}.txt"
        why.write_text(f"{name}: {answer['what']}\n{answer['fault']}\n", "utf-8", "backslashreplace")
        place = _where(answer["fault"])
        tally.faults.append(
            f"{name}: {answer['what']}: {answer['kind']}: {answer.get('text', '')[:160]} {place}: {folder}"
        )
    else:
        tally.outcomes[answer["kind"] or answer["outcome"]] += 1
        _remove(folder)
    (folder.parent / f"{folder.name}.what").unlink(missing_ok=True)


def _where(traceback: str) -> str:
    """The deepest line of leadline's in a traceback."""
    lines = [line.strip() for line in traceback.splitlines() if f"{os.sep}leadline{os.sep}" in line and "line " in line]
    return lines[-1].replace(str(ROOT) + os.sep, "") if lines else ""


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def _prepare(family: str, prepared: Path) -> None:
    """What the family needs once, made by a process of its own: its memory is not that of the cases."""
    if not hasattr(importlib.import_module(f"fuzz.{family}"), "prepare") or prepared.exists():
        return
    prepared.mkdir(parents=True)
    subprocess.run(
        [sys.executable, "-m", "fuzz.worker", "prepare", family, prepared], env=_around(prepared.parent), check=True
    )


def _started(family: str, prepared: Path, out: Path) -> subprocess.Popen[bytes]:
    out.mkdir(parents=True, exist_ok=True)
    with (out / f"{family}.log").open("ab") as log:
        worker = subprocess.Popen(
            [sys.executable, "-m", "fuzz.worker", family, prepared],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            stderr=log,
            env=_around(prepared.parent),
            cwd=out,
        )
    if _answer(worker, TIMEOUT_S) != {"outcome": "ready"}:
        _stop(worker)
        raise RuntimeError(f"no worker starts; {out / family}.log says why")
    return worker


def _around(folder: Path) -> dict[str, str]:
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    own = {"PYTHONPATH": paths, "LEADLINE_DEBUG": "1", "LEADLINE_CACHE": str(folder / "cache")}
    return {**os.environ, **own, "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}


def _asked(worker: subprocess.Popen[bytes], request: dict[str, Any], timeout_s: float) -> dict[str, Any] | None:
    """The worker's answer; None if it gives none in time, `ended` if it is gone."""
    assert worker.stdin is not None
    try:
        worker.stdin.write(json.dumps(request).encode() + b"\n")
    except BrokenPipeError:
        return {"ended": True}
    return _answer(worker, timeout_s)


def _answer(worker: subprocess.Popen[bytes], timeout_s: float) -> dict[str, Any] | None:
    assert worker.stdout is not None
    text, ends = b"", time.monotonic() + timeout_s
    while not text.endswith(b"\n"):
        ready, _, _ = select.select([worker.stdout], [], [], max(0.0, ends - time.monotonic()))
        if not ready:
            return None
        more = os.read(worker.stdout.fileno(), 1 << 16)
        if not more:
            worker.wait()
            return {"ended": True}
        text += more
    found: dict[str, Any] = json.loads(text)
    return found


def _ended(answer: dict[str, Any] | None, code: int, what: Path, timeout_s: float) -> dict[str, Any]:
    said = what.read_text("utf-8") if what.exists() else "the input could not be made"
    if answer is None:
        return {"outcome": "fault", "kind": "hang", "what": said, "fault": f"no answer within {timeout_s:g} s"}
    return {"outcome": "fault", "kind": "crash", "what": said, "fault": f"the process ended with {code}"}


def counted(seeds: Iterable[int], number: int) -> Iterator[tuple[int, int]]:
    """(seed, number of the case) of `number` cases for each seed."""
    for seed in seeds:
        for i in range(number):
            yield seed, i
