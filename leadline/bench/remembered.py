"""What `--runtime auto` has measured on this machine and written into the cache, read without loading a runtime."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from leadline.bench.device import fingerprint
from leadline.core.errors import LeadlineError
from leadline.core.storage import cache


class Time(NamedTuple):
    """The least median latency of a net, in milliseconds, and what reached it: runtime, precision and threads."""

    ms: float
    runtime: str
    precision: str
    threads: int


def fastest_times() -> dict[str, Time]:
    """For each checkpoint, by its sha256, the fastest of all choices remembered for this machine.

    Notes that are damaged, or of another machine, do not count.
    """
    found: dict[str, Time] = {}
    try:
        notes = sorted((cache() / "choices").glob("*.json"))
        device = fingerprint()["id"] if notes else None
    except (LeadlineError, OSError):  # no cache: nothing is remembered
        return {}
    for note in notes:
        try:
            plain: dict[str, Any] = json.loads(note.read_bytes())
            choice, made_for = plain["choice"], plain["for"]
            ms = float(choice["measured"][f"{choice['runtime']} {choice['precision']}"])
            time = Time(ms, choice["runtime"], choice["precision"], int(made_for["threads"]))
            source, there = str(made_for["source"]), made_for["device"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if there == device and (source not in found or time < found[source]):
            found[source] = time
    return found
