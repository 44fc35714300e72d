"""Layers that enlarge scores start as bilinear enlargement, as FCN's do."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from leadline.nn import zoo
from leadline.nn.blocks import bilinear_, starts_bilinear
from leadline.nn.build import build, reinitialised


@pytest.mark.parametrize("stride", [2, 8])
def test_a_fresh_layer_of_scores_enlarges_them_bilinearly(stride: int) -> None:
    conv = nn.ConvTranspose2d(3, 3, 2 * stride, stride, stride // 2, bias=False)
    bilinear_(conv.weight)
    x = torch.rand(1, 3, 5, 6, generator=torch.Generator().manual_seed(0))
    expected = F.interpolate(x, scale_factor=stride, mode="bilinear", align_corners=False)
    inner = (..., slice(stride, -stride), slice(stride, -stride))  # outside the maps the layer sees zeros
    assert torch.allclose(conv(x)[inner], expected[inner], atol=1e-6)


def test_only_the_scores_of_fcn_and_skipnet_start_so() -> None:
    found = {}
    for name in ("skipnet_mobilenet", "enet", "fast_scnn"):
        net = build(zoo.spec(name), seed=0)
        found[name] = [key for key, module in net.named_modules() if starts_bilinear(module)]
    assert found == {
        "skipnet_mobilenet": ["decoder.grow.0", "decoder.grow.1", "head.conv"],
        "enet": [],
        "fast_scnn": [],
    }
    depth = [
        key for name in zoo.names() for key, m in build(zoo.spec(name), seed=0).named_modules() if starts_bilinear(m)
    ]
    assert depth == []


def test_scores_start_alike_whatever_the_seed_and_after_a_new_start() -> None:
    net = build(zoo.skipnet_mobilenet(), seed=1)
    again = reinitialised(net, seed=2)
    assert torch.equal(net.head.conv.weight, again.head.conv.weight)
    assert torch.equal(net.head.conv.weight, build(zoo.skipnet_mobilenet(), seed=3).head.conv.weight)
    assert not torch.equal(net.decoder.scores[0].weight, again.decoder.scores[0].weight)
