"""build(spec) -> Net: encoder + decoder + head."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leadline.core.spec import Spec
from leadline.nn.blocks import bilinear_, starts_bilinear, upsample
from leadline.nn.decoders import DECODERS
from leadline.nn.encoders import ENCODERS
from leadline.nn.gates import gate_, predictors
from leadline.nn.heads import HEADS
from leadline.nn.skip import leave_out_


class Net(nn.Module):
    """RGB float32 [B,3,H,W] in 0..1, any size -> float32 [B,1,H,W] of the spec's kind and unit; of other tasks scores
    [B,K] or [B,K,H,W], or depth and scores [B,1+K,H,W].

    (image - mean) / std of `spec.preprocess` is the first step, so an exported file needs no other normalisation.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        encoder = spec.encoder.name.partition(":")[0]  # timm:NAME
        if encoder not in ENCODERS:
            raise ValueError(f"encoder {spec.encoder.name!r} is unknown; known: {', '.join(sorted(ENCODERS))}")
        if spec.decoder.name not in DECODERS:
            raise ValueError(f"decoder {spec.decoder.name!r} is unknown; known: {', '.join(sorted(DECODERS))}")
        self.spec = spec
        self.encoder: Any = ENCODERS[encoder](spec.encoder)
        channels: Any = self.encoder.channels
        self.decoder: Any = DECODERS[spec.decoder.name](spec.decoder, channels)
        width: Any = self.decoder.channels
        self.head: Any = HEADS[spec.head.layer](width, spec.head)
        self.register_buffer("mean", torch.tensor(spec.preprocess.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(spec.preprocess.std).view(1, 3, 1, 1), persistent=False)
        leave_out_(self, spec.skipped)
        gate_(self, spec.gates)

    def forward(self, image: Tensor, raw: bool = False) -> Any:
        """The depth map; with `raw` the list of all maps that a loss may look at, fine to coarse.

        Those are as the last layers give them, before they are brought to the image's size: one [B,1,h,w] for most
        nets, for monodepth four [B,2,h,w], left and right disparities as fractions of the width.
        """
        size = (image.shape[-2], image.shape[-1])
        features = self.decoder(self.encoder((image - self.mean) / self.std), size)
        if raw and self.spec.head.layer == "disparity":
            return features
        out = self.head(features)
        return [out] if raw else self.enlarged(out, size)

    def enlarged(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """A raw map [B,C,h,w] brought to `size` by the rule of the spec's head, as `forward` does it.

        Scores [B,K] have no size and stay.
        """
        if x.ndim == 2 or (x.shape[-2], x.shape[-1]) == size:
            return x
        if self.spec.head.resize == "nearest":
            return upsample(x, size)
        return F.interpolate(x, size=size, mode="bilinear", align_corners=True)


def build(spec: Spec, *, seed: int | None = None) -> Net:
    """The net that `spec` describes, with fresh weights.

    Convolutions before a batch norm: Gaussian, std sqrt(2 / (k k outputs)), FastDepth's way; transposed ones have their
    inputs in place of the outputs. Those with a bias have nothing behind them that would scale their output: Gaussian,
    std sqrt(2 / (k k (inputs + outputs))) (Glorot and Bengio 2010), bias 0. Layers that enlarge scores start bilinear
    (FCN: `blocks.starts_bilinear`). With `seed` the weights are the same each
    time and the global random state is left alone; without, one number is drawn from it: after `torch.manual_seed` the
    weights are the same, too.
    """
    chosen = int(torch.randint(2**63 - 1, ()).item()) if seed is None else seed
    generator = torch.Generator().manual_seed(chosen)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(generator.initial_seed())  # for layers of timm's that are not set below
        net = Net(spec)
    _draw_(net, generator)
    return net


def outline(spec: Spec) -> Net:
    """The net that `spec` describes on torch's meta device: shapes without memory, however large they are.

    A net of timm has memory: some of them compute with numbers while they are made, and no Spec widens them.
    """
    if spec.encoder.name.startswith("timm:"):
        return build(spec, seed=0)
    with torch.device("meta"):
        return Net(spec)


def fill_(net: Net, weights: Mapping[str, Tensor]) -> None:
    """Give an `outline`, whose shapes are those of `weights` by now, memory on the CPU and these weights."""
    if net.mean.is_meta:
        net.to_empty(device="cpu")
        for name in ("mean", "std"):
            getattr(net, name).copy_(torch.tensor(getattr(net.spec.preprocess, name)).view(1, 3, 1, 1))
    counts = {name: tensor.zero_() for name, tensor in net.state_dict().items() if name.endswith("num_batches_tracked")}
    net.load_state_dict({**counts, **weights})


def reinitialised(net: Net, *, seed: int) -> Net:
    """A copy of `net` with the same shapes, pruned or not, and fresh weights as `build` gives them."""
    new = copy.deepcopy(net)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # for layers that are not drawn below
        for module in new.modules():
            if callable(reset := getattr(module, "reset_parameters", None)):
                reset()
    if hasattr(net, "head"):  # a wrapped module keeps the drawing of its own layers
        _draw_(new, torch.Generator().manual_seed(seed))
    return new


def _draw_(net: Net, generator: torch.Generator) -> None:
    last = getattr(net.head, "conv", None)
    for module in net.modules():
        if not isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            continue
        area = module.kernel_size[0] * module.kernel_size[1]
        # the published rule gives 1.41 for the last layer, which only a batch norm over the batch could bring to metres
        fan = module.in_channels * area if module is last else module.weight.shape[0] * area / 2
        if module.bias is not None and module is not last:
            fan = (module.in_channels + module.out_channels) * area / 2
        else:
            fan /= module.groups  # each depthwise output sees one input
        nn.init.normal_(module.weight, 0.0, math.sqrt(1.0 / fan), generator=generator)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
        if starts_bilinear(module):
            bilinear_(module.weight)
    for predictor in predictors(net):
        predictor.start()


def calibrated(net: Net, focal_times_baseline: float, size: tuple[int, int] | None = None) -> Net:
    """A copy of a net with left and right disparities that gives metric depth: `focal_times_baseline` (see `Head`) over
    disparity.

    With `size` photographs are brought to that from now on. A net with another head is a ValueError.
    """
    spec = net.spec
    if spec.head.layer != "disparity":
        raise ValueError(
            f"{spec.name} gives depth, not left and right disparities; monodepth_vgg and monodepth_pruned give those"
        )
    head = replace(spec.head, kind="metric", unit="m", focal_times_baseline=focal_times_baseline)
    net = copy.deepcopy(net)
    net.spec = replace(spec, head=head, preprocess=replace(spec.preprocess, size=size or spec.preprocess.size))
    net.head = HEADS["disparity"](2, head)
    return net
