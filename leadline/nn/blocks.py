"""The layers nets are made of."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from leadline.nn.depthwise import DepthwiseConv2d


def conv_bn(inputs: int, outputs: int, kernel: int, stride: int, act: type[nn.ReLU] | type[nn.ReLU6]) -> nn.Sequential:
    """Convolution without bias (padding kernel // 2), batch norm, activation."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), act(inplace=True))


def separable(
    inputs: int, outputs: int, kernel: int, stride: int, act: type[nn.ReLU] | type[nn.ReLU6]
) -> nn.Sequential:
    """Depthwise k x k, batch norm, activation, 1x1, batch norm, activation. MobileNets, arXiv 1704.04861, figure 3."""
    depthwise = DepthwiseConv2d(inputs, kernel, stride)
    return nn.Sequential(depthwise, nn.BatchNorm2d(inputs), act(inplace=True), *conv_bn(inputs, outputs, 1, 1, act))


def upsample(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Nearest neighbour to `size`; for twice the size that is a copy of each pixel to 2x2."""
    return F.interpolate(x, size=size, mode="nearest")
