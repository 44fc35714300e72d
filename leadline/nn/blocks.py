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


def unpooled_like(x: Tensor, before: Tensor) -> Tensor:
    """Max-unpooling: x [B,C,h,w] at the places of [B,C,H,W] where the map `before` had the maxima of its 2x2 windows.

    Elsewhere 0, as in SegNet (arXiv 1511.00561). Written with comparisons, since most runtimes have no unpooling by
    index. Where a window has its maximum twice (zeros of a ReLU), both places get the value; SegNet's get it once.
    A last row or column that no window covers is 0.
    """
    rest = (0, before.shape[-1] - 2 * x.shape[-1], 0, before.shape[-2] - 2 * x.shape[-2])
    both = [F.pad(F.interpolate(m, scale_factor=2.0, mode="nearest"), rest) for m in (x, F.max_pool2d(before, 2))]
    return torch.where(before == both[1], both[0], torch.zeros_like(both[0]))
