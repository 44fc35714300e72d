"""A backend for tests that need no real one: its files are checkpoints with a second file and a manifest beside
them.
"""

from __future__ import annotations

import types
from pathlib import Path

import numpy as np
import pytest
import torch

from leadline.core.errors import BadArtefact, ExportFailed
from leadline.core.preprocess import Runner
from leadline.nn.build import Net
from leadline.runtime import BACKENDS, SUFFIXES, graph, whole_frame
from leadline.runtime import runner as calls
from leadline.runtime.backends import eager
from leadline.runtime.manifest import read_beside, write_beside
from leadline.runtime.options import CompileOptions


class StandIn(types.ModuleType):
    """`compile` counts its calls; `fault` makes it refuse, or its files compute something else."""

    PRECISIONS = ("fp32", "int8")

    def __init__(self) -> None:
        super().__init__("stand_in_backend")
        self.compiled: list[CompileOptions] = []
        self.fault = ""

    def missing(self) -> str | None:
        return "pip install stand-in" if self.fault == "missing" else None

    def compile(self, net: Net, example: torch.Tensor, out: Path, options: CompileOptions) -> Path:
        self.compiled.append(options)
        eager.compile(net, example, out, CompileOptions())
        out.with_suffix(".bin").write_text(self.fault)
        write_beside(out, graph.manifest(net, example, "standin", options, ["numpy"]))
        if self.fault == "refuses":
            raise ExportFailed("standin has no kernel for Conv")
        return out

    def load(self, path: Path, threads: int | None) -> Runner:
        from leadline.nn.checkpoint import load

        try:
            fault, net, manifest = path.with_suffix(".bin").read_text(), load(path), read_beside(path)
        except Exception as error:
            raise BadArtefact(f"{path} is damaged") from error
        run = eager.runner(
            net if manifest.frame is None else whole_frame.Framed(net, manifest.frame, manifest.spec.preprocess)
        )
        added = {"differs": 0.01, "not finite": np.nan}.get(fault, 0.0)
        return calls.runner(manifest, lambda images: run(images) + np.float32(added))


def stand_in(patch: pytest.MonkeyPatch) -> StandIn:
    """The backend `standin`, whose files end in .standin, until `patch` is undone."""
    import sys

    module = StandIn()
    patch.setitem(sys.modules, module.__name__, module)
    patch.setitem(BACKENDS, "standin", module.__name__)
    patch.setitem(SUFFIXES, ".standin", "standin")
    return module
