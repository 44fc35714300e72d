"""The published widths of the encoders: what the zoo must know of them without loading torch."""

from __future__ import annotations

MOBILENET_V1 = (32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
MOBILENET_V2 = (32, 16, 24, 24, 32, 32, 32, 64, 64, 64, 64, 96, 96, 96, 160, 160, 160)
MOBILENET_V3 = (16, 16, 24, 24, 40, 40, 40, 48, 48, 96, 96, 96)
VGG = (32, 32, 64, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512)
RESNET = {
    **dict.fromkeys(("resnet18", "resnet34"), (64, 64, 128, 256, 512)),
    **dict.fromkeys(("resnet50", "resnet50v2"), (64, 256, 512, 1024, 2048)),
}
"""A ResNet's stem and four stages, by its name."""
