"""Thin nets and made-up recovery for the tests of pruning; a process that NetAdapt starts imports this, not a test."""

from __future__ import annotations

import copy
import itertools
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from support.tiny_training import batches, loss

from leadline.compress.cost.count import macs, macs_cost, shapes_of
from leadline.compress.options import NetAdapt
from leadline.compress.pruning import trace as traced
from leadline.compress.pruning.groups import Channels
from leadline.compress.pruning.netadapt import CostModel, netadapt
from leadline.compress.recovery import Recovery
from leadline.core.report import Report
from leadline.core.spec import Decoder, Encoder, Head, Preprocess, Spec
from leadline.nn.build import Net, build
from leadline.nn.checkpoint import save
from leadline.training.options import FitOptions

T = TypeVar("T")
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


def thin_checkpoint(folder: Path) -> str:
    """A file of `fastdepth` for pictures of 32 x 64, which starts at 3 m."""
    net = build(replace(fastdepth(), preprocess=Preprocess((32, 64))), seed=0)
    net.head.start_at(3.0)
    return str(save(net, folder / "thin.safetensors"))


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


def teach() -> Recovery:
    """Eight small pictures, and a judge that looks at widths alone."""
    return Recovery(batches(), loss, judge)


def teach_by_weights() -> Recovery:
    """The judge looks at the weights, so that what they learned matters."""
    return replace(teach(), validate=lambda net: -float(net.head.conv.weight.detach().abs().sum()))


def teach_without_validation() -> Recovery:
    return Recovery(batches(), loss)


def _remembering(function: Callable[..., T]) -> Callable[..., T]:
    """`function` of a net and a size or an example, which knows again a net of the same shapes."""
    known: dict[object, T] = {}

    def once(net: Net, example: Any = None, size: tuple[int, int] | None = None) -> T:
        shapes = tuple((name, tuple(tensor.shape)) for name, tensor in net.state_dict().items())
        key = (net.spec, shapes, size or tuple(getattr(example, "shape", example)))
        if key not in known:
            known[key] = function(net, size if size else example)
        return known[key]

    return once


trace_once = _remembering(traced.trace)
"""Tracing takes a second, counting half of one, and the tests meet the same nets again and again."""
macs_once = _remembering(macs)
macs_cost_once = _remembering(macs_cost)


def teach_until(calls: int, kill: bool = False) -> Recovery:
    """`teach_by_weights`, and the judge ends everything when it is asked for so many times and once more."""
    recovery, asked = teach_by_weights(), itertools.count()

    def last(net: Net) -> float:
        if next(asked) == calls:
            if kill:
                os.kill(os.getpid(), signal.SIGKILL)
            raise KeyboardInterrupt
        assert recovery.validate is not None
        return recovery.validate(net)

    return replace(recovery, validate=last)


SHORT = FitOptions(steps=2, optimizer="adam", lr=1e-3, precision="no", log_every=100)
SEARCH = NetAdapt(first_step=0.06, decay=0.9, short=SHORT, threads=1)
LAYERS = ("encoder.blocks.1.", "decoder")


def searched(out: Path, calls: int = 1000, processes: int = 1, resume: bool = False) -> tuple[Net, Report]:
    """A short NetAdapt that learns, to 0.8 of its multiply-accumulates; killed after so many judgements."""
    net = traced_net("add")[0]
    cost = macs_cost_once(net, SIZE)(shapes_of(net))
    search, resource = replace(SEARCH, processes=processes), CostModel(lambda net: macs_cost_once(net, SIZE))
    teaching = partial(teach_until, calls, kill=True)
    return netadapt(net, teaching, resource, 0.8 * cost, search, example=IMAGE, out=out, layers=LAYERS, resume=resume)


if __name__ == "__main__":
    torch.set_num_threads(1)
    searched(Path(sys.argv[1]), int(sys.argv[2]))
