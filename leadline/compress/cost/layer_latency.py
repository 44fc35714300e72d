"""The layers of a net, each measured by itself: one time for each kind of layer and each pair of widths."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from leadline.compress.cost.count import Layer, layers, shapes_of
from leadline.core.machine import check_threads
from leadline.core.preprocess import Runner
from leadline.core.spec import Decoder, Encoder, Preprocess, Spec
from leadline.core.timing import measure
from leadline.nn.build import Net
from leadline.runtime import installed, suffix
from leadline.runtime.backends import eager
from leadline.runtime.options import CompileOptions
from leadline.runtime.torch_threads import torch_threads

Size = tuple[int, int]
_FIXED = 4
"""Sides of a layer with at most so many channels are not pruned: colours, depth, pairs of disparities."""


@dataclass(frozen=True)
class Entry:
    """Milliseconds of the layers that are `what`: a row for each of the `inputs` widths, a column for each output one.

    A side with one width is not pruned; a depthwise layer has the widths of its outputs, and () as inputs.
    """

    what: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    ms: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class LayerKind:
    """Layers that differ in their widths alone: one of them, and the largest input and output width that is needed."""

    layer: Layer
    depthwise: bool
    inputs: int
    outputs: int


@dataclass(frozen=True)
class Bench:
    """Where nets are compiled for a runtime; `empty` are the calls of those without a layer, needed again and again."""

    runtime: str
    threads: int
    folder: Path
    empty: dict[tuple[int, Size], Callable[[], object]] = field(default_factory=dict)


def each(net: nn.Module, size: Size) -> Iterator[tuple[str, LayerKind]]:
    """Each layer that runs, in that order: its kind's name, and the kind with this layer's own widths."""
    shapes = shapes_of(net)
    for layer in layers(net, size):
        shape = shapes[layer.weight]
        depthwise = layer.groups > 1 and shape[:2] == (layer.groups, 1)
        n_in, n_out = widths_of(layer, depthwise, shape)
        kind = f"{'depthwise ' * depthwise}{layer.kind}"
        groups = f" groups {layer.groups}" * (layer.groups > 1 and not depthwise)
        fixed = f" from {n_in}" * (n_in <= _FIXED) + f" to {n_out}" * (n_out <= _FIXED)
        padding = layer.padding if isinstance(layer.padding, str) else _by(layer.padding)
        steps = f"{_by(layer.kernel)} stride {_by(layer.stride)} padding {padding} dilation {_by(layer.dilation)}"
        yield f"{kind} {steps}{groups}{fixed} on {_by(layer.input)}", LayerKind(layer, depthwise, n_in, n_out)


def kinds(net: nn.Module, size: Size) -> dict[str, LayerKind]:
    """The kinds of layers that run for one image of `size` (height, width), by name, with their largest widths."""
    found: dict[str, LayerKind] = {}
    for what, one in each(net, size):
        other = found.get(what, one)
        found[what] = replace(one, inputs=max(one.inputs, other.inputs), outputs=max(one.outputs, other.outputs))
    return found


def widths_of(layer: Layer, depthwise: bool, shape: tuple[int, ...]) -> tuple[int, int]:
    """The layer's input and output channels when its weight has this shape."""
    if depthwise:
        return shape[0], shape[0]
    if layer.kind == "transposed":
        return shape[0], shape[1] * layer.groups
    return shape[1] * layer.groups, shape[0]


