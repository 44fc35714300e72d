"""Backends: ways to run a net. Each is a module with three functions; this dict is the registry."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from leadline.preprocess import Runner

if TYPE_CHECKING:
    import torch

    from leadline.nn.build import Net

BACKENDS: dict[str, str] = {"eager": "leadline.runtime.eager"}
"""Name -> module; imported only when asked for, so that a missing package hurts nobody else."""


class Backend(Protocol):
    """What such a module offers."""

    def missing(self) -> str | None:
        """None where the backend can run here, otherwise the command that installs what it lacks."""

    def compile(self, net: Net, example: torch.Tensor, out: Path, options: Mapping[str, Any]) -> Path:
        """The artefact written at `out`: the net for inputs shaped as `example`, with its Spec inside or beside it.

        `net` is left as it is. An option the backend does not know is a ValueError.
        """

    def load(self, path: Path, threads: int | None) -> Runner:
        """The artefact as a function: float32 [N,3,h,w], RGB in 0..1 -> float32 [N,1,h,w]."""


def backend(name: str) -> Backend:
    """The backend's module; an unknown name is a ValueError that names the nearest one."""
    if name not in BACKENDS:
        near = difflib.get_close_matches(name, BACKENDS, n=3) or sorted(BACKENDS)
        raise ValueError(f"the backend {name!r} is unknown; nearest: {', '.join(near)}")
    return cast(Backend, importlib.import_module(BACKENDS[name]))
