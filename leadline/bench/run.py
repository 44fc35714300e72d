"""`bench`: rows that can be compared, measured in turns, on the same cores, with all that says what they mean."""

from __future__ import annotations

import datetime
import math
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from leadline.bench import roofline
from leadline.bench.device import fingerprint, pick_cores
from leadline.bench.interleave import TURN, UNMEASURED, reference_of, time_rows
from leadline.bench.rows import BenchOptions, Row, check, describe, is_artefact, plan_rows
from leadline.bench.worker_process import RowFailed, working
from leadline.core.machine import usable_cores

_N_FRAMES = 4  # on which outputs are compared


@dataclass(frozen=True)
class Bench:
    """The rows, PyTorch's first, the others by their latency, those that failed last; and where they come from."""

    rows: list[dict[str, Any]]
    context: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"rows": self.rows, **self.context}


def bench(
    models: Sequence[str], options: BenchOptions | None = None, say: Callable[[str], None] = lambda line: None
) -> Bench:
    """Measure models (names, checkpoints, exported files) as `options` say; `say` gets a line about each step.

    Each row holds, apart from what it is:

    - `latency_ms` {median, p10, p90} of the file's own call; `ratio`: how many times faster it is than PyTorch's
      float32, eager, on as many threads; `n`: how many calls were measured
    - `end_to_end_ms`: from a camera frame uint8 to depth of the frame's size, with `preprocess_ms` and `postprocess_ms`
      (medians); a file for whole frames does all that itself, and its `ratio` is one of ends to ends. `over_net`: this
      time over the `latency_ms` of the net's file in the same runtime and precision
    - `parity`: the largest difference from PyTorch's output over the largest value of that; `within_125`, the share of
      pixels within a factor of 1.25 of it; `depth_mean`, the mean absolute difference in the model's unit
    - `load_ms` with the import of the runtime, `first_ms` of the first call, `peak_mib` of its process, `bytes`
      of all its files, `metrics` of this very file
    - `limit_ms`, the least that this machine allows, and `fraction`, how much of that limit is reached
    - `error`: why the rest is missing

    An unknown name or an impossible option is an error at once; what fails in one row stays there.
    """
    options = options or BenchOptions()
    check(options)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    facts = {model: describe(model, options.size) for model in models if not is_artefact(model)}
    rows = plan_rows(models, options, say)
    with tempfile.TemporaryDirectory() as folder:
        frames = Path(folder) / "frames.npy"
        np.save(frames, _frames(options))
        for threads in dict.fromkeys(row.threads for row in rows):
            time_rows([r for r in rows if r.threads == threads and r.error is None], options, frames, say)
    context: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "device": fingerprint(),
        "models": facts,
        "timing": {
            "n": options.n,
            "turn": TURN,
            "unmeasured_before_each_turn": UNMEASURED,
            "at_most_s": options.at_most_s,
            "frame": options.frame,
            "batch": 1,
            "load_before": load,
        },
    }
    if options.data is not None:
        context["data"] = _judged(rows, options, say)
    if options.roofline:
        context["peaks"] = _limits(rows, facts, say)
    _ratios(rows)
    return Bench([row.to_json() for row in sorted(rows, key=_rank)], context)


def _frames(options: BenchOptions) -> np.ndarray:
    """Frames uint8 [N,H,W,3] to compare outputs on: of the data, otherwise smooth pictures made up."""
    from PIL import Image

    height, width = options.frame
    if options.data is not None:
        samples = options.samples()
        pictures = [samples[i].image for i in range(min(_N_FRAMES, len(samples)))]
    else:
        pictures = list(np.random.default_rng(0).integers(0, 256, (_N_FRAMES, 12, 16, 3), dtype=np.uint8))
    resized = [Image.fromarray(p).resize((width, height), Image.Resampling.BICUBIC) for p in pictures]
    return np.stack([np.asarray(picture) for picture in resized])


def _judged(rows: Sequence[Row], options: BenchOptions, say: Callable[[str], None]) -> dict[str, Any]:
    """Fill in the metrics of each file, found once for all numbers of threads; gives what they were measured on."""
    what = {"data": str(options.data), "split": options.split, "protocol": options.protocol, "limit": options.limit}
    note = options.samples().note
    if note:
        say(note)
    sized = what | {"size": options.size, "allow_code": options.allow_code}
    seen: dict[Path, dict[str, Any]] = {}
    for row in rows:
        if row.error is not None or row.file is None:
            continue
        if row.file not in seen:
            say(f"accuracy of {row.runtime} {row.precision}")
            try:
                with working(threads=usable_cores()) as worker:
                    found = worker.ask("metrics", math.inf, **row.opening() | {"threads": usable_cores()}, **sized)
            except RowFailed as error:
                found = {"metrics": None, "metrics_error": str(error)}
            seen[row.file] = found
        row.facts |= seen[row.file]
    return what | ({"note": note} if note else {})


def _limits(rows: Sequence[Row], facts: dict[str, dict[str, Any]], say: Callable[[str], None]) -> dict[str, Any]:
    """Fill in `limit_ms` and `fraction` where the net's cost is known; gives the peaks by number of threads."""
    found: dict[str, Any] = {}
    by_source = {fact["sha256"]: fact for fact in facts.values()}
    for row in rows:
        if row.error is not None:
            continue
        if str(row.threads) not in found:
            say(f"measuring what the machine can do with {row.threads} threads")
            try:
                with working(pick_cores(row.threads), row.threads) as worker:
                    found[str(row.threads)] = worker.ask("peaks", threads=row.threads)
            except RowFailed as error:  # other rows are kept
                found[str(row.threads)] = {"error": str(error)}
        fact = by_source.get(row.source)
        peaks = found[str(row.threads)]
        known = "error" not in peaks and (row.precision == "fp16" or peaks.get(row.precision, 0) > 0)
        if fact is not None and known and tuple(fact["size"]) == tuple(row.facts["size"]):
            moved = roofline.moved_bytes(fact["parameters"], row.precision, fact["size"])
            limit = roofline.bound_ms(peaks, row.precision, fact["macs"], moved)
            row.facts |= {"limit_ms": limit, "fraction": limit / row.facts["latency_ms"]["median"]}
    return found


def _ratios(rows: Sequence[Row]) -> None:
    """Fill in `ratio` and `over_net`, quotients of medians of this run."""
    nets = {_twin(r): r.facts["latency_ms"]["median"] for r in rows if r.error is None and r.frame is None}
    for row in rows:
        if row.error is not None:
            continue
        key = "latency_ms" if row.frame is None else "end_to_end_ms"
        reference = reference_of(row, rows)
        if reference is not None and key in row.facts:
            row.facts["ratio"] = reference.facts[key]["median"] / row.facts[key]["median"]
        if "end_to_end_ms" in row.facts and _twin(row) in nets:
            row.facts["over_net"] = row.facts["end_to_end_ms"]["median"] / nets[_twin(row)]


def _twin(row: Row) -> tuple[object, ...]:
    return row.source, row.runtime, row.precision, row.threads, str(row.facts.get("size"))


def _rank(row: Row) -> tuple[bool, bool, float]:
    """PyTorch first, those that failed last, the others by their latency."""
    median = row.facts["latency_ms"]["median"] if row.error is None else math.inf
    return not row.is_reference(), row.error is not None, median