def _grid(largest: int, groups: int) -> tuple[int, ...]:
    if largest <= _FIXED:
        return (largest,)
    step = int(np.lcm(8, groups))
    half, whole = (-(-largest // (parts * step)) * step for parts in (2, 1))
    return tuple(sorted({step, half, whole}))


def _grids(one: LayerKind) -> tuple[tuple[int, ...], tuple[int, ...]]:
    groups = 1 if one.depthwise else one.layer.groups
    return () if one.depthwise else _grid(one.inputs, groups), _grid(one.outputs, groups)


def measure_layer(what: str, one: LayerKind, bench: Bench, n: int = 50) -> Entry:
    """The Entry of a kind of layer, from `n` calls at each pair of widths, all in turns.

    The layer runs between a 1x1 convolution that makes its input of [1,3,h,w] and one that makes its output [1,1,h,w].
    These two without it, at the input's width and size and at the output's, are timed too, and half of each taken off.
    """
    inputs, outputs = _grids(one)
    pairs = [(i or o, o) for i in inputs or (0,) for o in outputs]
    size, after = one.layer.input, _output(one)
    calls: dict[tuple[int, ...], Callable[[], object]] = {}
    for n_in, n_out in pairs:
        calls[n_in, n_out] = call(_as_net(n_in, n_out, _module(one, n_in, n_out), size), size, bench)
        for width, where in ((n_in, size), (n_out, after)):
            if (width, where) not in bench.empty:
                bench.empty[width, where] = call(_as_net(width, width, None, where), where, bench)
            calls[width, *where] = bench.empty[width, where]
    named = {str(key): one_call for key, one_call in calls.items()}
    times = measure(named, n=n, warmup=5, at_most_s=2.0)
    ms = {key: times[str(key)].median for key in calls}
    alone = [max(0.0, ms[i, o] - (ms[i, *size] + ms[o, *after]) / 2) for i, o in pairs]
    rows = np.reshape(alone, (-1, len(outputs))).tolist()
    return Entry(what, inputs, outputs, tuple(map(tuple, rows)))


def _module(one: LayerKind, inputs: int, outputs: int) -> nn.Module:
    """The layer in these widths; a linear one is a 1x1 convolution of a map one pixel wide."""
    layer = one.layer
    groups = outputs if one.depthwise else layer.groups
    make: type[nn.Module] = nn.ConvTranspose2d if layer.kind == "transposed" else nn.Conv2d
    how: dict[str, Any] = {name: getattr(layer, name) for name in ("stride", "padding", "dilation")}
    return make(inputs, outputs, layer.kernel, groups=groups, **how)


def _output(one: LayerKind) -> Size:
    """The (height, width) of what comes out."""
    width = 1 if one.depthwise else one.layer.groups
    x = torch.zeros(1, width, *one.layer.input, device="meta")
    out: torch.Tensor = _module(one, width, width).to("meta")(x)
    return out.shape[-2], out.shape[-1]


class _Chain(nn.Sequential):
    """Modules one after the other, with all that a runtime's compiler asks of a net: to run, and to have a Spec."""

    spec: Spec


def _as_net(inputs: int, outputs: int, layer: nn.Module | None, size: Size) -> Net:
    middle = [] if layer is None else [layer, nn.ReLU()]
    chain = _Chain(nn.Conv2d(3, inputs, 1), nn.ReLU(), *middle, nn.Conv2d(outputs, 1, 1)).eval()
    chain.spec = Spec("layer", Encoder("none", ()), Decoder("none", ()), preprocess=Preprocess(size))
    return cast(Net, chain)


def call(net: Net, size: Size, bench: Bench) -> Callable[[], object]:
    """What runs `net`, compiled, on one image of `size` (height, width): noise in 0..1, always the same."""
    image = np.random.default_rng(0).random((1, 3, *size), np.float32)
    run: Runner
    if bench.runtime == "eager":  # eager saves checkpoints, and a single layer has no Spec
        run = eager.runner(net, bench.threads)
    else:
        backend = installed(bench.runtime)
        place = Path(tempfile.mkdtemp(dir=bench.folder)) / f"net{suffix(bench.runtime)}"
        run = backend.load(backend.compile(net, torch.zeros(1, 3, *size), place, CompileOptions()), bench.threads)
    return lambda: run(image)


@contextmanager
def at_bench(runtime: str, threads: int | None) -> Iterator[Bench]:
    """A place to compile for `runtime`; PyTorch's threads, which the whole process shares, are afterwards as before.

    Inductor compiles for as many threads as PyTorch has: with fewer at the call, `fastdepth` takes five times as long.
    """
    installed(runtime)
    n = check_threads(threads)
    with tempfile.TemporaryDirectory() as folder, torch_threads(n):
        yield Bench(runtime, n, Path(folder))


def _by(numbers: tuple[int, ...]) -> str:
    return "x".join(map(str, numbers))
