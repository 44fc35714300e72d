"""FCN-8s (Long et al. 2015, arXiv 1411.4038), SkipNet (Siam et al. 2018, arXiv 1803.02758) and the dilated front end
(Yu and Koltun 2016, arXiv 1511.07122): scores of the classes at several scales, enlarged by learned weights and added.
"""

from __future__ import annotations

from torch import Tensor, nn

from leadline.core.spec import Decoder
from leadline.nn.blocks import halved
from leadline.nn.decoders.ladder import cropped


class FCN(nn.Module):
    """Pyramid -> scores [B, widths[-1], H/8, W/8].

    `widths` are those of the convolutions on the coarsest map (VGG's fc6, 7x7, and fc7, 1x1; SkipNet has none) and the
    number of scores. The scores of strides 32, 16 and 8 are added, fine ones after a transposed convolution of stride
    2. An encoder whose maps are taken before pooling (VGG) has them pooled here; one that has strides 8, 16 and 32
    (MobileNet) gives its last three.
    """

    def __init__(self, spec: Decoder, channels: tuple[int, ...]) -> None:
        super().__init__()
        if len(spec.widths) not in (1, 3) or len(channels) < 5:
            raise ValueError(
                f"{spec.name} takes 1 or 3 widths over 5 or 6 scales; given {len(spec.widths)} widths, "
                f"{len(channels)} scales"
            )
        *hidden, scores = spec.widths
        self.pools = len(channels) == 6  # the maps of VGG are taken before pooling
        self.hidden = nn.Sequential(*_classifier(channels[-1], hidden, 1))
        coarse = hidden[-1] if hidden else channels[-1]
        self.scores = nn.ModuleList(nn.Conv2d(c, scores, 1) for c in (coarse, channels[-2], channels[-3]))
        self.grow = nn.ModuleList(nn.ConvTranspose2d(scores, scores, 4, 2, 1, bias=False) for _ in range(2))
        self.channels = scores

    def forward(self, pyramid: list[Tensor], size: tuple[int, int]) -> Tensor:
        finer = [halved(x) if self.pools else x for x in pyramid[-2:-4:-1]]
        x: Tensor = self.scores[0](self.hidden(pyramid[-1]))
        for score, grow, skip in zip(self.scores[1:], self.grow, finer, strict=True):
            x = cropped(grow(x), (skip.shape[-2], skip.shape[-1])) + score(skip)
        return x


class FrontEnd(nn.Module):
    """`vgg16_dilated`'s maps -> features [B, widths[-1], H/8, W/8]: fc6 as 7x7 with dilation 4, fc7 as 1x1."""

    def __init__(self, spec: Decoder, channels: tuple[int, ...]) -> None:
        super().__init__()
        if len(spec.widths) != 2:
            raise ValueError(f"front_end takes 2 widths, {len(spec.widths)} were given")
        self.hidden = nn.Sequential(*_classifier(channels[-1], list(spec.widths), 4))
        self.channels = spec.widths[-1]

    def forward(self, pyramid: list[Tensor], size: tuple[int, int]) -> Tensor:
        x: Tensor = self.hidden(pyramid[-1])
        return x


def _classifier(inputs: int, widths: list[int], dilation: int) -> list[nn.Module]:
    """VGG's linear layers as convolutions that keep the size, each with ReLU and dropout."""
    layers: list[nn.Module] = []
    for width, kernel in zip(widths, (7, 1), strict=False):
        padding = kernel // 2 * dilation
        layers += [nn.Conv2d(inputs, width, kernel, padding=padding, dilation=dilation if kernel > 1 else 1)]
        layers += [nn.ReLU(inplace=True), nn.Dropout2d(0.5)]
        inputs = width
    return layers
