"""A budget is read as it was meant, or refused with a reason."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadline.compress.cost.budget import KINDS, Budget, limit, parse


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("macs=0.5x", Budget("macs", 0.5, relative=True)),
        ("params=0.2x", Budget("params", 0.2, relative=True)),
        ("params=800k", Budget("params", 800_000)),
        ("bytes=2M", Budget("bytes", 2e6)),
        ("macs = 1.5G", Budget("macs", 1.5e9)),
        ("macs=3e8", Budget("macs", 3e8)),
        ("params=.5x", Budget("params", 0.5, relative=True)),
        ("macs=50%", Budget("macs", 0.5, relative=True)),
        ("50%", Budget("macs", 0.5, relative=True)),
        ("0.5x", Budget("macs", 0.5, relative=True)),
        ("1.5MB", Budget("bytes", 1.5e6)),
        ("bytes = 1 MiB", Budget("bytes", 2.0**20)),
        ("size=2M", Budget("bytes", 2e6)),
    ],
)
def test_a_budget_is_read_as_it_was_meant(text: str, expected: Budget) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize(
    ("text", "value", "relative"),
    [
        ("latency_ms=3.0", 3.0, False),
        ("latency_ms=0.5x", 0.5, True),
        ("latency=70%", 0.7, True),
        ("70%", 0.7, True),
        ("5ms", 5.0, False),
        ("25fps", 40.0, False),
        ("latency=0.02s", 20.0, False),
    ],
)
def test_a_latency_belongs_to_a_runtime(text: str, value: float, relative: bool) -> None:
    assert parse(text, "onnx", 2) == Budget("latency_ms", value, relative, "onnx", 2)


@pytest.mark.parametrize(
    ("text", "runtime", "message"),
    [
        ("macs", None, r"KIND=VALUE"),
        ("mac=0.5x", None, r"'mac' is unknown; nearest: macs$"),
        ("latenzy=3", "onnx", r"'latenzy' is unknown; nearest: latency_ms$"),
        ("macs=0.5", None, r"is macs=0.5x meant"),
        ("0.5", None, r"KIND=VALUE is needed"),
        ("macs=5ms", None, r"'5ms'; a number is needed, with one of these or none: k, M, G, x, %"),
        ("5ms", None, r"say --runtime"),
        ("0fps", "onnx", r"above 0"),
        ("=3", None, r"'' is unknown; nearest: params, macs, bytes, latency_ms"),
        ("params=0", None, r"above 0"),
        ("params=-3k", None, r"above 0"),
        ("params=0x", None, r"above 0"),
        ("params=1e999", None, r"finite"),
        ("params=many", None, r"'many'; a number"),
        ("params=nan", None, r"'nan'; a number"),
        ("params=", None, r"''; a number"),
        ("params=5K", None, r"'5K'; a number"),
        ("macs=1x", None, r"a part below 1"),
        ("macs=2x", None, r"a part below 1"),
        ("latency_ms=3", None, r"say --runtime"),
        ("macs=0.5x", "onnx", r"runtime is 'onnx' and the budget macs"),
    ],
)
def test_what_means_nothing_is_refused(text: str, runtime: str | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse(text, runtime)


def test_threads_are_those_of_a_runtime() -> None:
    with pytest.raises(ValueError, match=r"threads is 2 and the budget params"):
        parse("params=3k", threads=2)
    with pytest.raises(ValueError, match=r"threads is 0; at least 1"):
        parse("latency_ms=3", "onnx", 0)


@given(st.sampled_from(KINDS[:3]), st.integers(1, 99), st.floats(1.0, 1e12))
def test_a_relative_budget_is_that_part_of_what_there_is(kind: str, percent: int, unpruned: float) -> None:
    found = limit(parse(f"{kind}={percent / 100}x"), unpruned)
    assert found == pytest.approx(percent / 100 * unpruned)
    assert found < unpruned


@given(st.floats(1.0, 1e9), st.floats(1.0, 1e9))
def test_a_limit_is_below_the_unpruned_net_or_an_error(value: float, unpruned: float) -> None:
    budget = Budget("params", value)
    if value < unpruned:
        assert limit(budget, unpruned) == value
    else:
        with pytest.raises(ValueError, match=r"met already"):
            limit(budget, unpruned)
