"""monodepth's decoder (Godard et al. 2017, arXiv 1609.03677): disparities at four scales, each fed to the next."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leadline.core.spec import Decoder
from leadline.nn.blocks import upsample

MAX_DISPARITY = 0.3
"""The largest disparity it can give, as a fraction of the image's width."""


class Monodepth(nn.Module):
    """Pyramid at strides 2 to 128 -> four maps [B,2,h,w], fine to coarse: full size, 1/2, 1/4, 1/8.

    Channel 0 is the disparity of the image itself as a left view, channel 1 that of the right view nobody has shown,
    both fractions of the width, 0 to MAX_DISPARITY. `spec.widths` are those of upconv7 to upconv1, then of iconv7 to
    iconv1. Up-sampling goes to the skip's own size, so any image size works.
    """

    def __init__(self, spec: Decoder, channels: tuple[int, ...]) -> None:
        super().__init__()
        if len(spec.widths) != 14 or len(channels) != 7:
            raise ValueError(
                f"monodepth has 7 upconvs and 7 iconvs over 7 scales; given {len(spec.widths)} widths, "
                f"{len(channels)} scales"
            )
        up, joined, k = spec.widths[:7], spec.widths[7:], spec.kernel
        skips = (*channels[-2::-1], 0)
        fed = (0, 0, 0, 0, 2, 2, 2)  # channels of the coarser disparities
        before = (channels[-1], *joined)
        self.upconvs = nn.ModuleList(nn.Conv2d(before[i], up[i], k, padding=k // 2) for i in range(7))
        self.iconvs = nn.ModuleList(
            nn.Conv2d(up[i] + skips[i] + fed[i], joined[i], k, padding=k // 2) for i in range(7)
        )
        self.disparities = nn.ModuleList(nn.Conv2d(width, 2, k, padding=k // 2) for width in joined[3:])
        self.channels = 2

    def forward(self, pyramid: list[Tensor], size: tuple[int, int]) -> list[Tensor]:
        x, maps = pyramid[-1], list[Tensor]()
        for i, (upconv, iconv) in enumerate(zip(self.upconvs, self.iconvs, strict=True)):
            skips = [pyramid[5 - i]] if i < 6 else []
            to = (skips[0].shape[-2], skips[0].shape[-1]) if skips else size
            parts = [F.elu(upconv(upsample(x, to))), *skips, *(upsample(m, to).to(x.dtype) for m in maps[:1])]
            x = F.elu(iconv(torch.cat(parts, dim=1)))
            if i >= 3:
                convolution = cast(nn.Conv2d, self.disparities[i - 3])
                maps.insert(0, MAX_DISPARITY * torch.sigmoid(_exact(convolution, x)))
        return maps


def _exact(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    """In float32 under autocast too: bfloat16 rounds what enters the sigmoid, for far things by 3 % of the depth."""
    if x.dtype == convolution.weight.dtype:
        out: Tensor = convolution(x)
        return out
    with torch.autocast(x.device.type, enabled=False):
        out = convolution(x.to(convolution.weight.dtype))
    return out
