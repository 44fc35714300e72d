"""What is computed beside a convolution sees it as it is: its groups, dilation, padding and stride."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from leadline.compress.quantization.sensitivity import quantized_weight, with_corrected_biases
from leadline.nn.fold import fold


def output(net: nn.Module, image: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return net(torch.tensor(image)).numpy()


@pytest.mark.parametrize(
    "how",
    [
        {"dilation": 6, "padding": 6},
        {"dilation": (2, 3), "padding": (2, 3), "groups": 2},
        {"padding": 1, "padding_mode": "reflect", "stride": 2},
        {"padding": "same", "dilation": 2},
    ],
)
def test_corrected_biases_see_the_convolution_as_it_is(how: dict[str, Any]) -> None:
    torch.manual_seed(0)
    conv = nn.Sequential(nn.Conv2d(4, 6, 3, **how)).eval()
    given = [np.random.default_rng(i).normal(1, 1, (1, 4, 24, 32)).astype(np.float32) for i in range(3)]
    corrected = with_corrected_biases(conv, given)
    with torch.no_grad():
        corrected[0].weight.copy_(quantized_weight(corrected[0].weight))
    shift = np.mean([(output(corrected, i) - output(conv, i)).mean((0, 2, 3)) for i in given], axis=0)
    assert np.abs(shift).max() < 1e-6


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_folding_keeps_transposed_convolutions_of_any_groups(groups: int) -> None:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(4)
    net = nn.Sequential(nn.ConvTranspose2d(4, 4, 3, stride=2, groups=groups), norm).eval()
    with torch.no_grad():
        for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            tensor.copy_(torch.rand(4) + 0.5)
    image = np.random.default_rng(0).normal(size=(2, 4, 6, 5)).astype(np.float32)
    assert np.allclose(output(fold(net), image), output(net, image), atol=1e-5)
