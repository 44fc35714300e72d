"""The clock: every call is made as often as promised, in turns, and the figures are those of the measured ones."""

from __future__ import annotations

import gc
import math

import numpy as np
import pytest

from leadline.core import timing


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A clock that stands still unless a test moves it: its one item is the time in nanoseconds."""
    now = [0]
    monkeypatch.setattr(timing.time, "perf_counter_ns", lambda: now[0])
    return now


def test_calls_take_turns(clock: list[int]) -> None:
    order: list[str] = []
    timing.measure({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, n=3, warmup=1)
    assert order == ["a", "b"] * 5  # the first ones, one round unmeasured, three measured


def test_warm_up_does_not_count_and_the_first_call_is_told_apart(clock: list[int]) -> None:
    durations = iter([9_000_000, 7_000_000, 7_000_000, *(i * 1_000_000 for i in range(1, 12))])

    def call() -> None:
        clock[0] += next(durations)

    times = timing.measure({"call": call}, n=11, warmup=2)["call"]
    assert times == timing.Times(median=6.0, p10=2.0, p90=10.0, first=9.0, n=11)
    assert times.spread() == {"median": 6.0, "p10": 2.0, "p90": 10.0}


def test_a_slow_call_stops_early_and_the_others_go_on(clock: list[int]) -> None:
    def slow() -> None:
        clock[0] += 1_000_000_000

    found = timing.measure({"slow": slow, "quick": lambda: None}, n=50, warmup=20, at_most_s=3.0)
    assert found["quick"].n == 50
    assert 5 <= found["slow"].n < 10 and found["slow"].median == 1000


def test_repeat_gives_each_call_and_leaves_out_the_warm_up(clock: list[int]) -> None:
    def call() -> None:
        clock[0] += 2_000_000 + clock[0] // 10

    first = timing.repeat(call, 3, warmup=0)
    assert first[0] == 2.0 and len(first) == 3
    clock[0] = 0
    assert timing.repeat(call, 2, warmup=1) == pytest.approx(first[1:])


def test_garbage_is_not_collected_while_the_clock_runs() -> None:
    seen: list[bool] = []
    timing.repeat(lambda: seen.append(gc.isenabled()), 2)
    timing.measure({"call": lambda: seen.append(gc.isenabled())}, n=2, warmup=0)
    assert seen[:2] == [False, False] and seen[-1] is False
    assert gc.isenabled()


def test_a_call_that_fails_leaves_the_collector_on() -> None:
    with pytest.raises(ZeroDivisionError):
        timing.repeat(lambda: 1 // 0, 1)
    assert gc.isenabled()


def test_a_summary_is_that_of_numpy() -> None:
    ms = np.random.default_rng(0).uniform(1, 2, 101).tolist()
    found = timing.summary(ms)
    assert (found.p10, found.median, found.p90) == tuple(np.percentile(ms, (10, 50, 90)))
    assert math.isnan(found.first) and found.n == 101


@pytest.mark.parametrize(("n", "warmup"), [(0, 0), (5, -1)])
def test_no_calls_are_no_measurement(n: int, warmup: int) -> None:
    with pytest.raises(ValueError, match="at least 1 and 0"):
        timing.measure({"call": lambda: None}, n=n, warmup=warmup)
