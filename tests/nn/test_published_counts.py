"""Encoders and decoders of classification and of streets have the published numbers of parameters."""

from __future__ import annotations

import pytest
import torch

from leadline.core.spec import Decoder, Encoder
from leadline.nn.decoders import DECODERS, enet, fast_scnn, segnet, unet
from leadline.nn.encoders import ENCODERS, mobilenet_v1, mobilenet_v2, resnet_cifar, vgg_bn
from leadline.nn.encoders import enet as enet_encoder
from leadline.nn.encoders import fast_scnn as fast_scnn_encoder

CLASSIFIERS = {
    # of ten classes; ours have no bias before a batch norm, where it has no effect
    "resnet56": (resnet_cifar.WIDTHS, 853_018),
    "mobilenet_v1_32": (mobilenet_v1.WIDTHS, 3_217_226),
    "mobilenet_v2_32": (mobilenet_v2.WIDTHS_32, 2_296_922),
    "vgg16_bn": (vgg_bn.WIDTHS["vgg16_bn"], 14_728_266 - sum(vgg_bn.WIDTHS["vgg16_bn"])),
}


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_has_the_published_parameters(name: str) -> None:
    widths, published = CLASSIFIERS[name]
    with torch.device("meta"):
        encoder = ENCODERS[name](Encoder(name, widths))
    assert count(encoder) + 10 * encoder.channels[-1] + 10 == published


STREETS = {
    "segnet": (("vgg16_bn", vgg_bn.WIDTHS["vgg16_bn"]), segnet.WIDTHS, 29.46e6),
    "unet": (("unet", vgg_bn.WIDTHS["unet"]), unet.WIDTHS, 31.03e6),
    "enet": (("enet", enet_encoder.WIDTHS), enet.WIDTHS, 0.37e6),
    "fast_scnn": (("fast_scnn", fast_scnn_encoder.WIDTHS), fast_scnn.WIDTHS, 1.11e6),
    "fcn": (("vgg16_bn", vgg_bn.WIDTHS["vgg16_bn"]), (4096, 4096, 21), 134.5e6),
}


@pytest.mark.parametrize("name", STREETS)
def test_a_net_of_streets_has_the_published_parameters(name: str) -> None:
    """Within 5 %: the papers round, and differ in the classes that the last layer has."""
    (encoder_name, widths), own, published = STREETS[name]
    with torch.device("meta"):
        encoder = ENCODERS[encoder_name](Encoder(encoder_name, widths))
        decoder = DECODERS[name](Decoder(name, own, "none", False, 3), encoder.channels)
    assert abs(count(encoder) + count(decoder) - published) < 0.05 * published
