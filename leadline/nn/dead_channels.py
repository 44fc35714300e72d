"""Dead channels before quantisation: weights that only ever meet zeros become zeros themselves.

Batch norm divides by the spread of its channel. Where that is nothing, because what feeds it is always 0, the folded
weights are thousands of times larger than all others. They do no harm in floating point. A quantiser that lets the
largest weight have a say in the steps of all channels (nncf) makes nonsense of the whole net.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn


def silenced(net: nn.Module, images: Sequence[np.ndarray]) -> nn.Module:
    """A copy of `net` that gives the same on `images`, network inputs float32 [1,3,h,w]; see above."""
    quiet = copy.deepcopy(net).eval()
    convolutions = [module for module in quiet.modules() if isinstance(module, nn.Conv2d)]
    largest: dict[nn.Module, Tensor] = {}

    def note(conv: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen = inputs[0].abs().amax(dim=(0, 2, 3))
        largest[conv] = torch.maximum(largest[conv], seen) if conv in largest else seen

    hooks = [conv.register_forward_pre_hook(note) for conv in convolutions]
    with torch.no_grad():
        for image in images:
            quiet(torch.tensor(image))
        for conv in convolutions:
            if conv not in largest:
                continue  # it never ran
            dead = largest[conv] == 0
            if conv.groups == 1:
                conv.weight[:, dead] = 0
            elif conv.groups == conv.in_channels == conv.out_channels:
                conv.weight[dead] = 0
    for hook in hooks:
        hook.remove()
    return quiet
