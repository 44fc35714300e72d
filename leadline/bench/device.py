"""Which machine a number comes from: the facts that change it. What a system does not tell is left out."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from leadline.timing import usable_cores

# What the kernels of the runtimes ask for; Linux's name for it on ARM -> the usual one.
_X86 = (
    "sse4_1", "avx", "avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16",
    "avx512_fp16", "amx_bf16", "amx_int8",
)  # fmt: skip
_ARM = {"asimd": "neon", "asimdhp": "fp16", "asimddp": "dotprod", "i8mm": "i8mm", "bf16": "bf16", "sve": "sve"}
_ARM |= {"sve2": "sve2", "sme": "sme"}
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
    hardware = {"cpu": _cpu(), "machine": platform.machine(), "isa": _isa(), "cores": os.cpu_count()}
    text = json.dumps(hardware, sort_keys=True)
    facts = hardware | {
        "id": hashlib.sha256(text.encode()).hexdigest()[:12],
        "usable_cores": usable_cores(),
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "temperature_c": _temperature(),
        "memory_mb": _memory_mb(),
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
        group = _read(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list") or str(core)
        rank[core] = taken.get(group, 0)
        taken[group] = rank[core] + 1
    strength = {core: int(_read(f"/sys/devices/system/cpu/cpu{core}/cpu_capacity") or 0) for core in rank}  # big.LITTLE
    return sorted(sorted(rank, key=lambda core: (rank[core], -strength[core], core))[:n])


def _cpu() -> str:
    if sys.platform == "darwin":
        return _said(["sysctl", "-n", "machdep.cpu.brand_string"]) or platform.processor()
    board = (_read("/proc/device-tree/model") or "").strip("\0")  # ARM boards say what they are here
    return _cpuinfo("model name") or board or platform.processor() or platform.machine()


def _isa() -> list[str]:
    if sys.platform == "darwin":
        lines = _said(["sysctl", "hw.optional"]).lower().splitlines()
        on = {line.partition(":")[0].rpartition(".")[2] for line in lines if line.endswith(": 1")}
        known = {"feat_dotprod": "dotprod", "feat_i8mm": "i8mm", "feat_bf16": "bf16", "feat_fp16": "fp16"}
        known |= {"avx2_0": "avx2", "avx512f": "avx512f", "neon": "neon", "advsimd": "neon", "feat_sme": "sme"}
        return sorted({name for key, name in known.items() if key in on})
    flags = set(_cpuinfo("flags").split())
    features = set(_cpuinfo("Features").split())
    return [name for name in _X86 if name in flags] + [name for key, name in _ARM.items() if key in features]


def _cpuinfo(key: str) -> str:
    """The first value of `key` in Linux's description of its processors."""
    for line in (_read("/proc/cpuinfo") or "").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return ""


def _temperature() -> float | None:
    sensors = [*Path("/sys/class/thermal").glob("thermal_zone*/temp"), *Path("/sys/class/hwmon").glob("*/temp*_input")]
    values = [int(text) / 1000 for path in sensors if (text := _read(path) or "").lstrip("-").isdigit()]
    return max(values, default=None)


def _memory_mb() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    except (AttributeError, OSError, ValueError):
        return None


def _read(path: str | Path) -> str | None:
    try:
        return Path(path).read_text("utf-8", "replace").strip()
    except OSError:
        return None


def _said(command: list[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=5).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""
