"""Report: measured facts, with everything needed to know what they mean."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from leadline.core.text import shown


@dataclass(frozen=True)
class Report:
    """Plain facts about one thing (a model, a file, a run).

    `metrics` are accuracies under `protocol` over `n` images; `cost` holds parameters, MACs, bytes; `latency_ms` times;
    `context` says where the figures come from: data, device, versions, seed, file hash.
    """

    name: str
    protocol: str | None = None
    n: int | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    cost: Mapping[str, float] = field(default_factory=dict)
    latency_ms: Mapping[str, float] = field(default_factory=dict)
    context: Mapping[str, Any] = field(default_factory=dict)

    def __or__(self, other: Report) -> Report:
        """Both reports' facts under this one's name; the same fact with two values is a ValueError."""
        merged = {part: _merge(part, getattr(self, part), getattr(other, part)) for part in _PARTS}
        protocol = _one("protocol", self.protocol, other.protocol)
        return Report(self.name, protocol=protocol, n=_one("n", self.n, other.n), **merged)

    def to_json(self) -> dict[str, Any]:
        """Plain values; parts that hold nothing are left out."""
        plain = {key: getattr(self, key) for key in ("name", "protocol", "n")}
        parts = {part: dict(getattr(self, part)) for part in _PARTS}
        return {key: value for key, value in (plain | parts).items() if value not in (None, {})}


_PARTS = ("metrics", "cost", "latency_ms", "context")


def from_json(plain: Any) -> Report:
    """The Report that `to_json` gave; ValueError if `plain` is none."""
    if not isinstance(plain, dict) or not isinstance(plain.get("name"), str):
        raise ValueError("a report is a JSON object with a name")
    for part in _PARTS:
        if not isinstance(plain.get(part, {}), dict):
            raise ValueError(f"{part} of the report {plain['name']!r} is no JSON object")
    figures = [(part, *fact) for part in _PARTS[:3] for fact in plain.get(part, {}).items()]
    for part, key, value in figures:
        if not isinstance(value, int | float | None):
            raise ValueError(f"{part}.{key} of the report {plain['name']!r} is no number")
    known = {field.name for field in fields(Report)}
    return Report(**{key: value for key, value in plain.items() if key in known})


def table(reports: Sequence[Report]) -> str:
    """A Markdown table: one row for each report, one column for each number that any of them has."""
    columns = list(dict.fromkeys(key for r in reports for part in _PARTS[:3] for key in getattr(r, part)))
    rows = [["name", "protocol", "n", *columns]]
    for report in reports:
        facts = {**report.metrics, **report.cost, **report.latency_ms}
        rows.append(
            [report.name, report.protocol or "", str(report.n or ""), *(_number(facts.get(c)) for c in columns)]
        )
    return grid(rows)


def grid(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table of cells; the first row is its head."""
    rows = [[shown(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *lines[1:]])


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return str(int(value)) if float(value).is_integer() and abs(value) >= 100 else f"{value:.4g}"


def _merge(part: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _one(f"{part}.{key}", a.get(key), b.get(key)) for key in (*a, *(k for k in b if k not in a))}


def _one(name: str, a: Any, b: Any) -> Any:
    if a is not None and b is not None and json.dumps(a) != json.dumps(b):
        raise ValueError(f"the reports contradict each other: {name} is {a!r} and {b!r}")
    return b if a is None else a
