"""Fast-SCNN's feature fusion and classifier (Poudel et al. 2019, arXiv 1902.04502)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leadline.core.spec import Decoder
from leadline.nn.blocks import separable


class FastSCNNDecoder(nn.Module):
    """Maps at strides 8 and 32 -> features [B, widths[-1], H/8, W/8].

    The coarse one is enlarged bilinearly, passes a depthwise 3x3 with dilation 4 and a 1x1; the fine one passes a 1x1;
    their sum two separable convolutions. The head has the dropout of the published net in front of its 1x1.
    """

    def __init__(self, spec: Decoder, channels: tuple[int, ...]) -> None:
        super().__init__()
        if len(spec.widths) != 3 or len(channels) != 2:
            raise ValueError(
                f"fast_scnn takes 3 widths over 2 scales; given {len(spec.widths)} widths, {len(channels)} scales"
            )
        joined, *rest = spec.widths
        fine, coarse = channels
        self.spread = nn.Sequential(
            nn.Conv2d(coarse, coarse, 3, padding=4, dilation=4, groups=coarse, bias=False),
            nn.BatchNorm2d(coarse),
            nn.ReLU(inplace=True),
        )
        self.coarse = nn.Sequential(nn.Conv2d(coarse, joined, 1), nn.BatchNorm2d(joined))
        self.fine = nn.Sequential(nn.Conv2d(fine, joined, 1), nn.BatchNorm2d(joined))
        self.classify = nn.Sequential(
            separable(joined, rest[0], 3, 1, nn.ReLU), separable(rest[0], rest[1], 3, 1, nn.ReLU), nn.Dropout(0.1)
        )
        self.channels = rest[1]

    def forward(self, pyramid: list[Tensor], size: tuple[int, int]) -> Tensor:
        fine, coarse = pyramid
        grown = F.interpolate(coarse, size=fine.shape[-2:], mode="bilinear", align_corners=True)
        x = torch.relu(self.coarse(self.spread(grown)) + self.fine(fine))
        result: Tensor = self.classify(x)
        return result
