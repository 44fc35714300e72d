"""What every compiler starts from: the net with batch norms folded, for network inputs or for whole camera frames."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from leadline import __version__
from leadline.core.errors import ExportFailed
from leadline.core.machine import installed_version
from leadline.nn.build import Net
from leadline.nn.fold import convolutions, fold
from leadline.runtime.manifest import Manifest
from leadline.runtime.options import CompileOptions
from leadline.runtime.whole_frame import Framed


def prepared(net: Net, example: Tensor, options: CompileOptions, *, picks: bool = True) -> tuple[nn.Module, Tensor]:
    """The module to compile and an input for it: float32 [1,3,h,w], or with `options.frame` uint8 [1,H,W,3].

    The module is a copy of `net` in eval mode, its batch norms folded. `example` is float32 [1,3,h,w]. `picks`: the
    runtime can pick pixels by their numbers; otherwise matrices do it.
    """
    if example.ndim != 4 or example.shape[:2] != (1, 3):
        raise ValueError(f"the example has shape {tuple(example.shape)}; [1,3,h,w] is needed, an artefact has batch 1")
    folded = fold(net)
    if options.frame is None:
        return folded, example.contiguous()
    how = dataclasses.replace(net.spec.preprocess, size=_size(example))
    return Framed(folded, options.frame, how, picks).eval(), torch.zeros(1, *options.frame, 3, dtype=torch.uint8)


def exported(module: nn.Module, example: Tensor) -> torch.export.ExportedProgram:
    """`torch.export` of an inference module for inputs shaped as `example`, without its warnings about itself."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        return torch.export.export(module, (example,))


def manifest(net: Net, example: Tensor, runtime: str, options: CompileOptions, packages: Sequence[str]) -> Manifest:
    """The manifest of the artefact that `runtime` makes of `net`; `packages` are those whose versions matter."""
    spec = net.spec
    size = _size(example)
    spec = dataclasses.replace(spec, preprocess=dataclasses.replace(spec.preprocess, size=size))
    versions = {name: v for name in packages if (v := installed_version(name)) is not None}
    versions["leadline"] = __version__
    origin = options.source, versions, dict(options.provenance)
    return Manifest(spec, runtime, options.precision, size, options.frame, options.keep, *origin)


class Layers(NamedTuple):
    """How many convolutions a net has, and the positions of those that an int8 file keeps in floating point, both in
    the order in which they run. Every exporter keeps that order, whatever it does to names.
    """

    n: int
    kept: frozenset[int]

    def check(self, found: int, where: str) -> None:
        """An ExportFailed if `where` has not as many convolutions: then positions mean nothing."""
        if found != self.n:
            raise ExportFailed(f"the net has {self.n} convolutions and {where} {found}: layers cannot be told apart")


def layers(net: Net, example: Tensor, keep: Sequence[str]) -> Layers:
    """The Layers of `net`, `keep` being names of convolutions. An unknown name is a ValueError."""
    order = convolutions(net, example)
    unknown = [name for name in keep if name not in order]
    if unknown:
        raise ValueError(f"the net has no convolution {unknown[0]!r}; it has {', '.join(order)}")
    return Layers(len(order), frozenset(order.index(name) for name in keep))


def bare(net: Net, example: Tensor, options: CompileOptions) -> nn.Module:
    """`prepared` without the whole-frame part, which stays in float32 in every precision."""
    return prepared(net, example, dataclasses.replace(options, frame=None))[0]


def around(module: nn.Module, net: nn.Module) -> nn.Module:
    """What `prepared` gave, with `net` in place of its bare net."""
    if not isinstance(module, Framed):
        return net
    module.net = net
    return module


def calibrated(learning: nn.Module, images: Sequence[np.ndarray]) -> nn.Module:
    """A module of PyTorch's quantiser after it has seen `images`, network inputs float32 [1,3,h,w]."""
    with torch.no_grad():
        for image in images:
            learning(torch.tensor(image))
    return learning


def _size(example: Tensor) -> tuple[int, int]:
    return cast("tuple[int, int]", tuple(int(n) for n in example.shape[-2:]))
