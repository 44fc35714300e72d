"""compress(net, *steps): compression steps one after the other, and what a net must still be after each.

A step is a function Net -> (Net, Report); data, budget, cost and loss are bound before, with `functools.partial`.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from leadline.core.errors import AcceptanceFailed
from leadline.core.report import Report
from leadline.nn.build import Net
from leadline.nn.checkpoint import load, save
from leadline.nn.wrap import module_of

Step = Callable[[Net], tuple[Net, Report]]


def compress(net: Net, *steps: Step) -> tuple[Net, list[Report]]:
    """A compressed copy of `net`, in eval mode, and each step's report. `net` stays as it is.

    After each step the result must (1) give a finite map of the input's size, (2) be the same once saved and loaded,
    all tensors to the bit; otherwise that is an AcceptanceFailed that names the step. Each adds a line to the
    provenance.
    """
    result, reports = copy.deepcopy(net).eval(), []
    with torch.no_grad():
        shape = tuple(result(_image(result)).shape)
    for step in steps:
        result, report = step(result)
        spec = result.spec
        result.spec = replace(spec, provenance=(*spec.provenance, _described(step, report)))
        _check(result.eval(), _name(step), shape)
        reports.append(report)
    return result, reports


def _image(net: Net) -> torch.Tensor:
    return torch.rand(1, 3, *net.spec.preprocess.size, generator=torch.Generator().manual_seed(0))


def _check(net: Net, step: str, shape: tuple[int, ...]) -> None:
    image = _image(net)
    with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        depth = net(image)
        if tuple(depth.shape) != shape or not depth.isfinite().all():
            wild = int((~depth.isfinite()).sum())
            raise AcceptanceFailed(
                f"after the step {step} the net gives shape {tuple(depth.shape)} with {wild} values that are not "
                f"finite; finite numbers of the shape {shape} are needed"
            )
        again = load(save(net, Path(folder) / "net.safetensors"), module=module_of(net))
        pairs = [(a, b) for a, b in zip(again.state_dict().values(), net.state_dict().values(), strict=True)]
        # counters of batches are not stored in the file
        same = all(torch.equal(a, b) for a, b in pairs if a.is_floating_point())
        # training may leave weights in another memory layout, which changes the rounding of outputs
        if not same or not torch.allclose(again(image), depth, 1e-3, 1e-3):
            raise AcceptanceFailed(
                f"after the step {step} the net, saved and loaded, is another: its Spec and shapes disagree"
            )


def _name(step: Step) -> str:
    while isinstance(step, partial):
        step = step.func
    return getattr(step, "__name__", type(step).__name__)


def _described(step: Step, report: Report) -> str:
    step_name = report.context.get("step")
    return str(step_name) if step_name else _name(step)
