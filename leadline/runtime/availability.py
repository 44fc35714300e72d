"""Which runtimes are fit for work here: really imported, each in a process of its own, since a broken one may crash."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from leadline.core.machine import NO_COMPILER, compiler, installed_version, lacking
from leadline.runtime import BACKENDS, backend


class Needs(NamedTuple):
    """The distribution that runs files and the module to try; the modules that making files takes besides, and whether
    it takes a C++ compiler."""

    package: str
    module: str
    export: tuple[str, ...] = ()
    compiler: bool = False


NEEDS: dict[str, Needs] = {
    "eager": Needs("torch", "torch"),
    "inductor": Needs("torch", "torch", compiler=True),
    "onnx": Needs("onnxruntime", "onnxruntime", ("onnx", "onnxscript")),
    "openvino": Needs("openvino", "openvino", ("nncf",)),
    "tvm": Needs("apache-tvm", "tvm", compiler=True),
    "litert": Needs("ai-edge-litert", "ai_edge_litert.interpreter", ("litert_torch", "ai_edge_quantizer")),
    "executorch": Needs("executorch", "executorch.runtime", ("torchao",)),
    "ncnn": Needs("ncnn", "ncnn", ("pnnx",)),
}


def health() -> list[dict[str, Any]]:
    """For each runtime: `ready` to run files with `package` and `version`, or what it `needs`; the same for making
    them, `exports` and `export_needs`. A need is a command to type, or the reason why an import fails."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(_health, BACKENDS))


def _health(name: str) -> dict[str, Any]:
    needs = NEEDS.get(name) or Needs(name, "leadline")  # of a runtime that was registered
    missing = backend(name).missing()
    broken = None if missing else _import_error(needs.module)
    lacks, export_lacks = missing or broken, missing or broken
    if not broken and name in NEEDS:  # NAME-export brings what NAME brings, too
        extra = "train" if name == "eager" else f"{name}-export"
        export_lacks = f"pip install 'leadline[{extra}]'" if missing else lacking(("torch", *needs.export), extra)
    if export_lacks is None and needs.compiler and not compiler():
        export_lacks = f"a C++ compiler: {NO_COMPILER}"
    version = None if lacks else installed_version(needs.package) or "of unknown version"
    found = {"runtime": name, "ready": lacks is None, "package": needs.package, "version": version, "needs": lacks}
    return found | {"exports": export_lacks is None, "export_needs": export_lacks}


def _import_error(module: str) -> str | None:
    """Why `module` cannot be imported in a fresh process, in one line; None if it can."""
    command = [sys.executable, "-W", "ignore", "-c", f"import {module}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return None
    lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
    return f"installed, but broken: {lines[-1]}"
