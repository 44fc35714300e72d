"""Fast-SCNN's two branches (Poudel et al. 2019, arXiv 1902.04502): learning to down-sample, global features."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leadline.core.spec import Encoder
from leadline.nn.blocks import conv_bn, means, separable
from leadline.nn.encoders.mobilenet_v2 import Block

BINS = (1, 2, 3, 6)


class FastSCNN(nn.Module):
    """Image [B,3,H,W] -> two maps at strides 8 and 32.

    `widths`: the three layers of the first branch, the three groups of inverted residuals, the pyramid pooling.
    """

    def __init__(self, spec: Encoder) -> None:
        super().__init__()
        widths = spec.widths
        if len(widths) != 7:
            raise ValueError(f"fast_scnn has 7 widths, {len(widths)} were given")
        first = conv_bn(3, widths[0], 3, 2, nn.ReLU)
        rest = [separable(a, b, 3, 2, nn.ReLU) for a, b in pairwise(widths[:3])]
        self.down = nn.Sequential(first, *rest)
        blocks: list[nn.Module] = []
        for inputs, outputs, stride in zip(widths[2:5], widths[3:6], (2, 2, 1), strict=True):
            blocks += [Block(inputs, outputs, stride), *(Block(outputs, outputs, 1) for _ in range(2))]
        self.blocks = nn.ModuleList(blocks)
        self.pool = PyramidPooling(widths[5], widths[6])
        self.channels = (widths[2], widths[6])
        self.strides = (8, 32)

    def forward(self, x: Tensor) -> list[Tensor]:
        fine = self.down(x)
        y = fine
        for block in self.blocks:
            y = block(y)
        return [fine, self.pool(y)]


class PyramidPooling(nn.Module):
    """Means over 1, 2, 3 and 6 parts a side, each through a 1x1 to a quarter, enlarged, beside the map; then a 1x1.

    Part i of n covers floor(i H / n) to ceil((i + 1) H / n), as adaptive pooling has it.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        part = max(1, inputs // len(BINS))
        self.parts = nn.ModuleList(conv_bn(inputs, part, 1, 1, nn.ReLU) for _ in BINS)
        self.join = conv_bn(inputs + part * len(BINS), outputs, 1, 1, nn.ReLU)

    def forward(self, x: Tensor) -> Tensor:
        size = (x.shape[-2], x.shape[-1])
        maps = [x]
        for n, part in zip(BINS, self.parts, strict=True):
            small = part(means(x, n))
            maps.append(F.interpolate(small, size=size, mode="bilinear", align_corners=True))
        result: Tensor = self.join(torch.cat(maps, dim=1))
        return result
