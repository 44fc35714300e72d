"""ResNets: 18, 34 and 50 layers (He et al. 2016, arXiv 1512.03385), and 50 with pre-activation (arXiv 1603.05027).

In all of them a 3x3 convolution has the stride of its block, as in torchvision's and MXNet's weights; the first paper
puts it into the 1x1 before.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leadline.core.spec import Encoder
from leadline.nn.blocks import conv_bn, tapped

DEPTHS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3), "resnet50": (3, 4, 6, 3), "resnet50v2": (3, 4, 6, 3)}


class ResNet(nn.Module):
    """Image [B,3,H,W] -> five maps at strides 2, 4, 8, 16, 32, fine to coarse: the stem's and those of the four stages.

    The Spec's widths are the output channels of these five.
    """

    def __init__(self, spec: Encoder) -> None:
        super().__init__()
        widths = _checked(spec)
        kind = Bottleneck if spec.name == "resnet50" else Plain
        self.stem = conv_bn(3, widths[0], 7, 2, nn.ReLU)
        self.stages = _stages(spec, kind, kind)
        self.channels = widths
        self.strides = (2, 4, 8, 16, 32)

    def forward(self, x: Tensor) -> list[Tensor]:
        return _climb(self.stem, self.stages, x)


class Residual(nn.Module):
    """relu(layers(x) + shortcut(x)); the shortcut is a 1x1 with batch norm where the shape changes."""

    def __init__(self, layers: list[nn.Module], inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else conv_bn(inputs, outputs, 1, stride, None)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.layers(x) + self.shortcut(x))


class Plain(Residual):
    """Two 3x3 convolutions."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        first = conv_bn(inputs, outputs, 3, stride, nn.ReLU)
        super().__init__([*first, *conv_bn(outputs, outputs, 3, 1, None)], inputs, outputs, stride)


class Bottleneck(Residual):
    """1x1 to a quarter of the outputs, 3x3, 1x1."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        hidden = outputs // 4
        middle = [*conv_bn(inputs, hidden, 1, 1, nn.ReLU), *conv_bn(hidden, hidden, 3, stride, nn.ReLU)]
        super().__init__([*middle, *conv_bn(hidden, outputs, 1, 1, None)], inputs, outputs, stride)


class ResNetV2(nn.Module):
    """Image [B,3,H,W] -> five maps at strides 2, 4, 8, 16, 32: the stem's, and the sums that the four stages end with.

    Only the last sum goes through batch norm and ReLU, as in front of the classifier. The input has a batch norm
    without weights of its own, as MXNet's net has.
    """

    def __init__(self, spec: Encoder) -> None:
        super().__init__()
        widths = _checked(spec)
        self.stem = nn.Sequential(nn.BatchNorm2d(3, affine=False), *conv_bn(3, widths[0], 7, 2, nn.ReLU))
        self.stages = _stages(spec, partial(PreBottleneck, project=True), PreBottleneck)
        self.norm = nn.BatchNorm2d(widths[4])
        self.channels = widths
        self.strides = (2, 4, 8, 16, 32)

    def forward(self, x: Tensor) -> list[Tensor]:
        *sums, last = _climb(self.stem, self.stages, x)
        return [*sums, torch.relu(self.norm(last))]


class PreBottleneck(nn.Module):
    """Batch norm and ReLU in front of each convolution; the sum stays without. The shortcut reads what conv1 does."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, project: bool = False) -> None:
        super().__init__()
        hidden = outputs // 4
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, hidden, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(hidden)
        self.conv2 = nn.Conv2d(hidden, hidden, 3, stride, 1, bias=False)
        self.norm3 = nn.BatchNorm2d(hidden)
        self.conv3 = nn.Conv2d(hidden, outputs, 1, bias=False)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if project else None

    def forward(self, x: Tensor) -> Tensor:
        y, rest = self.parts(x)
        result: Tensor = self.conv3(torch.relu(self.norm3(y))) + rest
        return result

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What goes into `norm3`, and what is added at the end."""
        ready = torch.relu(self.norm1(x))
        y: Tensor = self.conv2(torch.relu(self.norm2(self.conv1(ready))))
        return y, x if self.shortcut is None else self.shortcut(ready)


def _stages(spec: Encoder, first: Callable[..., nn.Module], more: Callable[..., nn.Module]) -> nn.ModuleList:
    """Four stages of blocks, `first` at the head of each with its stride, `more` behind."""
    widths = spec.widths
    return nn.ModuleList(
        nn.Sequential(
            first(widths[i], widths[i + 1], min(2, i + 1)),
            *(more(widths[i + 1], widths[i + 1]) for _ in range(depth - 1)),
        )
        for i, depth in enumerate(DEPTHS[spec.name])
    )


def _climb(stem: nn.Module, stages: nn.ModuleList, x: Tensor) -> list[Tensor]:
    top: Tensor = stem(x)
    return [top, *tapped(stages, range(len(stages)), F.max_pool2d(top, 3, 2, 1))]


def _checked(spec: Encoder) -> tuple[int, ...]:
    if len(spec.widths) != 5:
        raise ValueError(f"{spec.name} has a stem and 4 stages, {len(spec.widths)} widths were given")
    return spec.widths
