"""Depthwise convolution whose backward pass is fast on a CPU.

torch's CPU kernels (oneDNN 3.12, torch 2.13) are quick for the forward pass of every depthwise convolution and for the
weight gradient of 3x3 with stride 1, and up to fifteen times slower for the rest (5x5, stride 2, most of all in
bfloat16). So the slow cases are written in terms of the quick ones; the result is the same sum in another order:

1. stride s, or no padding: the gradient is put on every s-th pixel of a zero map as large as the input, where the
   middle of the kernel was; then everything is a problem of stride 1 that keeps the size;
2. input gradient: a forward convolution with the kernel turned by 180 degrees;
3. weight gradient of 5x5: four overlapping 3x3 windows over shifted inputs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_LAST = torch.channels_last


class DepthwiseConv2d(nn.Conv2d):
    """A bias-free k x k convolution of each channel by itself; k = 3 or 5 train fast on a CPU.

    `padding` is k // 2, or 0 where the caller has padded. Parameters, results and exports are those of
    `nn.Conv2d(groups=channels)`.
    """

    fast_backward: bool = True
    """False: torch's own backward pass."""

    def __init__(self, channels: int, kernel: int, stride: int = 1, padding: int | None = None) -> None:
        padding = kernel // 2 if padding is None else padding
        if padding not in (0, kernel // 2):
            raise ValueError(f"padding is {padding}; {kernel // 2} keeps the size, 0 is for what is padded before")
        super().__init__(channels, channels, kernel, stride, padding, groups=channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if not (self.fast_backward and self._slow_backward(x)):
            return super().forward(x)
        # autocast does not look into an autograd function, so its cast is done here
        kind = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
        result: Tensor = _Depthwise.apply(x.to(kind), self.weight.to(kind), self.stride[0], self.padding[0])  # type: ignore[no-untyped-call]
        return result

    def _slow_backward(self, x: Tensor) -> bool:
        training = torch.is_grad_enabled() and (x.requires_grad or self.weight.requires_grad)
        strided_float = self.stride[0] > 1 and not (torch.is_autocast_enabled("cpu") or x.dtype == torch.bfloat16)
        strided_3x3_float = strided_float and self.kernel_size == (3, 3)  # torch's own is quick
        handled = self.kernel_size == (3, 3) or (self.kernel_size == (5, 5) and self.padding == (2, 2))
        known = handled and not strided_3x3_float
        # a folded batch norm leaves a bias; the rest is what the constructor gives, and somebody may have changed since
        plain = not torch.compiler.is_compiling() and self.bias is None and self.dilation == (1, 1)
        plain = plain and self.padding_mode == "zeros" and self.stride[0] == self.stride[1]
        return training and known and plain and x.device.type == "cpu" and self.groups > 1


def set_fast_backward_(net: nn.Module, fast: bool) -> None:
    """Choose the backward pass of the depthwise convolutions of `net`, in place: the fast one, or torch's own."""
    for module in net.modules():
        if isinstance(module, DepthwiseConv2d):
            module.fast_backward = fast


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(x, weight, stride=stride, padding=padding, groups=x.shape[1])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        x, weight = ctx.saved_tensors
        grad, kernel = grads[0], weight.shape[-1]
        same = kernel // 2
        if ctx.stride > 1 or ctx.padding != same:  # rule 1
            start = same - ctx.padding
            spread = torch.zeros_like(x, memory_format=_LAST)
            rows, columns = (slice(start, start + ctx.stride * n, ctx.stride) for n in grad.shape[2:])
            spread[:, :, rows, columns] = grad
            grad = spread
        grad = grad.contiguous(memory_format=_LAST)
        grad_x = grad_weight = None
        if ctx.needs_input_grad[0]:  # rule 2
            grad_x = F.conv2d(grad, weight.flip(-1, -2), padding=same, groups=x.shape[1])
        if ctx.needs_input_grad[1]:
            padded = F.pad(x, (same,) * 4) if kernel == 5 else x
            grad_weight = _grad5(grad, padded, weight) if kernel == 5 else _grad3(grad, x, weight, padding=1)
        return grad_x, grad_weight, None, None


def _grad5(grad: Tensor, padded: Tensor, weight: Tensor) -> Tensor:
    """Rule 3: the 5x5 weight gradient, window by window; `padded` is the input with two zeros on each side."""
    height, width = grad.shape[-2:]
    out = torch.empty_like(weight)
    small = weight[:, :, :3, :3].contiguous()  # only its shape matters
    for top in (0, 2):
        for left in (0, 2):
            window = padded[:, :, top : top + height + 2, left : left + width + 2].contiguous(memory_format=_LAST)
            out[:, :, top : top + 3, left : left + 3] = _grad3(grad, window, small, padding=0)
    return out


def _grad3(grad: Tensor, x: Tensor, weight: Tensor, padding: int) -> Tensor:
    ones, pad, mask = [1, 1], [padding, padding], [False, True, False]
    result: Tensor = torch.ops.aten.convolution_backward(
        grad, x, weight, None, ones, pad, ones, False, [0, 0], x.shape[1], mask
    )[1]
    return result
