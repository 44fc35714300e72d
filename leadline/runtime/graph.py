"""What every compiler starts from: the net with batch norms folded, for network inputs or for whole camera frames."""

from __future__ import annotations

import contextlib
import dataclasses
import warnings
from collections.abc import Iterator, Sequence
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from leadline import __version__
from leadline.core.errors import ExportFailed
from leadline.core.machine import installed_version
from leadline.nn.build import Net
from leadline.nn.fold import convolutions, fold
from leadline.runtime.conversion import check, converting
from leadline.runtime.manifest import Manifest
from leadline.runtime.options import CompileOptions, Precision
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


@dataclasses.dataclass(frozen=True)
class Source:
    """What a backend compiles: a copy of the net, in eval mode, its batch norms folded."""

    module: nn.Module
    """The whole artefact: the net, with `options.frame` between the whole-frame parts."""
    inputs: Tensor
    """What `module` takes: float32 [1,3,h,w], or with `options.frame` uint8 [1,H,W,3]."""
    example: Tensor
    """What the net takes: float32 [1,3,h,w]."""
    layers: Layers
    manifest: Manifest

    @property
    def net(self) -> nn.Module:
        """`module` without the whole-frame parts, which stay in float32 in every precision."""
        return self.module.net if isinstance(self.module, Framed) else self.module

    @property
    def frame_parts(self) -> tuple[nn.Module, nn.Module] | None:
        """(before the net, after it): modules that shrink the frame and enlarge the map; None without a frame."""
        return (self.module.shrink, self.module.grow) if isinstance(self.module, Framed) else None

    def with_net(self, net: nn.Module) -> nn.Module:
        """`module` with `net` in place of its own; the Source is used up by this."""
        if not isinstance(self.module, Framed):
            return net
        self.module.net = net
        return self.module


@contextlib.contextmanager
def compiling(
    runtime: str,
    net: Net,
    example: Tensor,
    options: CompileOptions,
    precisions: Sequence[Precision],
    packages: Sequence[str],
    *,
    picks: bool = True,
    tunes: bool = False,
) -> Iterator[Source]:
    """The start of every backend's `compile`: options are checked, the net is prepared, and the block is `converting`.

    `precisions` are those that the runtime makes; the versions of `packages` go into the manifest; `picks`: see
    `prepared`; `tunes`: see `conversion.check`. ValueError if the runtime cannot do what is asked or an int8 file is to
    keep a layer that the net does not have; ExportFailed if the block fails.
    """
    check(runtime, options, precisions, tunes=tunes)
    kept = layers(net, example, options.keep)
    module, inputs = prepared(net, example, options, picks=picks)
    with converting(runtime):
        yield Source(module, inputs, example, kept, manifest(net, example, runtime, options, packages))


def calibrated(learning: nn.Module, images: Sequence[np.ndarray]) -> nn.Module:
    """A module of PyTorch's quantiser after it has seen `images`, network inputs float32 [1,3,h,w]."""
    with torch.no_grad():
        for image in images:
            learning(torch.tensor(image))
    return learning


def _size(example: Tensor) -> tuple[int, int]:
    return cast("tuple[int, int]", tuple(int(n) for n in example.shape[-2:]))
