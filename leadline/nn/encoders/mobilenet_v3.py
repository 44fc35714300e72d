"""MobileNetV3-Small-Minimal (Howard et al. 2019, arXiv 1905.02244), cut before its last 1x1: LiteDepth's encoder.

ReLU only, 3x3 only, no squeeze-and-excitation. TensorFlow's SAME padding (what is missing goes right and below first)
and its batch norm (eps 1e-3), as in the weights `tf_mobilenetv3_small_minimal_100` that LiteDepth started from.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from leadline.core.spec import Encoder
from leadline.nn.blocks import tapped
from leadline.nn.depthwise import DepthwiseConv2d

# Each block: hidden width (0: separable, without an expansion), stride. Their output widths are the Spec's.
BLOCKS = ((0, 2), (72, 2), (88, 1), (96, 2), (240, 1), (240, 1), (120, 1), (144, 1), (288, 2), (576, 1), (576, 1))
TAPS = (0, 1, 3, 8, 11)  # the stem; stages 0, 1, 3 and 4


class MobileNetV3(nn.Module):
    """Image [B,3,H,W] -> five maps at strides 2, 4, 8, 16, 32, fine to coarse. `blocks[0]` is the stem."""

    def __init__(self, spec: Encoder) -> None:
        super().__init__()
        widths = spec.widths
        if len(widths) != len(BLOCKS) + 1:
            raise ValueError(f"mobilenet_v3 has {len(BLOCKS) + 1} widths, {len(widths)} were given")
        stem = nn.Conv2d(3, widths[0], 3, 2, bias=False)
        self.blocks = nn.ModuleList([nn.Sequential(Same(), stem, _norm(widths[0]), nn.ReLU(inplace=True))])
        for (hidden, stride), inputs, outputs in zip(BLOCKS, widths, widths[1:], strict=False):
            self.blocks.append(Block(inputs, hidden, outputs, stride))
        self.channels = tuple(widths[i] for i in TAPS)
        self.strides = (2, 4, 8, 16, 32)

    def forward(self, x: Tensor) -> list[Tensor]:
        return tapped(self.blocks, TAPS, x)


class Block(nn.Module):
    """1x1 to `hidden` channels, 3x3 depthwise, 1x1 without activation; added to its input where shapes allow.

    Without `hidden` the first 1x1 is left out.
    """

    def __init__(self, inputs: int, hidden: int, outputs: int, stride: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        if hidden:
            layers += [nn.Conv2d(inputs, hidden, 1, bias=False), _norm(hidden), nn.ReLU(inplace=True)]
        middle = hidden or inputs
        if stride > 1:
            layers.append(Same())
        layers += [DepthwiseConv2d(middle, 3, stride, None if stride == 1 else 0), _norm(middle), nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(middle, outputs, 1, bias=False), _norm(outputs))
        self.adds = stride == 1 and inputs == outputs and hidden > 0

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return x + y if self.adds else y


class Same(nn.Module):
    """TensorFlow's SAME padding in front of a 3x3 convolution of stride 2."""

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2] % 2, x.shape[-1] % 2  # an even size misses one line, an odd one two
        return F.pad(x, (width, 1, height, 1))


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)
