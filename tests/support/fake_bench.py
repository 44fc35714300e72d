"""A benchmark's figures without the measuring: rows as `bench` gives them."""

from __future__ import annotations

from typing import Any

from leadline.bench.run import Bench

CONTEXT = {
    "date": "2026-01-02T03:04:05+00:00",
    "device": {"cpu": "Any CPU", "usable_cores": 2, "id": "0123456789ab"},
    "timing": {"n": 200, "turn": 10, "unmeasured_before_each_turn": 2, "frame": (480, 640), "load_before": 0.1},
}


def row(runtime: str, ms: float, precision: str = "fp32", **facts: Any) -> dict[str, Any]:
    """A row that was measured, `ms` its median; with `error` one that failed."""
    named = {
        "model": "net",
        "runtime": runtime,
        "precision": precision,
        "threads": 2,
        "source": "aa",
        "file": "net.bin",
    }
    if "error" in facts:
        return named | facts
    spread = {"median": ms, "p10": ms * 0.9, "p90": ms * 1.2}
    measured = {"latency_ms": spread, "n": 200, "load_ms": 300.0, "first_ms": 2 * ms, "peak_mib": 150.0, "bytes": 8e6}
    return named | measured | {"parity": 1e-6} | facts


def bench_of(*rows: dict[str, Any], **context: Any) -> Bench:
    return Bench(list(rows), CONTEXT | context)
