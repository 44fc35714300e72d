"""build(spec) -> Net: encoder + decoder + head."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from leadline.nn.decoders import DECODERS
from leadline.nn.encoders import ENCODERS
from leadline.nn.heads import DepthHead
from leadline.spec import Spec


class Net(nn.Module):
    """RGB float32 [B,3,H,W] in 0..1, any size -> float32 [B,1,H,W] of the spec's kind and unit.

    (image - mean) / std of `spec.preprocess` is the first step, so an exported file needs no other normalisation.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        if spec.encoder.name not in ENCODERS:
            raise ValueError(f"encoder {spec.encoder.name!r} is unknown; known: {', '.join(sorted(ENCODERS))}")
        if spec.decoder.name not in DECODERS:
            raise ValueError(f"decoder {spec.decoder.name!r} is unknown; known: {', '.join(sorted(DECODERS))}")
        self.spec = spec
        self.encoder = ENCODERS[spec.encoder.name](spec.encoder.widths)
        self.decoder = DECODERS[spec.decoder.name](spec.decoder, self.encoder.channels)
        self.head = DepthHead(self.decoder.channels, spec.head)
        self.register_buffer("mean", torch.tensor(spec.preprocess.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(spec.preprocess.std).view(1, 3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        pyramid = self.encoder((image - self.mean) / self.std)
        out: Tensor = self.head(self.decoder(pyramid, (image.shape[-2], image.shape[-1])))
        return out


def build(spec: Spec, *, seed: int | None = None) -> Net:
    """The net that `spec` describes, with fresh weights: Gaussian, std sqrt(2 / (k k outputs)), FastDepth's way.

    With `seed` the weights are the same each time and the global random state is left alone.
    """
    generator = torch.Generator().manual_seed(torch.seed() if seed is None else seed)
    with torch.random.fork_rng(devices=[]):
        net = Net(spec)
    for module in net.modules():
        if module is net.head.conv:
            # the published rule gives 1.41 here, which only a batch norm over the batch could bring to metres
            nn.init.normal_(net.head.conv.weight, 0.0, math.sqrt(1.0 / net.decoder.channels), generator=generator)
        elif isinstance(module, nn.Conv2d):
            fan = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
            if module.groups == module.in_channels:
                fan //= module.groups  # each depthwise output sees one input
            nn.init.normal_(module.weight, 0.0, math.sqrt(2.0 / fan), generator=generator)
    return net
