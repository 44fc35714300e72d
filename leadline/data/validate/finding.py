"""Finding: one thing that a check of a data set has to say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from leadline.core.text import some

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class Finding:
    """`what` was found `where` (a file, a frame, or the whole set), and what to do.

    error: training on it would fail or silently learn something wrong; warning: probably a fault, or true and worth
    knowing before training; note: a property that explains other numbers.
    """

    severity: Severity
    what: str
    where: str
    advice: str


def each(findings: Sequence[Finding], at_most: int = 20) -> Iterator[Finding]:
    """The findings one by one; beyond `at_most`, one more that counts and names the rest."""
    yield from findings[:at_most]
    rest = findings[at_most:]
    if rest:
        where = some([finding.where for finding in rest])
        yield Finding(rest[0].severity, f"{len(rest)} more like the last one", where, rest[0].advice)
