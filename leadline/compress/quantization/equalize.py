"""Cross-layer equalisation: neighbouring layers share their ranges fairly, so that 8 bits suit every channel.

Nagel et al. 2019, arXiv 1906.04721, section 4.1. Between two convolutions with a ReLU between them, a channel may be
divided by any s > 0 on its way out of the first and multiplied on its way into the second: relu(x / s) = relu(x) / s.
With s = sqrt(r1 / r2) both weights of the channel have the same range. Not across ReLU6, whose bound would have to move
with each channel; the paper replaces it by ReLU, which is another function, so we leave such pairs alone.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import TypeVar

import torch
from torch import nn

N = TypeVar("N", bound=nn.Module)


def equalized(net: N, rounds: int = 20) -> N:
    """A copy of `net` that computes the same, each pair of neighbours equalised, `rounds` times from first to last.

    `net` is in eval mode with its batch norms folded. Depthwise convolutions gain most: each channel has few weights.
    """
    result = copy.deepcopy(net).eval()
    pairs = list(_pairs(result))
    with torch.no_grad():
        for _ in range(rounds):
            for first, second in pairs:
                _share(first, second)
    return result


def _pairs(net: nn.Module) -> Iterator[tuple[nn.Conv2d, nn.Conv2d]]:
    """Convolutions with nothing but a ReLU (and identities) between them, in one Sequential."""
    for parent in net.modules():
        if not isinstance(parent, nn.Sequential):
            continue
        steps = [child for child in parent if not isinstance(child, nn.Identity)]
        for first, act, second in zip(steps, steps[1:], steps[2:], strict=False):
            if first is second:  # one kernel that runs twice would be divided and multiplied at once
                continue
            if type(act) is nn.ReLU and isinstance(first, nn.Conv2d) and isinstance(second, nn.Conv2d):
                depthwise = second.groups == second.in_channels == second.out_channels
                if second.groups == 1 or depthwise:
                    yield first, second


def _share(first: nn.Conv2d, second: nn.Conv2d) -> None:
    depthwise = second.groups > 1
    out_range = first.weight.abs().amax(dim=(1, 2, 3))
    in_range = second.weight.abs().amax(dim=(1, 2, 3) if depthwise else (0, 2, 3))
    alive = (out_range > 0) & (in_range > 0)
    scale = torch.where(alive, (out_range / in_range.clamp_min(1e-12)).sqrt(), torch.ones_like(out_range))
    scale = scale.clamp(1e-4, 1e4)  # a dead channel has range 0: the scale would be 0 or infinite
    first.weight.div_(scale.view(-1, 1, 1, 1))
    if first.bias is not None:
        first.bias.div_(scale)
    second.weight.mul_(scale.view(-1, 1, 1, 1) if depthwise else scale.view(1, -1, 1, 1))
