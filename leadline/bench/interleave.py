"""Rows timed in turns A B C A B C, each in its own process, so that a machine that slows down slows all alike."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from leadline.bench.device import pick_cores
from leadline.bench.rows import BenchOptions, Row
from leadline.bench.worker_process import RowFailed, Worker, working
from leadline.core.agreement import agreement
from leadline.core.text import counted
from leadline.core.timing import summary
from leadline.runtime.external import external_files
from leadline.runtime.manifest import files_of

TURN, UNMEASURED = 10, 2
"""Calls of a row before the next row has its turn, and those before them, which wake it up."""


def time_rows(rows: Sequence[Row], options: BenchOptions, frames: Path, say: Callable[[str], None]) -> None:
    """Fill in the rows' figures; all have one number of threads. `frames` is a .npy of uint8 [N,H,W,3] for parity.

    A first turn of each is not counted.
    """
    with contextlib.ExitStack() as stack:
        workers: dict[int, Worker] = {}
        for i, row in enumerate(rows):
            say(f"loading {row.runtime} {row.precision}, threads {row.threads}, file {i + 1} of {len(rows)}")
            with record_error(row):
                worker = stack.enter_context(working(pick_cores(row.threads), row.threads))
                row.facts |= worker.ask("load", **row.opening(), size=options.size)
                fits = row.frame in (None, options.frame)
                for restored in {row.frame is not None, row.frame is not None or row.is_reference()} if fits else ():
                    out = _outputs(frames, i, restored)
                    worker.ask("outputs", frames=str(frames), out=str(out), restored=restored)
                of = files_of if row.external is None else external_files
                row.facts["bytes"] = sum(path.stat().st_size for path in of(row.file or Path()))
                workers[i] = worker
        _compare_outputs(rows, frames)
        calls: dict[int, list[float]] = {i: [] for i in workers}
        parts: dict[int, dict[str, list[float]]] = {i: {} for i in workers}
        spent = dict.fromkeys(workers, 0.0)
        n_turns = -(-options.n // TURN)
        for turn in range(n_turns + 1):
            say(f"timing {counted(len(workers), 'row')}, threads {rows[0].threads}: turn {turn} of {n_turns}")
            for i, worker in workers.items():
                if rows[i].error is not None or (spent[i] > options.at_most_s * 1000 and calls[i]):
                    continue
                with record_error(rows[i]):
                    ms, whole = _turn(worker, rows[i].frame or options.frame, options.end_to_end)
                    spent[i] += sum(ms) + sum(whole.get("end_to_end", []))
                    if turn:
                        calls[i] += ms
                        parts[i] = {part: parts[i].get(part, []) + values for part, values in whole.items()}
        for i, worker in workers.items():
            if rows[i].error is None:
                with record_error(rows[i]):
                    rows[i].facts |= _figures(calls[i], parts[i]) | worker.ask("memory")


@contextlib.contextmanager
def record_error(row: Row) -> Iterator[None]:
    """What fails in the block is the row's error."""
    try:
        yield
    except RowFailed as error:
        row.error = str(error)


def reference_of(row: Row, rows: Sequence[Row]) -> Row | None:
    """PyTorch's row of the same weights, input size and number of threads; None without one."""
    for other in rows:
        same = (other.source, other.threads, other.facts.get("size")) == (
            row.source,
            row.threads,
            row.facts.get("size"),
        )
        if other.is_reference() and other.error is None and same:
            return other
    return None


def _turn(worker: Worker, frame: tuple[int, int], end_to_end: bool) -> tuple[list[float], dict[str, list[float]]]:
    ms: list[float] = worker.ask("calls", n=TURN, warmup=UNMEASURED)["ms"]
    return ms, worker.ask("whole", n=TURN, warmup=UNMEASURED, frame=frame) if end_to_end else {}


def _figures(calls: list[float], parts: dict[str, list[float]]) -> dict[str, Any]:
    facts: dict[str, Any] = {"latency_ms": summary(calls).spread(), "n": len(calls)}
    if parts:
        facts["end_to_end_ms"] = summary(parts["end_to_end"]).spread()
        facts |= {f"{part}_ms": summary(parts[part]).median for part in ("preprocess", "postprocess")}
    return facts


def _compare_outputs(rows: Sequence[Row], frames: Path) -> None:
    for i, row in enumerate(rows):
        reference = reference_of(row, rows)
        if row.error is not None or reference is None:
            continue
        path = _outputs(frames, i, row.frame is not None)
        if path.exists():
            found = np.load(path)
            expected = np.load(_outputs(frames, rows.index(reference), row.frame is not None))
            row.facts["parity"] = float(np.abs(found - expected).max() / np.abs(expected).max())
            near = agreement(found, expected)
            row.facts |= {"within_125": near["within_125"], "depth_mean": near["mean_difference"]}


def _outputs(frames: Path, i: int, restored: bool) -> Path:
    return frames.with_name(f"{i}-{'restored' if restored else 'net'}.npy")
