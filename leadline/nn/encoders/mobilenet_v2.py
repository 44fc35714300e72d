"""MobileNetV2 (Sandler et al. 2018, arXiv 1801.04381), width 1.0, cut before its block of 320 channels; and whole, for
images of 32x32.
"""

from __future__ import annotations

from torch import Tensor, nn

from leadline.core.spec import Encoder
from leadline.nn.blocks import conv_bn, separable, tapped
from leadline.nn.depthwise import DepthwiseConv2d

STRIDES = (2, 1, 2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 1, 2, 1, 1)
TAPS = (1, 3, 6, 13, 16)  # the last block at each resolution
EXPANSION = 6
STRIDES_32 = (1, 1, 1, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1)


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
    """1x1 to `expansion` times the channels, 3x3 depthwise, 1x1 without activation; added to its input where shapes
    allow, or with `project` wherever the size stays, through a 1x1 with batch norm if the channels change.
    """

    def __init__(
        self, inputs: int, outputs: int, stride: int, expansion: int = EXPANSION, project: bool = False
    ) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.layers = nn.Sequential(
            *conv_bn(inputs, hidden, 1, 1, nn.ReLU6),
            DepthwiseConv2d(hidden, 3, stride),
            nn.BatchNorm2d(hidden),
            nn.ReLU6(inplace=True),
            *conv_bn(hidden, outputs, 1, 1, None),
        )
        self.adds = stride == 1 and (inputs == outputs or project)
        self.shortcut = conv_bn(inputs, outputs, 1, 1, None) if self.adds and inputs != outputs else None

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        if not self.adds:
            return y
        return y + (x if self.shortcut is None else self.shortcut(x))


class MobileNetV2For32(nn.Module):
    """Image [B,3,H,W] -> one map at stride 8: the whole net with fewer strides, as CIFAR-10's reference nets have it.

    The last width is that of the 1x1 convolution before the classifier. A block that keeps the size and changes the
    channels has a 1x1 with batch norm as its shortcut, which the paper's has not: 2.297 M parameters come of it.
    """

    def __init__(self, spec: Encoder) -> None:
        super().__init__()
        widths = spec.widths
        if len(widths) != len(STRIDES_32):
            raise ValueError(f"{spec.name} has {len(STRIDES_32)} blocks, {len(widths)} widths were given")
        layers: list[nn.Module] = [conv_bn(3, widths[0], 3, 1, nn.ReLU6)]
        for i in range(1, len(widths) - 1):
            expansion = EXPANSION if i > 1 else 1
            layers.append(Block(widths[i - 1], widths[i], STRIDES_32[i], expansion, project=True))
        self.blocks = nn.ModuleList([*layers, conv_bn(widths[-2], widths[-1], 1, 1, nn.ReLU6)])
        self.channels = (widths[-1],)
        self.strides = (8,)

    def forward(self, x: Tensor) -> list[Tensor]:
        return tapped(self.blocks, (len(self.blocks) - 1,), x)
