"""FastDepth's decoders (Wofk et al. 2019, arXiv 1903.03273, tables III and IV): five steps, each to twice the size."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leadline.core.spec import Decoder
from leadline.nn.blocks import conv_bn, separable, upsample


class Ladder(nn.Module):
    """Pyramid at strides 2, 4, 8, 16, 32 -> features [B, widths[-1], H, W].

    `blocks[i]` is FastDepth's decode{i+1}. Five widths are theirs; a sixth in front is that of a 1x1 convolution which
    the coarsest features pass first, as the authors do with ResNets. How a step enlarges is the decoder's name:

    1. `nnconv5`: a convolution (5x5 where the name arose; `kernel` decides), then nearest neighbour;
    2. `blconv`: a convolution, then bilinear;
    3. `deconv`: a transposed convolution of stride 2;
    4. `upconv`: zeros to the right of and below each pixel, then a convolution;
    5. `upproj`: the same zeros, then two branches that are added (Laina et al. 2016, arXiv 1606.00373).

    The skips join after steps 2, 3 and 4 (strides 8, 4, 2). Every step goes to the size of the next finer map, so any
    image size works; for multiples of 32 it is exactly twice.
    """

    def __init__(self, spec: Decoder, channels: tuple[int, ...]) -> None:
        super().__init__()
        if len(spec.widths) not in (5, 6) or len(channels) != 5:
            raise ValueError(
                f"{spec.name} has 5 blocks over 5 scales; given {len(spec.widths)} widths, {len(channels)} scales"
            )
        make, self.before, self.after = STEPS[spec.name]
        self.skip = spec.skip
        self.project = nn.Conv2d(channels[-1], spec.widths[0], 1) if len(spec.widths) == 6 else None
        skips = {2: channels[2], 3: channels[1], 4: channels[0]}  # the block that reads the joined map -> skip width
        inputs = channels[-1] if self.project is None else spec.widths[0]
        self.blocks = nn.ModuleList()
        for i, outputs in enumerate(spec.widths[-5:]):
            if i in skips and spec.skip == "add" and skips[i] != inputs:
                raise ValueError(f"decode{i} has {inputs} channels, its skip {skips[i]}; skip='add' needs equal widths")
            if i in skips and spec.skip == "cat":
                inputs += skips[i]
            self.blocks.append(make(inputs, outputs, spec))
            inputs = outputs
        self.channels = inputs

    def forward(self, pyramid: list[Tensor], size: tuple[int, int]) -> Tensor:
        x = pyramid[-1] if self.project is None else self.project(pyramid[-1])
        for i, (block, to) in enumerate(zip(self.blocks, _sizes(pyramid, size), strict=True)):
            x = self.after(block(self.before(x, to)), to)
            if 0 < i < 4 and self.skip == "add":
                x = x + pyramid[3 - i]
            elif 0 < i < 4 and self.skip == "cat":
                x = torch.cat([x, pyramid[3 - i]], dim=1)
        return x


class Shuffle(nn.Module):
    """FastDepth's `shuffle`: each 2x2 pixels come out of four channels, and a convolution follows all but the last.

    `widths` are the channels after each of the five steps, a quarter of those before: 256, 64, 16, 4, 1; in front of
    them a projection as in `Ladder`.
    """

    def __init__(self, spec: Decoder, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.project = nn.Conv2d(channels[-1], spec.widths[0], 1) if len(spec.widths) == 6 else None
        before = channels[-1] if self.project is None else spec.widths[0]
        steps = spec.widths[-5:]
        quarters = all(a == 4 * b for a, b in zip((before, *steps), steps, strict=False))
        if len(spec.widths) not in (5, 6) or len(channels) != 5 or spec.skip != "none" or not quarters:
            raise ValueError(
                f"shuffle has 5 steps over 5 scales, each with a quarter of the channels, and skip='none'; given "
                f"{before} channels, widths {spec.widths}, {len(channels)} scales, skip={spec.skip!r}"
            )
        self.blocks = nn.ModuleList(_convolution(width, width, spec) for width in steps[:-1])
        self.channels = steps[-1]

    def forward(self, pyramid: list[Tensor], size: tuple[int, int]) -> Tensor:
        x = pyramid[-1] if self.project is None else self.project(pyramid[-1])
        for i, to in enumerate(_sizes(pyramid, size)):
            x = cropped(F.pixel_shuffle(x, 2), to)
            if i < len(self.blocks):
                x = self.blocks[i](x)
        return x


class Transposed(nn.ConvTranspose2d):
    """A bias-free transposed convolution of stride 2 that gives twice the size: padding k // 2, output padding 1.

    The padding is cut off the whole result, since LiteRT's converter refuses an output padding.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, groups: int) -> None:
        super().__init__(inputs, outputs, kernel, 2, groups=groups, bias=False)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        cut = self.kernel_size[0] // 2
        whole = super().forward(x, output_size)
        return whole[:, :, cut : cut + 2 * x.shape[-2], cut : cut + 2 * x.shape[-1]]


