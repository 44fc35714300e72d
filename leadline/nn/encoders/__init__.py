"""Encoders: image in, feature pyramid out (a list, fine to coarse, with `.channels` and `.strides`)."""

from __future__ import annotations

from leadline.nn.encoders.enet import ENet
from leadline.nn.encoders.fast_scnn import FastSCNN
from leadline.nn.encoders.mobilenet_v1 import MobileNetV1
from leadline.nn.encoders.mobilenet_v2 import MobileNetV2, MobileNetV2For32
from leadline.nn.encoders.mobilenet_v3 import MobileNetV3
from leadline.nn.encoders.resnet import ResNet, ResNetV2
from leadline.nn.encoders.resnet_cifar import DEPTHS as CIFAR_DEPTHS
from leadline.nn.encoders.resnet_cifar import ResNetCifar
from leadline.nn.encoders.timm import Timm
from leadline.nn.encoders.vgg import VGG
from leadline.nn.encoders.vgg_bn import VGGBN
from leadline.nn.widths import VGG_STAGES

ENCODERS = {
    "enet": ENet,
    "fast_scnn": FastSCNN,
    "mobilenet_v1": MobileNetV1,
    "mobilenet_v1_32": MobileNetV1,
    "mobilenet_v2": MobileNetV2,
    "mobilenet_v2_32": MobileNetV2For32,
    "mobilenet_v3": MobileNetV3,
    "resnet18": ResNet,
    "resnet34": ResNet,
    "resnet50": ResNet,
    "resnet50v2": ResNetV2,
    "timm": Timm,
    "vgg": VGG,
    **dict.fromkeys(CIFAR_DEPTHS, ResNetCifar),
    **dict.fromkeys(VGG_STAGES, VGGBN),
}
