"""Encoders: image in, feature pyramid out (a list, fine to coarse, with `.channels` and `.strides`)."""

from __future__ import annotations

from leadline.nn.encoders.mobilenet_v1 import MobileNetV1
from leadline.nn.encoders.mobilenet_v3 import MobileNetV3

ENCODERS = {"mobilenet_v1": MobileNetV1, "mobilenet_v3": MobileNetV3}
