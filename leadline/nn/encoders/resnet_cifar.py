"""ResNets for images of 32x32 (He et al. 2016, arXiv 1512.03385, section 4.2): 6 n + 2 layers in three stages."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leadline.core.spec import Encoder
from leadline.nn.blocks import conv_bn, tapped

DEPTHS = {"resnet20": 3, "resnet32": 5, "resnet44": 7, "resnet56": 9, "resnet110": 18}
"""By encoder: how many blocks of two convolutions each stage has."""


class ResNetCifar(nn.Module):
    """Image [B,3,H,W] -> three maps at strides 1, 2, 4, one a stage. The Spec's widths: the stem's and the stages'."""

    def __init__(self, spec: Encoder) -> None:
        super().__init__()
        widths = spec.widths
        if len(widths) != 4:
            raise ValueError(f"{spec.name} has a stem and 3 stages, {len(widths)} widths were given")
        self.stem = conv_bn(3, widths[0], 3, 1, nn.ReLU)
        self.stages = nn.ModuleList(
            nn.Sequential(
                Block(widths[i], widths[i + 1], 2 if i else 1),
                *(Block(widths[i + 1], widths[i + 1], 1) for _ in range(DEPTHS[spec.name] - 1)),
            )
            for i in range(3)
        )
        self.channels = widths[1:]
        self.strides = (1, 2, 4)

    def forward(self, x: Tensor) -> list[Tensor]:
        return tapped(self.stages, range(3), self.stem(x))


class Block(nn.Module):
    """relu(two 3x3 convolutions + shortcut).

    Where the shape changes, the shortcut has no weights (the paper's option A): every second pixel, and channels of
    zeros on either side.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        if outputs < inputs:
            raise ValueError(
                f"a stage of {outputs} channels follows one of {inputs}; the shortcut cannot drop channels"
            )
        self.layers = nn.Sequential(
            *conv_bn(inputs, outputs, 3, stride, nn.ReLU), *conv_bn(outputs, outputs, 3, 1, None)
        )
        self.stride, self.added = stride, outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        rest = x[:, :, :: self.stride, :: self.stride] if self.stride > 1 else x
        if self.added:
            before = self.added // 2
            rest = F.pad(rest, (0, 0, 0, 0, before, self.added - before))
        return torch.relu(y + rest)
