"""How long calls take, measured so that two of them can be compared: interleaved, after a warm-up, as percentiles."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Times:
    """Milliseconds of one call: the first one ever, and the median, 10th and 90th percentile of `n` later ones."""

    median: float
    p10: float
    p90: float
    first: float
    n: int

    def spread(self) -> dict[str, float]:
        """The three percentiles as plain values."""
        return {"median": self.median, "p10": self.p10, "p90": self.p90}


def measure(
    calls: Mapping[str, Callable[[], object]], *, n: int = 200, warmup: int = 20, at_most_s: float = 60.0
) -> dict[str, Times]:
    """The Times of each call, in turns A B C A B C, so that a machine that slows down slows all of them alike.

    Each is called `n` times after `warmup` unmeasured rounds; a call that has used up `at_most_s` seconds stops early,
    with never fewer than 5 measured ones. Python's garbage collector rests meanwhile.
    """
    if n < 1 or warmup < 0:
        raise ValueError(f"n is {n} and warmup {warmup}; at least 1 and 0 are needed")
    first = {name: one(call) for name, call in calls.items()}
    spent = dict.fromkeys(calls, 0.0)
    seen: dict[str, list[float]] = {name: [] for name in calls}
    with no_collection():
        for turn in range(warmup + n):
            for name, call in calls.items():
                if spent[name] > at_most_s * 1000 and len(seen[name]) >= min(5, n):
                    continue
                ms = one(call)
                spent[name] += ms
                if turn >= warmup or spent[name] > at_most_s * 1000:
                    seen[name].append(ms)
    return {name: summary(ms, first[name]) for name, ms in seen.items()}


def repeat(call: Callable[[], object], n: int, warmup: int = 0) -> list[float]:
    """The milliseconds of each of `n` calls in a row, after `warmup` unmeasured ones."""
    with no_collection():
        for _ in range(warmup):
            call()
        return [one(call) for _ in range(n)]


def one(call: Callable[[], object]) -> float:
    """The milliseconds of one call."""
    start = time.perf_counter_ns()
    call()
    return (time.perf_counter_ns() - start) / 1e6


def summary(ms: Sequence[float], first: float = math.nan) -> Times:
    """The Times of calls that took `ms`; `first` is the time of the first call ever, if it was taken."""
    p10, median, p90 = (float(v) for v in np.percentile(ms, (10, 50, 90)))
    return Times(median, p10, p90, first, len(ms))


@contextmanager
def no_collection() -> Iterator[None]:
    """Python's garbage collector rests: one collection takes longer than some of the calls measured."""
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
