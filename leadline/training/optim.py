"""How weights are moved: the optimiser, its learning rate at each step, the running mean of the weights."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from leadline.training.options import FitOptions


def learning_rate(options: FitOptions, step: int) -> float:
    """The learning rate of one step (0 is the first). Published forms:

    1. poly is mmcv's (1 - t / T)^power, stretched so that it ends at `lr_end`;
    2. so is the warm-up from a ratio, which reaches 1 at step `warmup`; that from 0 does so one step earlier;
    3. the warm-up multiplies the schedule, which starts at the same time. After its end, a schedule stays there.
    """
    part = min(step / options.steps, 1.0)
    match options.schedule:
        case "cosine":
            fall = 0.5 * (1 + math.cos(math.pi * part))
        case "step":
            # 1e-9: in floating point 0.3 / 0.1 is just below 3
            fall = 0.1 ** int(part / options.step_every + 1e-9)
        case "poly":
            fall = (1 - options.lr_end) * (1 - part) ** options.power + options.lr_end
        case "halve":
            fall = 0.5 ** ((part >= 0.6) + (part >= 0.8))
        case "constant":
            fall = 1.0
    return options.lr * _warm(options, step) * fall


def _warm(options: FitOptions, step: int) -> float:
    if step >= options.warmup:
        return 1.0
    if not options.warmup_from:
        return (step + 1) / options.warmup
    return options.warmup_from + (1 - options.warmup_from) * step / options.warmup


def optimizer(net: nn.Module, options: FitOptions, others: Iterable[nn.Parameter] = ()) -> torch.optim.Optimizer:
    """torch's optimiser over the net's weights, and `others`, which do not decay."""
    # fused=True updates all weights in one pass; the plain optimisers take a fifth of a training step on a CPU
    groups: list[dict[str, Any]] = [{"params": list(net.parameters())}]
    if options.optimizer == "adamw":
        groups = [{"params": [p for p in net.parameters() if p.ndim > 1]}]
        groups += [{"params": [p for p in net.parameters() if p.ndim <= 1], "weight_decay": 0.0}]
    if others := list(others):
        groups.append({"params": others, "weight_decay": 0.0})
    decay = options.weight_decay
    match options.optimizer:
        case "sgd":
            return torch.optim.SGD(groups, options.lr, options.momentum, weight_decay=decay, fused=True)
        case "adam":
            return torch.optim.Adam(groups, options.lr, options.betas, options.eps, decay, fused=True)
        case "adamw":
            return torch.optim.AdamW(groups, options.lr, options.betas, options.eps, decay, fused=True)


def ema_update_(mean: nn.Module, net: nn.Module, decay: float) -> None:
    """One step of the running mean: decay x mean + (1 - decay) x net; counters are copied.

    torch's AveragedModel would average the counters too, and has one decay for all steps.
    """
    with torch.no_grad():
        pairs = list(zip(mean.state_dict().values(), net.state_dict().values(), strict=True))
        floats = [(a, b) for a, b in pairs if a.is_floating_point()]
        update: Any = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        update([a for a, _ in floats], [b for _, b in floats], None)
        for a, b in pairs:
            if not a.is_floating_point():
                a.copy_(b)