class UpProjection(nn.Module):
    """relu(k x k, batch norm, ReLU, 3x3, batch norm + k x k, batch norm)."""

    def __init__(self, inputs: int, outputs: int, spec: Decoder) -> None:
        super().__init__()
        if spec.depthwise:
            raise ValueError("upproj has no depthwise form; depthwise=False is needed")
        long = conv_bn(inputs, outputs, spec.kernel, 1, nn.ReLU)
        self.long = nn.Sequential(*long, *conv_bn(outputs, outputs, 3, 1, None))
        self.short = conv_bn(inputs, outputs, spec.kernel, 1, None)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.long(x) + self.short(x))


def unpooled(x: Tensor, size: tuple[int, int]) -> Tensor:
    """`size` map with the pixels of x at even places of the first rows and columns, zeros elsewhere."""
    n, c, height, width = x.shape
    wide = F.pad(x.reshape(n * c, height, width, 1), (0, 1)).reshape(n * c, height, 1, 2 * width)
    return cropped(F.pad(wide, (0, 0, 0, 1)).reshape(n, c, 2 * height, 2 * width), size)


def cropped(x: Tensor, size: tuple[int, int]) -> Tensor:
    """The first rows and columns of x; where an encoder has rounded down and they are too few, x is enlarged."""
    x = x[:, :, : size[0], : size[1]]
    return x if (x.shape[-2], x.shape[-1]) == size else upsample(x, size)


def _kept(x: Tensor, size: tuple[int, int]) -> Tensor:
    return x


def _bilinear(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def _convolution(inputs: int, outputs: int, spec: Decoder) -> nn.Module:
    make = separable if spec.depthwise else conv_bn
    return make(inputs, outputs, spec.kernel, 1, nn.ReLU)


def _transposed(inputs: int, outputs: int, spec: Decoder) -> nn.Module:
    middle = inputs if spec.depthwise else outputs
    grow = Transposed(inputs, middle, spec.kernel, groups=inputs if spec.depthwise else 1)
    last = conv_bn(inputs, outputs, 1, 1, nn.ReLU) if spec.depthwise else ()
    return nn.Sequential(grow, nn.BatchNorm2d(middle), nn.ReLU(inplace=True), *last)


def _sizes(pyramid: list[Tensor], size: tuple[int, int]) -> list[tuple[int, int]]:
    return [*((x.shape[-2], x.shape[-1]) for x in pyramid[3::-1]), size]


STEPS = {
    "nnconv5": (_convolution, _kept, upsample),
    "blconv": (_convolution, _kept, _bilinear),
    "deconv": (_transposed, _kept, cropped),
    "upconv": (_convolution, unpooled, _kept),
    "upproj": (UpProjection, unpooled, _kept),
}
"""By decoder: what makes a block, what happens to its input, what to its output."""
