"""Nets of a few layers, each with one thing that is hard for pruning: [1,3,h,w] -> a map of one channel.

`a` is the first convolution, `out` the last; 16 channels between them unless a net says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Small(nn.Module):
    """Layers and parameters by name, and how they are used."""

    def __init__(self, how: Callable[[Any, Tensor], Any], **parts: nn.Module | nn.Parameter) -> None:
        super().__init__()
        self.how = how
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor) -> Any:
        return self.how(self, x)


def conv(inputs: int, outputs: int, kernel: int = 3, **more: Any) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, **more)


def net(how: Callable[[Any, Tensor], Any], width: int = 16, **parts: nn.Module | nn.Parameter) -> nn.Module:
    return Small(how, **{"a": conv(3, 16), "out": conv(width, 1)} | parts)


def vector(*shape: int) -> nn.Parameter:
    """A parameter of that shape."""
    return nn.Parameter(torch.rand(shape) + 0.5)


def shuffled(x: Tensor, groups: int) -> Tensor:
    n, c, h, w = x.shape
    return x.view(n, groups, c // groups, h, w).transpose(1, 2).reshape(n, c, h, w)


def baked(x: Tensor) -> Tensor:
    return x.view(x.shape[0], 4, 4, *x.shape[2:]).flatten(1, 2)


def padded(x: Tensor, channels: int) -> Tensor:
    """ResNet's shortcut without weights ("option A"): every other pixel, and channels of zeros."""
    return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, channels // 2, channels - channels // 2))


def standardised(weight: Tensor) -> Tensor:
    mean = weight.mean((1, 2, 3), keepdim=True)
    return (weight - mean) / (weight.std((1, 2, 3), keepdim=True) + 1e-5)


class LastNorm(nn.LayerNorm):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Choosing(nn.Module):
    """What it computes depends on a value, which no graph can follow."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.out = conv(3, 16), conv(16, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.a(x)
        return self.out(y) if float(y.mean()) > 0 else self.out(-y)


class Forgetful(nn.Module):
    """A buffer as wide as the layer, which no checkpoint holds."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.out = conv(3, 16), conv(16, 1)
        self.register_buffer("scale", torch.rand(1, 16, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.a(x) * self.scale)


def attention(m: Any, x: Tensor) -> Tensor:
    y = m.a(x)
    q, k, v = m.qkv(y.flatten(2).transpose(1, 2)).chunk(3, -1)
    z = F.scaled_dot_product_attention(q, k, v)
    return m.out(z.transpose(1, 2).view(1, 16, *y.shape[2:]))


def spatial_attention(m: Any, x: Tensor) -> Tensor:
    y = m.a(x)
    return m.out(y * torch.sigmoid(m.gate(torch.cat([y.mean(1, keepdim=True), y.amax(1, keepdim=True)], 1))))


def zeros_then_written(m: Any, x: Tensor) -> Tensor:
    y = m.a(x)
    z = y.new_zeros(1, 32, *y.shape[2:])
    z[:, :16] = y
    return m.out(z)


def in_half_precision(m: Any, x: Tensor) -> Tensor:
    y = m.a(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        gate = torch.sigmoid(y)
    return m.out(m.b(y * gate))


def twins() -> nn.Module:
    """Two names for one layer."""
    layer = conv(16, 16)
    return net(lambda m, x: m.out(m.c(m.b(m.a(x)))), b=layer, c=layer)
