"""The fast backward pass is the slow one in another order."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from leadline.nn.depthwise import DepthwiseConv2d, _Depthwise


def gradients(
    forward: object, x: torch.Tensor, weight: torch.Tensor, grad: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    x, weight = x.clone().requires_grad_(), weight.clone().requires_grad_()
    forward(x, weight).backward(grad)  # type: ignore[operator]
    assert x.grad is not None and weight.grad is not None
    return x.grad, weight.grad


@pytest.mark.parametrize(("kernel", "padding"), [(3, 1), (5, 2), (3, 0)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(12, 12), (7, 9), (3, 4), (13, 8), (1, 1)])
def test_gradients_are_those_of_the_plain_convolution(
    kernel: int, padding: int, stride: int, size: tuple[int, int]
) -> None:
    if padding == 0:
        size = (max(size[0], 3), max(size[1], 3))
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, 6, *size, generator=generator, dtype=torch.float64)
    weight = torch.randn(6, 1, kernel, kernel, generator=generator, dtype=torch.float64)

    def plain(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return F.conv2d(x, weight, stride=stride, padding=padding, groups=6)

    grad = torch.randn(plain(x, weight).shape, generator=generator, dtype=torch.float64)
    slow = gradients(plain, x, weight, grad)
    fast = gradients(lambda x, w: _Depthwise.apply(x, w, stride, padding), x, weight, grad)
    for a, b in zip(slow, fast, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_the_layer_takes_the_fast_way_in_training_and_the_plain_one_in_inference() -> None:
    layer, x = DepthwiseConv2d(4, 5), torch.rand(1, 4, 8, 8)
    assert "Depthwise" in type(layer(x).grad_fn).__name__
    with torch.no_grad():
        assert torch.equal(layer(x), F.conv2d(x, layer.weight, padding=2, groups=4))


def test_under_autocast_the_layer_computes_in_bfloat16() -> None:
    layer, x = DepthwiseConv2d(4, 5, stride=2), torch.rand(1, 4, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(x)
    assert out.dtype == torch.bfloat16
    out.sum().backward()
    assert layer.weight.grad is not None and layer.weight.grad.dtype == torch.float32
