"""Thin nets and made-up lessons for the tests of pruning; a process that NetAdapt starts imports this, not a test."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import torch
from ramps import batches, loss

from leadline.compress import channels as traced
from leadline.compress.groups import Channels
from leadline.compress.lessons import Lessons
from leadline.nn.build import Net, build
from leadline.spec import Decoder, Encoder, Head, Preprocess, Spec

SIZE = (32, 32)
IMAGE = torch.zeros(1, 3, *SIZE)


def fastdepth(skip: str = "add", width: int = 16) -> Spec:
    """FastDepth with `width` channels in every layer."""
    decoder = Decoder("nnconv5", (width,) * 5, skip)  # type: ignore[arg-type]
    head = Head(batch_statistics=False)
    return Spec("narrow", Encoder("mobilenet_v1", (width,) * 14), decoder, head, Preprocess(SIZE))


def monodepth(width: int = 16) -> Spec:
    """monodepth with `width` channels in every layer."""
    decoder = Decoder("monodepth", (width,) * 14, "cat", depthwise=False, kernel=3)
    head = Head("relative_disparity", "relative_disparity", layer="disparity", kernel=3)
    return Spec("narrow", Encoder("vgg", (width,) * 14), decoder, head, Preprocess(SIZE))


SPECS = {"none": fastdepth("none"), "add": fastdepth("add"), "cat": fastdepth("cat"), "monodepth": monodepth()}


@cache
def _whole(name: str) -> tuple[Net, Channels]:
    net = build(SPECS[name], seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():  # batch norms that do something
        for tensor in net.state_dict().values():
            if tensor.ndim == 1 and tensor.is_floating_point():
                tensor.add_(torch.rand(tensor.shape, generator=generator) * 0.5)
    if net.spec.head.layer == "norm":
        net.head.start_at(2.5)  # above 0, where its ReLU passes gradients
    return net.eval(), traced.trace(net, IMAGE)


def traced_net(name: str) -> tuple[Net, Channels]:
    """A net of SPECS of random weights and statistics, one's own, and its groups (tracing takes a second)."""
    net, channels = _whole(name)
    return copy.deepcopy(net), channels


def judge(net: Net) -> float:
    """Prefers width in the encoder's sixth block, and dislikes it everywhere else, more so further back."""
    widths = {name: tensor.shape[0] for name, tensor in net.state_dict().items() if name.endswith(".3.weight")}
    return sum(w * (1.0 if ".5.3" in name else -0.01 * i) for i, (name, w) in enumerate(widths.items()))


def teach() -> Lessons:
    """Eight small pictures, and a judge that looks at widths alone."""
    return Lessons(batches(), loss, judge)


def teach_by_weights() -> Lessons:
    """The judge looks at the weights, so that what they learned matters."""
    return replace(teach(), judge=lambda net: -float(net.head.conv.weight.abs().sum()))


def teach_without_judge() -> Lessons:
    return Lessons(batches(), loss)


def remembering(trace: Callable[..., Channels]) -> Callable[..., Channels]:
    """`trace`, which knows again a net of the same shapes."""
    known: dict[object, Channels] = {}

    def once(net: Net, example: torch.Tensor) -> Channels:
        key = (net.spec, tuple((name, tuple(tensor.shape)) for name, tensor in net.state_dict().items()))
        if key not in known:
            known[key] = trace(net, example)
        return known[key]

    return once
