"""Encoders and decoders of classification and of streets have the published numbers of parameters."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from leadline.compress.cost.count import macs
from leadline.core.spec import Decoder, Encoder
from leadline.nn import widths, zoo
from leadline.nn.build import outline
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


# The paper of U-Net states none: 31.03 million is what its widths give with two classes. The dilated front end has no
# published number, and is left out.
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


def test_skipnet_on_mobilenet_has_the_encoder_s_parameters_and_those_of_its_scores() -> None:
    """Its paper states none; MobileNetV1 without classifier has 3 206 976 (Howard et al. 2017)."""
    with torch.device("meta"):
        encoder = ENCODERS["mobilenet_v1"](Encoder("mobilenet_v1", widths.MOBILENET_V1))
        decoder = DECODERS["fcn"](Decoder("fcn", (11,), "none", False, 3), encoder.channels)
    assert count(encoder) == 3_206_976
    assert count(decoder) == 11 * (1024 + 512 + 256) + 3 * 11 + 2 * 11 * 11 * 16


GFLOPS = {"segnet": 286, "enet": 3.83, "skipnet_mobilenet": 6.2}
"""Published for 360x640 and 20 classes (Siam et al. 2018, arXiv 1803.02758, table 1), two for each product and sum."""


@pytest.mark.parametrize("name", GFLOPS)
def test_a_net_of_streets_has_the_published_operations(name: str) -> None:
    spec = zoo.spec(name)
    classes = tuple(map(str, range(20)))
    wide = tuple(20 if name == "skipnet_mobilenet" and w == 11 else w for w in spec.decoder.widths)
    spec = replace(spec, head=replace(spec.head, classes=classes), decoder=replace(spec.decoder, widths=wide))
    found = 2 * macs(outline(spec), (360, 640)) / 1e9
    assert abs(found - GFLOPS[name]) < 0.05 * GFLOPS[name]
