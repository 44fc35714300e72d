"""What an option may be. A dataclass calls two functions when it is made: `check` with a table of rules for single
fields, `require` with a table of rules for what several fields are together.

A rule is a condition and the words for it. NaN meets no condition, and neither does a value of another type.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Rule:
    """`holds(value)`, and in words what is allowed."""

    words: str
    holds: Callable[[Any], bool]


def check(options: object, **rules: Rule) -> None:
    """A ValueError for the first field of `options` that breaks its rule; None, as "not given", breaks none."""
    for name, rule in rules.items():
        value = getattr(options, name)
        if value is None:
            continue
        try:
            good = rule.holds(value)
        except (TypeError, ValueError):
            good = False
        if not good:
            raise ValueError(f"{name} is {value!r}; {rule.words} is needed")


def require(*rules: tuple[object, str]) -> None:
    """A ValueError for the first rule that is broken; a rule is (whether it holds, the message if not)."""
    for holds, message in rules:
        if not holds:
            raise ValueError(message)


def at_least(least: int) -> Rule:
    """A whole number, not below `least`."""
    return Rule(
        f"at least {least}, and a whole number,", lambda x: x == int(x) and x >= least and not isinstance(x, bool)
    )


def between(low: float, high: float) -> Rule:
    """A number from `low` to `high`."""
    return Rule(f"a number from {low:g} to {high:g}", lambda x: low <= x <= high)


def one_of(*known: Any) -> Rule:
    """One of these values."""
    return Rule(f"one of {', '.join(map(str, known))}", lambda x: x in known)


PART = between(0, 1)
BELOW_1 = Rule("a number of at least 0 and below 1", lambda x: 0 <= x < 1)
UP_TO_1 = Rule("a number above 0, at most 1,", lambda x: 0 < x <= 1)
INSIDE = Rule("a number above 0 and below 1", lambda x: 0 < x < 1)
ABOVE_0 = Rule("a finite number above 0", lambda x: 0 < x < math.inf)
FROM_0 = Rule("a finite number of 0 or more", lambda x: 0 <= x < math.inf)
FINITE = Rule("a finite number", math.isfinite)
SEED = Rule("a whole number from 0 to 2^32 - 1", lambda x: x == int(x) and 0 <= x < 2**32)

_SIDE = 1 << 14
SIZE = Rule(
    f"a height and a width of 1 to {_SIDE} pixels",
    lambda size: len(size) == 2 and all(x == int(x) and 1 <= x <= _SIDE for x in size),
)
SPAN = Rule(
    "a pair of finite numbers above 0, the lower one first,",
    lambda span: len(span) == 2 and 0 < span[0] <= span[1] < math.inf,
)


def each(rule: Rule, n: int | None = None) -> Rule:
    """Several values that all keep `rule`; `n` of them, or any number."""
    words = f"{'several' if n is None else n} values, each of them {rule.words},"
    return Rule(words, lambda values: (n is None or len(values) == n) and all(map(rule.holds, values)))
