"""The decoder of Hu et al.'s light nets (2021, arXiv 2105.06143): every scale at once, no tower of up-projections."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leadline.core.spec import Decoder
from leadline.nn.blocks import conv_bn

REDUCTION = 16
"""The attention's hidden layer has this part of its channels."""


class Multiscale(nn.Module):
    """Pyramid -> features [B, widths[-1], 2 h, 2 w], h and w the size of the map at stride 4: half of the image's.

    `widths` are those of each scale's convolution, of the one that reads the four side by side (the authors' MFF), and
    of the next (the first of their R; its last, which gives the depth, is the head).
    """

    def __init__(self, spec: Decoder, channels: tuple[int, ...]) -> None:
        super().__init__()
        if len(spec.widths) != 3 or len(channels) < 4:
            raise ValueError(
                f"multiscale takes 3 widths over 4 scales; given {len(spec.widths)} widths, {len(channels)} scales"
            )
        each, joined, last = spec.widths
        self.attention = nn.ModuleList(Attention(c) for c in channels[-4:])
        self.scales = nn.ModuleList(conv_bn(c, each, spec.kernel, 1, nn.ReLU) for c in channels[-4:])
        self.join = conv_bn(4 * each, joined, spec.kernel, 1, nn.ReLU)
        self.refine = conv_bn(joined, last, spec.kernel, 1, nn.ReLU)
        self.channels = last

    def forward(self, pyramid: list[Tensor], size: tuple[int, int]) -> Tensor:
        maps = pyramid[-4:]
        half = (2 * maps[0].shape[-2], 2 * maps[0].shape[-1])
        parts = []
        for x, attention, scale in zip(maps, self.attention, self.scales, strict=True):
            part = scale(attention(x))
            parts.append(F.interpolate(part, size=half, mode="bilinear", align_corners=True))
        out: Tensor = self.refine(self.join(torch.cat(parts, dim=1)))
        return out


class Attention(nn.Module):
    """Each channel times a number in 0..1 that the means of all channels decide; convolutions without biases."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(1, channels // REDUCTION)
        self.squeeze = nn.Conv2d(channels, hidden, 1, bias=False)
        self.excite = nn.Conv2d(hidden, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        means = x.mean((2, 3), keepdim=True)
        return x * torch.sigmoid(self.excite(torch.relu(self.squeeze(means))))
