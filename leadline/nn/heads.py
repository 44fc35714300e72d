"""Heads: features in, the one map that means something out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from leadline.spec import Head


class DepthHead(nn.Module):
    """1x1 convolution to one channel, batch norm, ReLU: FastDepth's decode6. Output float [B,1,H,W], never negative.

    This layer dies easily: with the usual bias of 0 half of the output starts at exactly 0, where ReLU passes no
    gradient. `start_at` puts the bias at the data's mean depth.
    """

    def __init__(self, inputs: int, spec: Head) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, 1, 1, bias=False)
        self.norm = nn.BatchNorm2d(1)
        self.batch_statistics = spec.batch_statistics

    def train(self, mode: bool = True) -> DepthHead:
        super().train(mode)
        self.norm.train(mode and self.batch_statistics)
        return self

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.norm(self.conv(x)))

    def start_at(self, mean_depth: float) -> None:
        """Let the untrained head answer about `mean_depth` (in the target's unit) everywhere."""
        with torch.no_grad():
            self.norm.bias.fill_(mean_depth)
