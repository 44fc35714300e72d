"""MobileNetV1 (Howard et al. 2017, arXiv 1704.04861), width 1.0: one convolution and 13 separable blocks."""

from __future__ import annotations

from torch import Tensor, nn

from leadline.core.spec import Encoder
from leadline.nn.blocks import conv_bn, separable, tapped

STRIDES = {
    "mobilenet_v1": (2, 1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1),
    "mobilenet_v1_32": (1, 1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1),
}
"""By encoder: the stride of each block; `mobilenet_v1_32` is for images of 32x32, and halves them four times."""
TAPS = (1, 3, 5, 11, 13)  # the last block at each resolution


class MobileNetV1(nn.Module):
    """Image [B,3,H,W] -> five maps at strides 2, 4, 8, 16, 32, fine to coarse. `blocks[i]` is FastDepth's conv{i}.

    `mobilenet_v1_32`: at strides 1, 2, 4, 8, 16.
    """

    def __init__(self, spec: Encoder) -> None:
        super().__init__()
        widths, strides = spec.widths, STRIDES[spec.name]
        if len(widths) != len(strides):
            raise ValueError(f"{spec.name} has {len(strides)} blocks, {len(widths)} widths were given")
        self.blocks = nn.ModuleList([conv_bn(3, widths[0], 3, strides[0], nn.ReLU6)])
        for inputs, outputs, stride in zip(widths, widths[1:], strides[1:], strict=False):
            self.blocks.append(separable(inputs, outputs, 3, stride, nn.ReLU6))
        self.channels = tuple(widths[i] for i in TAPS)
        self.strides = tuple(strides[0] * 2**i for i in range(5))

    def forward(self, x: Tensor) -> list[Tensor]:
        return tapped(self.blocks, TAPS, x)
