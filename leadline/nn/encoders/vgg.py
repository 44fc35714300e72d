"""The VGG-like encoder of monodepth (Godard et al. 2017, arXiv 1609.03677): seven pairs of convolutions with ELU."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from leadline.core.spec import Encoder

KERNELS = (7, 5, 3, 3, 3, 3, 3)


class VGG(nn.Module):
    """Image [B,3,H,W] -> seven maps at strides 2 to 128, fine to coarse.

    `convs[2 i]` is the authors' conv{i+1}a (stride 1), `convs[2 i + 1]` its b (stride 2); no batch norm.
    """

    def __init__(self, spec: Encoder) -> None:
        super().__init__()
        if len(spec.widths) != 2 * len(KERNELS):
            raise ValueError(f"vgg has {2 * len(KERNELS)} convolutions, {len(spec.widths)} widths were given")
        inputs = (3, *spec.widths)
        self.convs = nn.ModuleList(
            nn.Conv2d(inputs[i], inputs[i + 1], KERNELS[i // 2], 1 + i % 2, KERNELS[i // 2] // 2)
            for i in range(len(spec.widths))
        )
        self.channels = spec.widths[1::2]
        self.strides = tuple(2 ** (i + 1) for i in range(len(KERNELS)))

    def forward(self, x: Tensor) -> list[Tensor]:
        pyramid = []
        for i, conv in enumerate(self.convs):
            x = F.elu(conv(x))
            if i % 2:
                pyramid.append(x)
        return pyramid
