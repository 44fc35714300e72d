"""Budget: what a pruned net may cost, as it is typed: `macs=0.5x`, `params=800k`, `latency_ms=3.0`."""

from __future__ import annotations

import difflib
import math
import re
import typing
from dataclasses import dataclass
from typing import Literal

CostKind = Literal["params", "macs", "bytes", "latency_ms"]
KINDS: tuple[CostKind, ...] = typing.get_args(CostKind)
_SUFFIXES = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}


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
            said = f"the budget {self.kind} is {self.value:g} times what the unpruned net has"
            raise ValueError(f"{said}; a part below 1 is needed, such as 0.5x")
        if self.kind == "latency_ms" and self.runtime is None:
            raise ValueError("latency_ms is the time of a runtime, and none is given; say --runtime, such as onnx")
        for name in ("runtime", "threads"):
            if self.kind != "latency_ms" and (given := getattr(self, name)) is not None:
                raise ValueError(f"{name} is {given!r} and the budget {self.kind}; only latency_ms depends on it")
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"threads is {self.threads}; at least 1 is needed")


def parse(text: str, runtime: str | None = None, threads: int | None = None) -> Budget:
    """The Budget from KIND=VALUE, for instance `macs=0.5x` (half of the unpruned net's), `params=800k`, `bytes=2M`.

    k, M and G are thousands, millions and thousands of millions. What cannot be read is a ValueError.
    """
    kind, sign, value = (part.strip() for part in text.partition("="))
    if not sign:
        raise ValueError(f"the budget is {text!r}; KIND=VALUE is needed, such as macs=0.5x or params=800k")
    found = re.fullmatch(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)([kMGx]?)", value)
    if kind in KINDS and found is None:
        raise ValueError(f"the budget {kind} is {value!r}; a number is needed, such as 0.5x, 800k, 2M or 1.5G")
    number, ending = found.groups() if found else ("1", "")  # an unknown kind is told by the dataclass
    relative = ending == "x"
    amount = float(number) * (1.0 if relative else _SUFFIXES[ending])
    return Budget(typing.cast(CostKind, kind), amount, relative, runtime, threads)


def limit(budget: Budget, unpruned: float) -> float:
    """The most that a net may cost, given the cost of the unpruned one; a ValueError if that is no more already."""
    allowed = budget.value * unpruned if budget.relative else budget.value
    if unpruned <= allowed:
        raise ValueError(
            f"the unpruned net has {budget.kind} {unpruned:,.10g} and the budget is {allowed:,.10g}: that is "
            "met already, there is nothing to prune; give a smaller one"
        )
    return allowed
