"""The layers nets are made of."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leadline.nn.depthwise import DepthwiseConv2d


def conv_bn(
    inputs: int,
    outputs: int,
    kernel: int,
    stride: int,
    act: type[nn.ReLU] | type[nn.ReLU6] | None,
    dilation: int = 1,
) -> nn.Sequential:
    """Convolution without bias, which keeps the size at stride 1, batch norm, activation if there is one."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2 * dilation, dilation, bias=False)
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


def even(x: Tensor) -> Tensor:
    """x with its last row and column twice where their number is odd, so that 2x2 windows cover it."""
    odd = (0, x.shape[-1] % 2, 0, x.shape[-2] % 2)
    return F.pad(x, odd, mode="replicate") if any(odd) else x


def halved(x: Tensor) -> Tensor:
    """Max-pooling 2x2 to half the size, rounded up."""
    return F.max_pool2d(even(x), 2)


def unpooled_like(x: Tensor, before: Tensor) -> Tensor:
    """Max-unpooling: x [B,C,h,w] at the places of [B,C,H,W] where the map `before` had the maxima of its 2x2 windows.

    Elsewhere 0, as in SegNet (arXiv 1511.00561). Written with comparisons, since most runtimes have no unpooling by
    index. Where a window has its maximum twice (zeros of a ReLU), both places get the value; SegNet's get it once.
    """
    rows, columns = before.shape[-2:]
    up = [F.interpolate(m, scale_factor=2.0, mode="nearest")[:, :, :rows, :columns] for m in (x, halved(before))]
    return torch.where(before == up[1], up[0], torch.zeros_like(up[0]))


def means(x: Tensor, n: int) -> Tensor:
    """[B,C,H,W] -> [B,C,n,n], part i of n being rows floor(i H / n) to ceil((i + 1) H / n): adaptive pooling.

    As matrix products, since exporters know adaptive pooling only where n divides the size.
    """
    return _parts(x.shape[-2], n).to(x) @ (x @ _parts(x.shape[-1], n).to(x).T)


def _parts(size: int, n: int) -> Tensor:
    size = int(size)  # while torch.jit traces, sizes are tensors
    rows = np.zeros((n, size), np.float32)
    for i in range(n):
        start, stop = i * size // n, -(-(i + 1) * size // n)
        rows[i, start:stop] = 1 / (stop - start)
    return torch.from_numpy(rows)


def starts_bilinear(module: nn.Module) -> bool:
    """Whether a layer enlarges each of its maps to s times its size, as FCN does with scores: kernel 2s, no bias."""
    if not isinstance(module, nn.ConvTranspose2d) or module.bias is not None or module.groups != 1:
        return False
    fits = module.kernel_size == tuple(2 * s for s in module.stride)
    fits &= module.padding == tuple(s // 2 for s in module.stride)
    return fits and module.in_channels == module.out_channels


def bilinear_(weight: Tensor) -> None:
    """Let the weights [C,C,2s,2s] of a transposed convolution of stride s enlarge each map bilinearly, in place.

    Long et al. 2015, section 3.3. Maps do not mix.
    """
    height, width = (1 - (torch.arange(2 * s) - s + 0.5).abs() / s for s in (n // 2 for n in weight.shape[-2:]))
    with torch.no_grad():
        weight.zero_()
        weight[range(len(weight)), range(len(weight))] = torch.outer(height, width).to(weight)
