"""Which processor this is, and what it can do: what decides whether code that was compiled elsewhere may run here."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

# What the kernels of the runtimes ask for; Linux's name for it on ARM -> the usual one.
_X86 = (
    "sse4_1", "avx", "avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16",
    "avx512_fp16", "amx_bf16", "amx_int8",
)  # fmt: skip
_ARM = {"asimd": "neon", "asimdhp": "fp16", "asimddp": "dotprod", "i8mm": "i8mm", "bf16": "bf16", "sve": "sve"}
_ARM |= {"sve2": "sve2", "sme": "sme"}
# What compilers use besides, of their own accord, when they may use all that the processor has; Linux's names.
_BY_COMPILERS = (
    "pni", "ssse3", "sse4_2", "sse4a", "popcnt", "abm", "bmi1", "bmi2", "movbe", "fma4", "xop", "tbm", "gfni",
    "avx512dq", "avx512cd", "avx512vl", "avx512ifma", "avx512vbmi", "avx512_vbmi2", "avx512_bitalg",
    "avx512_vpopcntdq", "avx512_vp2intersect", "avx_ifma", "avx_vnni_int8", "avx_vnni_int16", "avx_ne_convert",
    "amx_tile", "amx_fp16", "atomics", "fphp", "asimdrdm", "asimdfhm", "fcma", "jscvt", "frint", "svei8mm", "svebf16",
)  # fmt: skip
_ARCHITECTURES = {"amd64": "x86_64", "arm64": "aarch64"}


def cpu() -> str:
    """Its name; of an ARM board the board's."""
    if sys.platform == "darwin":
        return output_of(["sysctl", "-n", "machdep.cpu.brand_string"]) or platform.processor()
    board = (read("/proc/device-tree/model") or "").strip("\0")  # ARM boards say what they are here
    return _cpuinfo("model name") or board or platform.processor() or platform.machine()


def instructions() -> list[str]:
    """Those that the kernels of the runtimes choose by, under one name on every system."""
    if sys.platform == "darwin":
        lines = output_of(["sysctl", "hw.optional"]).lower().splitlines()
        on = {line.partition(":")[0].rpartition(".")[2] for line in lines if line.endswith(": 1")}
        known = {"feat_dotprod": "dotprod", "feat_i8mm": "i8mm", "feat_bf16": "bf16", "feat_fp16": "fp16"}
        known |= {"avx2_0": "avx2", "avx512f": "avx512f", "neon": "neon", "advsimd": "neon", "feat_sme": "sme"}
        return sorted({name for key, name in known.items() if key in on})
    flags = set(_cpuinfo("flags").split())
    features = set(_cpuinfo("Features").split())
    return [name for name in _X86 if name in flags] + [name for key, name in _ARM.items() if key in features]


def native() -> tuple[str, ...]:
    """What code compiled for this machine may need: its system and architecture, then its instructions.

    Code from a machine whose `native` has an entry that is missing here may end this process (illegal instruction).
    Where the system does not tell instructions, the processor's name stands for them.
    """
    flags = {*_cpuinfo("flags").split(), *_cpuinfo("Features").split()}
    found = {*instructions(), *(flags & set(_BY_COMPILERS))} or {cpu()}
    machine = platform.machine().lower()
    return f"{sys.platform} {_ARCHITECTURES.get(machine, machine)}", *sorted(found)


def identity() -> str:
    """A short name of the hardware: processor, instructions and cores. Native files are kept under it."""
    facts = [cpu(), native(), os.cpu_count()]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]


def read(path: str | Path) -> str | None:
    """The text of a small file of the system's; None if there is none."""
    try:
        return Path(path).read_text("utf-8", "replace").strip()
    except OSError:
        return None


def output_of(command: list[str]) -> str:
    """What a program prints; "" if it cannot run."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=5).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _cpuinfo(key: str) -> str:
    """The first value of `key` in Linux's description of its processors."""
    for line in (read("/proc/cpuinfo") or "").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return ""


def installed_version(package: str) -> str | None:
    """The version of an installed package; None if it is not there, or goes by another name (a build of one's own)."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def usable_cores() -> int:
    """How many cores this process may run on."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


THREADS_VARIABLE = "LEADLINE_THREADS"
"""The environment variable that says how many threads runtimes get where no flag or argument does."""


def stated_threads(threads: int | None) -> int | None:
    """`threads`, or else what LEADLINE_THREADS says; None if neither says any. ValueError for less than one."""
    stated = os.environ.get(THREADS_VARIABLE, "")
    if threads is None and stated:
        if not (stated.isascii() and stated.isdecimal() and int(stated) > 0):
            raise ValueError(f"{THREADS_VARIABLE} is {stated!r}; a whole number, at least 1, is needed")
        return int(stated)
    if threads is not None and threads < 1:
        raise ValueError(f"threads is {threads}; at least 1 is needed")
    return threads


def check_threads(threads: int | None) -> int:
    """The number of threads to use: `threads`, or LEADLINE_THREADS, or by default every core this process may run on.
    ValueError for less than one.
    """
    return stated_threads(threads) or usable_cores()


def lacking(modules: Sequence[str], extra: str) -> str | None:
    """None if all `modules` can be imported, otherwise the command that installs them."""
    found = all(importlib.util.find_spec(name) for name in modules)
    return None if found else f"pip install 'leadline[{extra}]'"


NO_COMPILER = "install g++ (Debian: apt install g++) or set CXX to another"


def compiler() -> str | None:
    """The C++ compiler that PyTorch would find; None if there is none, and NO_COMPILER says what to do."""
    return next(filter(None, map(shutil.which, (os.environ.get("CXX", ""), "g++", "clang++", "cl"))), None)
