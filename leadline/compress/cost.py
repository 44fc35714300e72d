"""What a net costs: parameters and multiply-accumulates."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def parameters(net: nn.Module) -> int:
    """The number of trainable values, batch norm's included."""
    return sum(p.numel() for p in net.parameters())


def macs(net: nn.Module, size: tuple[int, int]) -> int:
    """Multiply-accumulates of the convolutions and matrix products for one image of `size` (height, width).

    Counted by torch's own counter, which counts 2 operations for each, on a copy without values.
    """
    ghost = copy.deepcopy(net).to("meta").eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        ghost(torch.zeros(1, 3, *size, device="meta"))
    return int(counter.get_total_flops()) // 2
