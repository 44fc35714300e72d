"""SegNet's decoder (Badrinarayanan et al. 2015, arXiv 1511.00561): unpooling at the encoder's maxima, convolutions."""

from __future__ import annotations

from torch import Tensor, nn

from leadline.core.spec import Decoder
from leadline.nn.blocks import conv_bn, unpooled_like

STAGES = (3, 3, 3, 2, 1)
"""Convolutions of each stage, coarse to fine: the encoder's, mirrored; the last one of all is the head."""


class SegNet(nn.Module):
    """`vgg16_bn`'s six maps -> features [B, widths[-1], H, W].

    A stage unpools to the size of the encoder's map, which has as many channels as the stage before gave.
    """

    def __init__(self, spec: Decoder, channels: tuple[int, ...]) -> None:
        super().__init__()
        if len(spec.widths) != sum(STAGES) or len(channels) != 6:
            raise ValueError(
                f"segnet has {sum(STAGES)} convolutions over 6 scales; given {len(spec.widths)} widths, "
                f"{len(channels)} scales"
            )
        self.stages = nn.ModuleList()
        inputs, place = channels[-1], 0
        for n, before in zip(STAGES, channels[-2::-1], strict=True):
            if inputs != before:
                raise ValueError(f"a map of {inputs} channels cannot be unpooled to one of {before}; widths must agree")
            layers: list[nn.Module] = []
            for width in spec.widths[place : place + n]:
                layers += conv_bn(inputs, width, 3, 1, nn.ReLU)
                inputs = width
            self.stages.append(nn.Sequential(*layers))
            place += n
        self.channels = inputs

    def forward(self, pyramid: list[Tensor], size: tuple[int, int]) -> Tensor:
        x = pyramid[-1]
        for stage, before in zip(self.stages, pyramid[-2::-1], strict=True):
            x = stage(unpooled_like(x, before))
        return x
