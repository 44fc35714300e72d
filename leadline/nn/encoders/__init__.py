"""Encoders: image in, feature pyramid out (a list, fine to coarse, with `.channels` and `.strides`)."""

from __future__ import annotations

from leadline.nn.encoders.mobilenet_v1 import MobileNetV1
from leadline.nn.encoders.mobilenet_v2 import MobileNetV2
from leadline.nn.encoders.mobilenet_v3 import MobileNetV3
from leadline.nn.encoders.resnet import ResNet, ResNetV2
from leadline.nn.encoders.timm import Timm
from leadline.nn.encoders.vgg import VGG

ENCODERS = {
    "mobilenet_v1": MobileNetV1,
    "mobilenet_v2": MobileNetV2,
    "mobilenet_v3": MobileNetV3,
    "resnet18": ResNet,
    "resnet34": ResNet,
    "resnet50": ResNet,
    "resnet50v2": ResNetV2,
    "timm": Timm,
    "vgg": VGG,
}
