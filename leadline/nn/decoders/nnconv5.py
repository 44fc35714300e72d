"""NNConv5, FastDepth's decoder (Wofk et al. 2019, arXiv 1903.03273): 5x5 blocks, nearest-neighbour x2 after each."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from leadline.nn.blocks import conv_bn, separable, upsample
from leadline.spec import Decoder


class NNConv5(nn.Module):
    """Pyramid at strides 2, 4, 8, 16, 32 -> features [B, widths[-1], H, W].

    `blocks[i]` is FastDepth's decode{i+1}. The skips join after the up-sampling of blocks 2, 3 and 4 (strides 8, 4, 2).
    Up-sampling goes to the skip's own size, so any image size works; for multiples of 32 it is exactly x2.
    """

    def __init__(self, spec: Decoder, channels: tuple[int, ...]) -> None:
        super().__init__()
        if len(spec.widths) != 5 or len(channels) != 5:
            raise ValueError(
                f"nnconv5 has 5 blocks over 5 scales; given {len(spec.widths)} widths, {len(channels)} scales"
            )
        self.skip = spec.skip
        skips = {2: channels[2], 3: channels[1], 4: channels[0]}  # the block that reads the joined map -> skip width
        inputs = channels[-1]
        self.blocks = nn.ModuleList()
        for i, outputs in enumerate(spec.widths):
            if i in skips and spec.skip == "add" and skips[i] != inputs:
                raise ValueError(f"decode{i} has {inputs} channels, its skip {skips[i]}; skip='add' needs equal widths")
            if i in skips and spec.skip == "cat":
                inputs += skips[i]
            make = separable if spec.depthwise else conv_bn
            self.blocks.append(make(inputs, outputs, spec.kernel, 1, nn.ReLU))
            inputs = outputs
        self.channels = inputs

    def forward(self, pyramid: list[Tensor], size: tuple[int, int]) -> Tensor:
        x = pyramid[-1]
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i == 4:
                return upsample(x, size)
            below = pyramid[3 - i]
            x = upsample(x, (below.shape[-2], below.shape[-1]))
            if i > 0 and self.skip == "add":
                x = x + below
            elif i > 0 and self.skip == "cat":
                x = torch.cat([x, below], dim=1)
        return x
