"""Heads: the decoder's features in, the one map that means something out."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from leadline.spec import Head


class NormHead(nn.Module):
    """1x1 convolution to one channel, batch norm, ReLU: FastDepth's decode6. Output float [B,1,H,W], never negative.

    This layer dies easily: with the usual bias of 0 half of the output starts at exactly 0, where ReLU passes no
    gradient. `start_at` puts the bias at the data's mean depth.
    """

    def __init__(self, inputs: int, spec: Head) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, 1, 1, bias=False)
        self.norm = nn.BatchNorm2d(1)
        self.batch_statistics = spec.batch_statistics

    def train(self, mode: bool = True) -> NormHead:
        super().train(mode)
        self.norm.train(mode and self.batch_statistics)
        return self

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.norm(self.conv(x)))

    def start_at(self, mean_depth: float) -> None:
        """Let the untrained head answer about `mean_depth` (in the target's unit) everywhere."""
        with torch.no_grad():
            self.norm.bias.fill_(mean_depth)


class ConvHead(nn.Module):
    """k x k convolution to one channel with a bias, then ReLU or nothing. Output float [B,1,h,w]."""

    def __init__(self, inputs: int, spec: Head) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, 1, spec.kernel, padding=spec.kernel // 2)
        self.relu = spec.relu

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        return torch.relu(out) if self.relu else out

    def start_at(self, mean_depth: float) -> None:
        """Let the untrained head answer about `mean_depth` (in the target's unit) everywhere."""
        assert self.conv.bias is not None
        with torch.no_grad():
            self.conv.bias.fill_(mean_depth)


class DisparityHead(nn.Module):
    """Left disparities [B,1,h,w], fractions of the image's width above 0, to depth: `metres` over them.

    With `metres` 0 they stay as they are: relative disparity. It has no weights: the decoder's own convolutions give
    the disparities (and feed them back), `gates` are those.
    """

    def __init__(self, gates: nn.ModuleList, spec: Head) -> None:
        super().__init__()
        self._gates = [gates]  # in a list: they belong to the decoder
        self.metres = spec.metres

    def forward(self, disparity: Tensor) -> Tensor:
        return self.metres / disparity.clamp(min=1e-6) if self.metres else disparity

    def start_at(self, mean_depth: float) -> None:
        """Let the untrained net answer about `mean_depth` (metres) everywhere; without `metres` nothing happens."""
        if not self.metres:
            return
        share = min(max(self.metres / mean_depth / MAX_DISPARITY, 0.01), 0.99)
        with torch.no_grad():
            for gate in self._gates[0]:
                for conv in gate.modules():
                    if isinstance(conv, nn.Conv2d) and conv.bias is not None:
                        conv.bias.fill_(math.log(share / (1 - share)))


MAX_DISPARITY = 0.3
"""The largest disparity that monodepth's decoder can give, as a fraction of the image's width."""

HEADS = {"norm": NormHead, "conv": ConvHead, "disparity": DisparityHead}
