"""MobileNetV2 (Sandler et al. 2018, arXiv 1801.04381), width 1.0, cut before its block of 320 channels."""

from __future__ import annotations

from torch import Tensor, nn

from leadline.core.spec import Encoder
from leadline.nn.blocks import conv_bn, separable, tapped
from leadline.nn.depthwise import DepthwiseConv2d

STRIDES = (2, 1, 2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 1, 2, 1, 1)
TAPS = (1, 3, 6, 13, 16)  # the last block at each resolution
EXPANSION = 6


class MobileNetV2(nn.Module):
    """Image [B,3,H,W] -> five maps at strides 2, 4, 8, 16, 32, fine to coarse.

    `blocks[i]` is the i-th of torchvision's `features`; its widths are the Spec's, the hidden ones six times the input.
    """

    def __init__(self, spec: Encoder) -> None:
        super().__init__()
        widths = spec.widths
        if len(widths) != len(STRIDES):
            raise ValueError(f"mobilenet_v2 has {len(STRIDES)} blocks, {len(widths)} widths were given")
        self.blocks = nn.ModuleList([conv_bn(3, widths[0], 3, STRIDES[0], nn.ReLU6)])
        # the first block does not expand, and like all of them has no activation at its end
        self.blocks.append(separable(widths[0], widths[1], 3, STRIDES[1], nn.ReLU6)[:-1])
        for inputs, outputs, stride in zip(widths[1:], widths[2:], STRIDES[2:], strict=False):
            self.blocks.append(Block(inputs, outputs, stride))
        self.channels = tuple(widths[i] for i in TAPS)
        self.strides = (2, 4, 8, 16, 32)

    def forward(self, x: Tensor) -> list[Tensor]:
        return tapped(self.blocks, TAPS, x)


class Block(nn.Module):
    """1x1 to six times the channels, 3x3 depthwise, 1x1 without activation; added to its input where shapes allow."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        hidden = inputs * EXPANSION
        self.layers = nn.Sequential(
            *conv_bn(inputs, hidden, 1, 1, nn.ReLU6),
            DepthwiseConv2d(hidden, 3, stride),
            nn.BatchNorm2d(hidden),
            nn.ReLU6(inplace=True),
            *conv_bn(hidden, outputs, 1, 1, None),
        )
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return x + y if self.adds else y
