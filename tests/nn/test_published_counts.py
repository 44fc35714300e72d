"""Encoders and decoders of classification and of streets have the published numbers of parameters."""

from __future__ import annotations

import pytest
import torch

from leadline.core.spec import Decoder, Encoder
from leadline.nn import widths
from leadline.nn.decoders import DECODERS
from leadline.nn.encoders import ENCODERS

CLASSIFIERS = {
    # of ten classes; ours have no bias before a batch norm, where it has no effect
    "resnet56": (widths.RESNET_CIFAR, 853_018),
    "mobilenet_v1_32": (widths.MOBILENET_V1, 3_217_226),
    "mobilenet_v2_32": (widths.MOBILENET_V2_32, 2_296_922),
    "vgg16_bn": (widths.VGG_BN["vgg16_bn"], 14_728_266 - sum(widths.VGG_BN["vgg16_bn"])),
}


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_has_the_published_parameters(name: str) -> None:
    own, published = CLASSIFIERS[name]
    with torch.device("meta"):
        encoder = ENCODERS[name](Encoder(name, own))
    assert count(encoder) + 10 * encoder.channels[-1] + 10 == published


STREETS = {
    "segnet": (("vgg16_bn", widths.VGG_BN["vgg16_bn"]), widths.SEGNET_DECODER, 29.46e6),
    "unet": (("unet", widths.VGG_BN["unet"]), widths.UNET_DECODER, 31.03e6),
    "enet": (("enet", widths.ENET), widths.ENET_DECODER, 0.37e6),
    "fast_scnn": (("fast_scnn", widths.FAST_SCNN), widths.FAST_SCNN_DECODER, 1.11e6),
    "fcn": (("vgg16_bn", widths.VGG_BN["vgg16_bn"]), (4096, 4096, 21), 134.5e6),
}


@pytest.mark.parametrize("name", STREETS)
def test_a_net_of_streets_has_the_published_parameters(name: str) -> None:
    """Within 5 %: the papers round, and differ in the classes that the last layer has."""
    (encoder_name, wide), own, published = STREETS[name]
    with torch.device("meta"):
        encoder = ENCODERS[encoder_name](Encoder(encoder_name, wide))
        decoder = DECODERS[name](Decoder(name, own, "none", False, 3), encoder.channels)
    assert abs(count(encoder) + count(decoder) - published) < 0.05 * published
