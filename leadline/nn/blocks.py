"""The layers nets are made of."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leadline.nn.depthwise import DepthwiseConv2d


def conv_bn(
    inputs: int, outputs: int, kernel: int, stride: int, act: type[nn.ReLU] | type[nn.ReLU6] | None
) -> nn.Sequential:
    """Convolution without bias (padding kernel // 2), batch norm, activation if there is one."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), *([act(inplace=True)] if act else []))


def separable(
    inputs: int, outputs: int, kernel: int, stride: int, act: type[nn.ReLU] | type[nn.ReLU6]
) -> nn.Sequential:
    """Depthwise k x k, batch norm, activation, 1x1, batch norm, activation. MobileNets, arXiv 1704.04861, figure 3."""
    depthwise = DepthwiseConv2d(inputs, kernel, stride)
    return nn.Sequential(depthwise, nn.BatchNorm2d(inputs), act(inplace=True), *conv_bn(inputs, outputs, 1, 1, act))


def tapped(blocks: nn.ModuleList, taps: Collection[int], x: Tensor) -> list[Tensor]:
    """What the blocks numbered in `taps` give when `x` runs through all of them."""
    found = []
    for i, block in enumerate(blocks):
        x = block(x)
        if i in taps:
            found.append(x)
    return found


def upsample(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Nearest neighbour to `size`; for twice the size that is a copy of each pixel to 2x2.

    Pixel i of n_out is pixel floor(i n / n_out) of n, torch's rule. Where the sizes have no whole ratio, runtimes have
    rules of their own (TVM, LiteRT) or cannot pick pixels by number (ncnn); matrices of ones and zeros do the same in
    all of them.
    """
    height, width = x.shape[-2], x.shape[-1]
    if size[0] % height == 0 and size[1] % width == 0:
        return F.interpolate(x, size=size, mode="nearest")
    rows = _picks(height, size[0]).to(x)
    return rows @ (x @ _picks(width, size[1]).to(x).T)


def _picks(n: int, n_out: int) -> Tensor:
    n, n_out = int(n), int(n_out)  # while torch.jit traces, sizes are tensors
    chosen = np.arange(n_out) * n // n_out
    return torch.tensor(chosen[:, None] == np.arange(n), dtype=torch.float32)
