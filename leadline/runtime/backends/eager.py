"""The plain PyTorch backend: its artefact is the checkpoint itself."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from leadline.core.errors import NoRuntime
from leadline.core.machine import check_threads, lacking
from leadline.core.preprocess import Runner
from leadline.runtime.options import CompileOptions, Precision
from leadline.runtime.runner import FORKED, Loaded

if TYPE_CHECKING:
    import torch

    from leadline.nn.build import Net

PRECISIONS: tuple[Precision, ...] = ("fp32",)


def missing() -> str | None:
    """None if PyTorch is installed, otherwise the command that installs it."""
    return lacking(("torch",), "train")


def compile(net: Net, example: torch.Tensor, out: Path, options: CompileOptions) -> Path:
    """The checkpoint of `net` at `out`. PyTorch runs any input size, so `example` changes nothing.

    A checkpoint has room for weights alone: anything but fp32 without frame, calibration and trials is a ValueError.
    """
    from leadline.nn.checkpoint import save

    if options.precision not in PRECISIONS:
        raise ValueError(f"eager makes no {options.precision} files; allowed: {', '.join(PRECISIONS)}")
    for name in ("frame", "calibration", "keep", "tuning", "trials"):
        if getattr(options, name):
            raise ValueError(f"eager has no option {name!r}; leave it out, or choose another runtime")
    return save(net, out, provenance=options.provenance)


def devices() -> tuple[str, ...]:
    """Where PyTorch can compute here: the processor, NVIDIA's or AMD's GPUs, Apple's."""
    import torch

    gpus = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    return "cpu", *(["cuda", *gpus] if gpus else []), *(["mps"] if torch.backends.mps.is_available() else [])


def load(path: Path, threads: int | None = None, device: str = "cpu") -> Runner:
    """The checkpoint at `path` as a Runner on `device`, see `runner`."""
    from leadline.nn.checkpoint import load as load_net

    return runner(load_net(path).to(device), threads)


def runner(net: torch.nn.Module, threads: int | None = None) -> Runner:
    """A net as a Runner: a copy of it, in eval mode, channels-last, without gradients, on the device where it lies.

    Each call computes with `threads` of PyTorch's threads, and leaves that number to the whole process; None: with as
    many as the process has. Threads may share it, and run at the same time. A process that was forked after it was
    made can use it with one thread (`torch.set_num_threads(1)`), as is PyTorch's rule; with more it is a NoRuntime.
    """
    import torch

    from leadline.runtime.torch_threads import use_threads

    n_threads = None if threads is None else check_threads(threads)
    fixed = copy.deepcopy(net).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    home = os.getpid()
    first = next(fixed.parameters(), torch.empty(0))

    def run(images: np.ndarray) -> np.ndarray:
        if os.getpid() == home and n_threads is not None:
            use_threads(n_threads)
        elif os.getpid() != home and torch.get_num_threads() > 1:
            raise NoRuntime(f"{FORKED}, or give PyTorch one thread here (torch.set_num_threads)")
        with torch.inference_mode():
            batch = torch.tensor(images, dtype=torch.float32, device=first.device)
            output = fixed(batch.contiguous(memory_format=torch.channels_last))
        return np.asarray(output.float().cpu().numpy())

    return Loaded(run, runner, fixed, threads)
