"""What every compiler starts from: the net with batch norms folded, for network inputs or for whole camera frames."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from importlib import metadata
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leadline.nn.build import Net
from leadline.nn.fold import convolutions, fold
from leadline.options import CompileOptions
from leadline.preprocess import seen_part, taps, window
from leadline.runtime.card import Card
from leadline.spec import Preprocess


def prepared(net: Net, example: Tensor, options: CompileOptions) -> tuple[nn.Module, Tensor]:
    """The module to compile and an input for it: float32 [1,3,h,w], or with `options.frame` uint8 [1,H,W,3].

    The module is a copy of `net` in eval mode, its batch norms folded. `example` is float32 [1,3,h,w].
    """
    if example.ndim != 4 or example.shape[:2] != (1, 3):
        raise ValueError(f"the example has shape {tuple(example.shape)}; [1,3,h,w] is needed, an artefact has batch 1")
    folded = fold(net)
    if options.frame is None:
        return folded, example.contiguous()
    how = dataclasses.replace(net.spec.preprocess, size=_size(example))
    return Framed(folded, options.frame, how).eval(), torch.zeros(1, *options.frame, 3, dtype=torch.uint8)


def exported(module: nn.Module, example: Tensor) -> torch.export.ExportedProgram:
    """`torch.export` of an inference module for inputs shaped as `example`, without its warnings about itself."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        return torch.export.export(module, (example,))


def card(net: Net, example: Tensor, runtime: str, options: CompileOptions, packages: Sequence[str]) -> Card:
    """The card of the artefact that `runtime` makes of `net`; `packages` are those whose versions matter."""
    spec = net.spec
    size = _size(example)
    spec = dataclasses.replace(spec, preprocess=dataclasses.replace(spec.preprocess, size=size))
    versions = {name: metadata.version(name) for name in ("leadline", *packages)}
    origin = options.source, versions, dict(options.provenance)
    return Card(spec, runtime, options.precision, size, options.frame, options.keep, *origin)


def kept(net: Net, example: Tensor, keep: Sequence[str]) -> frozenset[int]:
    """The positions of the convolutions named `keep` among all of the net's, in the order in which they run.

    Every exporter keeps that order, whatever it does to names. An unknown name is a ValueError.
    """
    order = convolutions(net, example)
    unknown = [name for name in keep if name not in order]
    if unknown:
        raise ValueError(f"the net has no convolution {unknown[0]!r}; it has {', '.join(order)}")
    return frozenset(order.index(name) for name in keep)


class Framed(nn.Module):
    """`preprocess.prepare`, the net and `preprocess.restore` as one module: uint8 [1,H,W,3] -> float32 [1,1,H,W]."""

    def __init__(self, net: nn.Module, frame: tuple[int, int], how: Preprocess) -> None:
        super().__init__()
        self.shrink, self.net, self.grow = Shrink(frame, how), net, Grow(frame, how)

    def forward(self, frame: Tensor) -> Tensor:
        depth: Tensor = self.grow(self.net(self.shrink(frame)))
        return depth


class Shrink(nn.Module):
    """`preprocess.prepare` as a module: uint8 [1,H,W,3] -> float32 [1,3,h,w] in 0..1.

    Resizing is two multiplications by pillow's own weights, one for each axis; so no runtime's idea of bilinear, of
    half-pixels or of aligned corners enters. Pillow rounds to whole grey levels after each axis and this does not, so
    the net's input differs by at most 1/255.
    """

    def __init__(self, frame: tuple[int, int], how: Preprocess) -> None:
        super().__init__()
        top, left, height, width = window(frame, how)
        self.rows = Banded(taps(frame[0], how.size[0], how, (top, height)) / np.float32(255), 56)
        columns = taps(frame[1], how.size[1], how, (left, width))
        # a row holds its colours side by side: moving none of them costs less than multiplying by the zeros between
        self.columns = Banded(np.kron(columns, np.eye(3, dtype=np.float32)), 96, from_right=True)
        self.frame, self.size = frame, how.size

    def forward(self, frame: Tensor) -> Tensor:
        image = self.rows(self.columns(frame.reshape(self.frame[0], self.frame[1] * 3)))  # [h, w*3]
        pixels: Tensor = image.reshape(1, *self.size, 3)
        return pixels.permute(0, 3, 1, 2)


class Grow(nn.Module):
    """`preprocess.restore` as a module: float32 [1,1,h,w] -> [1,1,H,W], 0 outside the part that the net sees."""

    def __init__(self, frame: tuple[int, int], how: Preprocess) -> None:
        super().__init__()
        top, left, height, width = seen_part(frame, how)
        self.rows = Banded(taps(how.size[0], height, how), 64)
        self.columns = Banded(taps(how.size[1], width, how), 160, from_right=True)
        self.size = how.size
        self.border = (left, frame[1] - left - width, top, frame[0] - top - height)

    def forward(self, depth: Tensor) -> Tensor:
        grown = self.rows(self.columns(depth.reshape(self.size)))[None, None]
        return F.pad(grown, self.border) if any(self.border) else grown


class Banded(nn.Module):
    """x [n, m] -> W x [n_out, m] for a constant W [n_out, n] whose rows are a narrow band that moves down.

    `step` rows of W at a time see only the rows of x between their first and last weight that is not zero. With
    `from_right` it is x [m, n] -> x W^T [m, n_out]. Small steps multiply fewer zeros, large ones start fewer kernels.
    """

    def __init__(self, weights: np.ndarray, step: int, from_right: bool = False) -> None:
        super().__init__()
        self.ranges: list[tuple[int, int]] = []
        self.from_right = from_right
        for i, top in enumerate(range(0, len(weights), step)):
            block = weights[top : top + step]
            used = np.flatnonzero(block.any(axis=0))
            first, end = int(used[0]), int(used[-1]) + 1
            self.ranges.append((first, end))
            part = block[:, first:end]
            self.register_buffer(f"block{i}", torch.tensor(np.ascontiguousarray(part.T if from_right else part)))

    def forward(self, x: Tensor) -> Tensor:
        blocks = [getattr(self, f"block{i}") for i in range(len(self.ranges))]
        # whole numbers become floating-point ones only here: until then they are a quarter of the bytes
        if self.from_right:
            return torch.cat([x[:, a:b].float() @ w for (a, b), w in zip(self.ranges, blocks, strict=True)], dim=1)
        return torch.cat([w @ x[a:b].float() for (a, b), w in zip(self.ranges, blocks, strict=True)])


def _size(example: Tensor) -> tuple[int, int]:
    return cast("tuple[int, int]", tuple(int(n) for n in example.shape[-2:]))
