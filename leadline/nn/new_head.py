"""A trained net of depth with another last layer: it names what pixels show, beside the depth or in its place."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Literal

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from leadline.core.spec import Head, Spec
from leadline.nn.build import Net
from leadline.nn.heads import HEADS
from leadline.nn.heads.depth import NormHead

NewHead = Literal["joint", "labels"]


def with_head(net: Net, kind: NewHead, classes: tuple[str, ...], *, seed: int) -> Net:
    """A copy of a net of metric depth, pruned or not, with a head for `classes`. `joint`: depth in channel 0, as `net`
    gives it (a batch norm becomes part of its convolution), and scores behind it; `labels`: scores alone.

    The layer of the scores is fresh, as `build` draws those with a bias; equal seeds give equal weights. ValueError if
    the net's last layer is another one than a convolution to metres.
    """
    spec = spec_with_head(net.spec, kind, classes)
    depth: nn.Conv2d = net.head.conv
    if isinstance(net.head, NormHead):
        depth = fuse_conv_bn_eval(copy.deepcopy(depth).eval(), copy.deepcopy(net.head.norm).eval())
    new = copy.deepcopy(net)
    new.spec, new.head = spec, HEADS[spec.head.layer](depth.in_channels, spec.head)
    scores = new.head.labels if kind == "joint" else new.head.conv
    spread = math.sqrt(2 / ((scores.in_channels + scores.out_channels) * spec.head.kernel**2))
    nn.init.normal_(scores.weight, 0.0, spread, generator=torch.Generator().manual_seed(seed))
    nn.init.zeros_(scores.bias)
    if kind == "joint":
        new.head.conv.load_state_dict(depth.state_dict())
    return new.train(net.training)


def spec_with_head(spec: Spec, kind: NewHead, classes: tuple[str, ...]) -> Spec:
    """The Spec of a net of metric depth with that head; its name ends in the kind."""
    old = spec.head
    if old.kind != "metric" or old.layer not in ("norm", "conv"):
        raise ValueError(
            f"{spec.name} gives {old.kind} by a head {old.layer!r}; only a net of metric depth whose head is norm or "
            "conv, such as fastdepth_small, can take another head"
        )
    kernel = 1 if old.layer == "norm" else old.kernel
    if kind == "joint":
        head = Head("joint", "m", layer="joint", kernel=kernel, relu=old.relu, resize=old.resize, classes=classes)
    else:
        head = Head("labels", "score", layer="labels", kernel=kernel, resize=old.resize, classes=classes)
    return replace(spec, name=f"{spec.name}_{kind}", head=head)
