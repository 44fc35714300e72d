"""Budget: what a pruned net may cost, as people write it: `macs=50%`, `params=800k`, `1.5MB`, `5ms`, `30fps`."""

from __future__ import annotations

import difflib
import math
import re
import typing
from dataclasses import dataclass
from typing import Literal

CostKind = Literal["params", "macs", "bytes", "latency_ms"]
KINDS: tuple[CostKind, ...] = typing.get_args(CostKind)
_ALIASES: dict[str, CostKind] = {"latency": "latency_ms", "parameters": "params", "size": "bytes"}
_COUNTS = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}
_BYTES = {f"{k}B": v for k, v in _COUNTS.items()} | {"KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30}
_TIMES = {"ms": 1.0, "s": 1000.0, "us": 0.001}
_UNITS = "x or % (a part of the unpruned net's); k, M, G; B, kB, MB, MiB; ms, s, fps"


@dataclass(frozen=True)
class Budget:
    """At most `value` of one kind of cost: parameters, multiply-accumulates, bytes in half precision, milliseconds.

    With `relative` the value is a part, below 1, of the unpruned net's cost. Milliseconds are those of `runtime` on
    this machine with so many `threads` (None: every core); other kinds have neither.
    """

    kind: CostKind
    value: float
    relative: bool = False
    runtime: str | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            near = difflib.get_close_matches(self.kind, KINDS, n=1, cutoff=0.4) or KINDS
            raise ValueError(f"the budget {self.kind!r} is unknown; nearest: {', '.join(near)}")
        if not 0 < self.value < math.inf:
            raise ValueError(f"the budget {self.kind} is {self.value:g}; a finite number above 0 is needed")
        if self.relative and not self.value < 1:
            message = f"the budget {self.kind} is {self.value:g} times what the unpruned net has"
            raise ValueError(f"{message}; a part below 1 is needed, such as 0.5x")
        if self.kind == "latency_ms" and self.runtime is None:
            raise ValueError("latency_ms is the time of a runtime, and none is given; say --runtime, such as onnx")
        for name in ("runtime", "threads"):
            if self.kind != "latency_ms" and (given := getattr(self, name)) is not None:
                raise ValueError(f"{name} is {given!r} and the budget {self.kind}; only latency_ms depends on it")
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"threads is {self.threads}; at least 1 is needed")


def parse(text: str, runtime: str | None = None, threads: int | None = None) -> Budget:
    """The Budget from [KIND=]VALUE[UNIT], for instance `macs=0.5x` or `macs=50%` (half of the unpruned net's),
    `params=800k`, `1.5MB`, `5ms`, `30fps`.

    k, M and G are thousands, millions and thousands of millions; MiB and the like powers of 1024. A unit of time or of
    size says the kind by itself. A part without a kind is of the MACs, or of the latency where a `runtime` is given.
    What cannot be read, or could mean two things, is a ValueError.
    """
    kind, sign, value = (part.strip() for part in text.partition("="))
    kind, value = (kind, value) if sign else ("", kind)
    found = re.fullmatch(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(%|[a-zA-Z]*)", value)
    if not sign and found is None:
        raise ValueError(f"the budget is {text!r}; KIND=VALUE is needed, such as macs=0.5x, params=800k, 1.5MB or 5ms")
    kind = _ALIASES.get(kind, kind) if sign else _kind_of(text, found[2] if found else "", runtime)
    if kind not in KINDS:
        return Budget(typing.cast(CostKind, kind), 1.0, False, runtime, threads)  # which says what is nearest
    if found is None:
        raise ValueError(f"the budget {kind} is {value!r}; a number is needed, with one of these or none: {_UNITS}")
    number, unit = float(found[1]), found[2]
    if unit in ("x", "%"):
        return Budget(kind, number / (100 if unit == "%" else 1), True, runtime, threads)
    if kind != "latency_ms" and not unit and 0 < number < 1:
        raise ValueError(f"the budget is {kind}={value}: is {kind}={value}x meant, that part of the unpruned net's?")
    return Budget(kind, _amount(kind, number, unit), False, runtime, threads)


def _kind_of(text: str, unit: str, runtime: str | None) -> str:
    """What a value without a kind limits, by its unit."""
    if unit in (*_TIMES, "fps"):
        return "latency_ms"
    if unit in _BYTES:
        return "bytes"
    if unit in ("x", "%"):
        return "latency_ms" if runtime is not None else "macs"
    raise ValueError(
        f"the budget is {text!r}; KIND=VALUE is needed, such as params={text.strip()} or macs={text.strip()}"
    )


def _amount(kind: str, number: float, unit: str) -> float:
    if kind == "latency_ms" and unit == "fps":
        return 1000 / number if number > 0 else number
    known = {"latency_ms": {"": 1.0, **_TIMES}, "bytes": {**_COUNTS, **_BYTES}}.get(kind, _COUNTS)
    if unit not in known:
        allowed = ", ".join(filter(None, (*known, *(("fps",) if kind == "latency_ms" else ()), "x", "%")))
        raise ValueError(
            f"the budget {kind} is '{number:g}{unit}'; a number is needed, with one of these or none: {allowed}"
        )
    return number * known[unit]


def limit(budget: Budget, unpruned: float) -> float:
    """The most that a net may cost, given the cost of the unpruned one; a ValueError if that is no more already."""
    allowed = budget.value * unpruned if budget.relative else budget.value
    if unpruned <= allowed:
        raise ValueError(
            f"the unpruned net has {budget.kind} {unpruned:,.10g} and the budget is {allowed:,.10g}: that is "
            "met already, there is nothing to prune; give a smaller one"
        )
    return allowed
