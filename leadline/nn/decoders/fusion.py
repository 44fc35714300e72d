"""LiteDepth's decoder (Li et al. 2022, arXiv 2209.00961): three fusion modules, then one 3x3; no batch norm."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leadline.core.spec import Decoder


class Fusion(nn.Module):
    """Pyramid -> features [B, widths[-1], h, w] at the stride of the finest map that is used: 4, or 2 with five.

    `widths` are those of the 1x1 convolutions, from coarse to fine, and of the 3x3: with four numbers the maps at
    strides 32, 16, 8 and 4 are used and the last is only concatenated; with five the stem's at stride 2 too.
    A fusion module enlarges bilinearly (corners aligned) to the next map, concatenates it and mixes with a 1x1.
    """

    def __init__(self, spec: Decoder, channels: tuple[int, ...]) -> None:
        super().__init__()
        if len(spec.widths) not in (4, 5) or len(channels) != 5:
            raise ValueError(
                f"fusion takes 4 or 5 widths over 5 scales; given {len(spec.widths)} widths, {len(channels)} scales"
            )
        self.n_maps = len(spec.widths)
        coarse_to_fine = channels[::-1][: self.n_maps]
        self.mixers = nn.ModuleList()
        inputs = 0
        for skip, outputs in zip(coarse_to_fine[:-1], spec.widths, strict=False):
            self.mixers.append(nn.Sequential(nn.Conv2d(inputs + skip, outputs, 1), nn.ReLU(inplace=True)))
            inputs = outputs
        last = inputs + coarse_to_fine[-1]
        self.logits = nn.Sequential(nn.Conv2d(last, spec.widths[-1], 3, padding=1), nn.ReLU(inplace=True))
        self.channels = spec.widths[-1]

    def forward(self, pyramid: list[Tensor], size: tuple[int, int]) -> Tensor:
        maps = pyramid[::-1][: self.n_maps]
        x: Tensor = self.mixers[0](maps[0])
        for i, skip in enumerate(maps[1:], 1):
            x = F.interpolate(x, size=(skip.shape[-2], skip.shape[-1]), mode="bilinear", align_corners=True)
            x = torch.cat([x, skip], dim=1)
            if i < len(self.mixers):
                x = self.mixers[i](x)
        out: Tensor = self.logits(x)
        return out
