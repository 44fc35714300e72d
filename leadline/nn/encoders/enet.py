"""ENet's encoder and its bottlenecks (Paszke et al. 2016, arXiv 1606.02147)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leadline.core.spec import Encoder
from leadline.nn.blocks import conv_bn, even, halved

KINDS = ("plain", "dilated 2", "asymmetric", "dilated 4", "plain", "dilated 8", "asymmetric", "dilated 16")
"""The bottlenecks of stages 2 and 3, in order."""


class ENet(nn.Module):
    """Image [B,3,H,W] -> three maps at strides 2, 4, 8: the initial block's, stage 1's, and stages 2 and 3's."""

    def __init__(self, spec: Encoder) -> None:
        super().__init__()
        widths = spec.widths
        if len(widths) != 3 or widths[0] <= 3:
            raise ValueError(f"enet has 3 scales, the first of more than 3 channels; the widths {widths} were given")
        self.initial = Initial(widths[0])
        first = [Bottleneck(widths[1], 0.01) for _ in range(4)]
        self.stage1 = nn.Sequential(Down(widths[0], widths[1], 0.01), *first)
        rest = [Bottleneck(widths[2], 0.1, kind) for _ in range(2) for kind in KINDS]
        self.stage23 = nn.Sequential(Down(widths[1], widths[2], 0.1), *rest)
        self.channels = widths
        self.strides = (2, 4, 8)

    def forward(self, x: Tensor) -> list[Tensor]:
        fine = self.initial(x)
        middle = self.stage1(fine)
        return [fine, middle, self.stage23(middle)]


class Initial(nn.Module):
    """A 3x3 convolution of stride 2 beside the image, max-pooled; both with batch norm, then PReLU."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.conv = conv_bn(3, outputs - 3, 3, 2, None)
        self.image = nn.BatchNorm2d(3)
        self.act = nn.PReLU(outputs)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.act(torch.cat([self.conv(x), self.image(halved(x))], dim=1))
        return result


class Bottleneck(nn.Module):
    """1x1 to a quarter, a convolution, 1x1 back, dropout; added to the input, then PReLU."""

    def __init__(self, channels: int, dropout: float, kind: str = "plain") -> None:
        super().__init__()
        hidden = max(1, channels // 4)
        self.layers = nn.Sequential(
            *conv_prelu(nn.Conv2d(channels, hidden, 1, bias=False)),
            *_middle(hidden, kind),
            *last(hidden, channels, dropout),
        )
        self.act = nn.PReLU(channels)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.act(x + self.layers(x))
        return result


class Down(nn.Module):
    """A bottleneck of stride 2: the first convolution is 2x2, to a quarter of the outputs; the input is max-pooled, and
    zeros widen it.
    """

    def __init__(self, inputs: int, outputs: int, dropout: float) -> None:
        super().__init__()
        hidden = max(1, outputs // 4)
        self.layers = nn.Sequential(
            *conv_prelu(nn.Conv2d(inputs, hidden, 2, 2, bias=False)),
            *_middle(hidden, "plain"),
            *last(hidden, outputs, dropout),
        )
        self.act, self.added = nn.PReLU(outputs), outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        x = even(x)
        rest = F.pad(F.max_pool2d(x, 2), (0, 0, 0, 0, 0, self.added))
        result: Tensor = self.act(rest + self.layers(x))
        return result


def _middle(channels: int, kind: str) -> list[nn.Module]:
    if kind == "asymmetric":
        row = nn.Conv2d(channels, channels, (5, 1), padding=(2, 0), bias=False)
        column = nn.Conv2d(channels, channels, (1, 5), padding=(0, 2), bias=False)
        return [row, *conv_prelu(column)]
    dilation = int(kind.removeprefix("dilated ")) if kind.startswith("dilated") else 1
    return conv_prelu(nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation, bias=False))


def conv_prelu(conv: nn.Conv2d | nn.ConvTranspose2d) -> list[nn.Module]:
    """The layer, batch norm, PReLU with a slope for each channel."""
    return [conv, nn.BatchNorm2d(conv.out_channels), nn.PReLU(conv.out_channels)]


def last(hidden: int, outputs: int, dropout: float) -> list[nn.Module]:
    """How each bottleneck ends: 1x1, batch norm, dropout of whole channels."""
    return [nn.Conv2d(hidden, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.Dropout2d(dropout)]
