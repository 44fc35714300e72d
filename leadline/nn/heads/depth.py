"""Heads: the decoder's features in, the one map that means something out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from leadline.core.spec import Head


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
    """monodepth's maps [B,2,h,w], fine to coarse, to depth [B,1,h,w]: focal length times baseline over the finest left
    disparity.

    With `focal_times_baseline` 0 the disparity stays as it is, a fraction of the image's width. The head has no
    weights: the decoder's own convolutions give the disparities, since it feeds them back.
    """

    def __init__(self, inputs: int, spec: Head) -> None:
        super().__init__()
        if inputs != 2 or (spec.kind == "metric") != (spec.focal_times_baseline > 0) or spec.kind == "relative_depth":
            raise ValueError(
                f"the disparity head has {inputs} maps, kind {spec.kind!r} and focal_times_baseline "
                f"{spec.focal_times_baseline}; it needs left and right disparities, and is metric with "
                "focal_times_baseline above 0 or relative_disparity with focal_times_baseline 0"
            )
        self.focal_times_baseline = spec.focal_times_baseline

    def forward(self, maps: list[Tensor]) -> Tensor:
        left = maps[0][:, :1]
        return self.focal_times_baseline / left.clamp(min=1e-6) if self.focal_times_baseline else left

    def start_at(self, mean_depth: float) -> None:
        """Nothing: the decoder starts at the middle of its range, half of its largest disparity, as published."""
