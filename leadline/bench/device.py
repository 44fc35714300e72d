"""Which machine a number comes from: the facts that change it. What a system does not tell is left out."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from leadline.core import machine
from leadline.core.machine import usable_cores

PACKAGES = (
    "leadline", "torch", "numpy", "pillow", "onnx", "onnxruntime", "openvino", "nncf", "apache-tvm", "ai-edge-litert",
    "litert-torch", "ai-edge-quantizer", "executorch", "torchao", "ncnn", "pnnx",
)  # fmt: skip
"""Distributions whose versions change times or numbers."""


def fingerprint() -> dict[str, Any]:
    """This machine and what is installed on it, as plain values.

    `id` names the hardware alone (processor, its instructions, number of its cores): it stays the same until that
    changes. `usable_cores` are those that this process may run on; `temperature_c` is the hottest sensor's, now.
    """
    isa, cores = machine.instructions(), os.cpu_count()
    hardware = {"cpu": machine.cpu(), "machine": platform.machine(), "isa": isa, "cores": cores}
    text = json.dumps(hardware, sort_keys=True)
    facts = hardware | {
        "id": hashlib.sha256(text.encode()).hexdigest()[:12],
        "usable_cores": usable_cores(),
        "governor": machine.read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "temperature_c": _temperature(),
        "memory_mib": _memory_mib(),
        "os": platform.platform(),
        "python": platform.python_version(),
        "packages": versions(),
    }
    return {key: value for key, value in facts.items() if value not in (None, "", [])}


def versions() -> dict[str, str]:
    """The installed ones of PACKAGES and their versions, read without importing any."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def pick_cores(n: int) -> list[int]:
    """`n` of the cores that this process may run on, two threads of one core only where there is no other choice.

    Empty where the system does not let a process choose. ValueError if there are fewer than `n`.
    """
    if not 1 <= n <= usable_cores():
        raise ValueError(f"threads is {n}; this process may use {usable_cores()} cores, so 1 to {usable_cores()}")
    if sys.platform != "linux":
        return []
    rank: dict[int, int] = {}  # how many threads of the same core come before
    taken: dict[str, int] = {}
    for core in sorted(os.sched_getaffinity(0)):
        group = machine.read(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list") or str(core)
        rank[core] = taken.get(group, 0)
        taken[group] = rank[core] + 1
    strength = {
        core: int(machine.read(f"/sys/devices/system/cpu/cpu{core}/cpu_capacity") or 0) for core in rank
    }  # big.LITTLE
    return sorted(sorted(rank, key=lambda core: (rank[core], -strength[core], core))[:n])


def _temperature() -> float | None:
    sensors = [*Path("/sys/class/thermal").glob("thermal_zone*/temp"), *Path("/sys/class/hwmon").glob("*/temp*_input")]
    values = [int(text) / 1000 for path in sensors if (text := machine.read(path) or "").lstrip("-").isdigit()]
    return max(values, default=None)


def _memory_mib() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    except (AttributeError, OSError, ValueError):
        return None
