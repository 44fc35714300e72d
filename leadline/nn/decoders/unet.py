"""U-Net's decoder (Ronneberger et al. 2015, arXiv 1505.04597), with padding, so that maps keep their sizes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from leadline.core.spec import Decoder
from leadline.nn.blocks import conv_bn
from leadline.nn.decoders.ladder import cropped


class UNet(nn.Module):
    """Pyramid, each map twice as fine as the next -> features [B, widths[-1], H, W] at the finest map's size.

    A step: transposed convolution 2x2 of stride 2 to the step's width, the encoder's map beside it, two 3x3.
    """

    def __init__(self, spec: Decoder, channels: tuple[int, ...]) -> None:
        super().__init__()
        if len(spec.widths) != len(channels) - 1:
            raise ValueError(
                f"unet over {len(channels)} scales needs {len(channels) - 1} widths, not {len(spec.widths)}"
            )
        self.grow, self.join = nn.ModuleList(), nn.ModuleList()
        inputs = channels[-1]
        for width, skip in zip(spec.widths, channels[-2::-1], strict=True):
            self.grow.append(nn.ConvTranspose2d(inputs, width, 2, 2))
            first = conv_bn(width + skip, width, 3, 1, nn.ReLU)
            self.join.append(nn.Sequential(*first, *conv_bn(width, width, 3, 1, nn.ReLU)))
            inputs = width
        self.channels = inputs

    def forward(self, pyramid: list[Tensor], size: tuple[int, int]) -> Tensor:
        x = pyramid[-1]
        for grow, join, skip in zip(self.grow, self.join, pyramid[-2::-1], strict=True):
            x = cropped(grow(x), (skip.shape[-2], skip.shape[-1]))
            x = join(torch.cat([skip, x], dim=1))
        return x
