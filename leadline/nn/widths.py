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

# Classifiers of 32x32.
RESNET_CIFAR = (16, 16, 32, 64)
MOBILENET_V2_32 = (*MOBILENET_V2, 320, 1280)

VGG_STAGES = {
    "vgg16_bn": (2, 2, 3, 3, 3),
    "vgg16_dilated": (2, 2, 3, 3, 3),
    "vgg19_bn": (2, 2, 4, 4, 4),
    "unet": (2, 2, 2, 2, 2),
}
"""By encoder: how many 3x3 convolutions each of the five stages has."""


def _repeated(widths: tuple[int, ...], stages: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(width for width, n in zip(widths, stages, strict=True) for _ in range(n))


VGG_BN = {
    name: _repeated((64, 128, 256, 512, 1024 if name == "unet" else 512), stages) for name, stages in VGG_STAGES.items()
}

# Segmentation of streets: encoders, then decoders.
ENET = (16, 64, 128)
FAST_SCNN = (32, 48, 64, 64, 96, 128, 128)
ENET_DECODER = (64, 16)
FAST_SCNN_DECODER = (128, 128, 128)
SEGNET_DECODER = (512, 512, 512, 512, 512, 256, 256, 256, 128, 128, 64, 64)
UNET_DECODER = (512, 256, 128, 64)
