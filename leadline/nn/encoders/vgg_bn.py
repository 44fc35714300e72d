"""VGG with batch norm (Simonyan and Zisserman 2014, arXiv 1409.1556), 16 and 19 layers, without its large linear ones.

The classifier of CIFAR-10, SegNet, FCN-8s and the dilated front end start with it; U-Net's encoder is the same with two
convolutions a stage. A convolution before a batch norm has no bias, so the counts lie 4224 below those that keep it.
"""

from __future__ import annotations

from torch import Tensor, nn

from leadline.core.spec import Encoder
from leadline.nn.blocks import conv_bn, halved
from leadline.nn.widths import VGG_STAGES as STAGES


class VGGBN(nn.Module):
    """Image [B,3,H,W] -> six maps at strides 1, 2, 4, 8, 16, 32: each stage's before its max-pooling, and the last
    pooled. `unet` has no last pooling, hence five maps.

    `vgg16_dilated` does not pool after stages 4 and 5, and stage 5 has dilation 2 (Yu and Koltun 2016, arXiv
    1511.07122): five maps at strides 1, 2, 4, 8, 8.
    """

    def __init__(self, spec: Encoder) -> None:
        super().__init__()
        stages, widths = STAGES[spec.name], spec.widths
        if len(widths) != sum(stages):
            raise ValueError(f"{spec.name} has {sum(stages)} convolutions, {len(widths)} widths were given")
        dilated = spec.name == "vgg16_dilated"
        self.stages = nn.ModuleList()
        inputs, place = 3, 0
        for i, n in enumerate(stages):
            outputs = widths[place : place + n]
            dilation = 2 if dilated and i == 4 else 1
            layers = [conv_bn(a, b, 3, 1, nn.ReLU, dilation) for a, b in zip((inputs, *outputs), outputs, strict=False)]
            self.stages.append(nn.Sequential(*layers))
            inputs, place = outputs[-1], place + n
        ends = [sum(stages[: i + 1]) - 1 for i in range(len(stages))]
        self.pools = (1, 2, 3) if dilated else (1, 2, 3, 4) if spec.name == "unet" else (1, 2, 3, 4, 5)
        self.channels = tuple(widths[end] for end in ends) + ((widths[-1],) if 5 in self.pools else ())
        self.strides = (1, 2, 4, 8, 8) if dilated else (1, 2, 4, 8, 16, 32)[: len(self.channels)]

    def forward(self, x: Tensor) -> list[Tensor]:
        pyramid = []
        for i, stage in enumerate(self.stages):
            x = halved(x) if i in self.pools else x
            x = stage(x)
            pyramid.append(x)
        return [*pyramid, halved(x)] if 5 in self.pools else pyramid
