"""Whole camera frames: resizing as part of the net."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leadline.core.preprocess import between, seen_part, taps, window
from leadline.core.spec import Preprocess


class Framed(nn.Module):
    """`preprocess.prepare`, the net and `preprocess.restore` as one module: uint8 [1,H,W,3] -> float32 [1,1,H,W]."""

    def __init__(self, net: nn.Module, frame: tuple[int, int], how: Preprocess, picks: bool = True) -> None:
        super().__init__()
        self.shrink, self.net, self.grow = Shrink(frame, how, picks), net, Grow(frame, how, picks)

    def forward(self, frame: Tensor) -> Tensor:
        depth: Tensor = self.grow(self.net(self.shrink(frame)))
        return depth


class Shrink(nn.Module):
    """`preprocess.prepare` as a module: uint8 [1,H,W,3] -> float32 [1,3,h,w] in 0..1.

    Resizing is two multiplications by pillow's own weights, one for each axis; so no runtime's idea of bilinear, of
    half-pixels or of aligned corners enters. Pillow rounds to whole grey levels after each axis and this does not, so
    the net's input differs by at most 1/255.
    """

    def __init__(self, frame: tuple[int, int], how: Preprocess, picks: bool = True) -> None:
        super().__init__()
        top, left, height, width = window(frame, how)
        self.frame, self.size = frame, how.size
        self.rows = _along(0, (frame[0], how.size[0]), how.resize, picks, 16, part=(top, height), divisor=255)
        # columns are [w*3]: separating the colours costs more than multiplying by the zeros between them
        self.columns = _along(1, (frame[1], how.size[1]), how.resize, picks, 96, part=(left, width), colours=3)

    def forward(self, frame: Tensor) -> Tensor:
        image = self.columns(self.rows(frame.reshape(self.frame[0], self.frame[1] * 3)))  # [h, w*3]
        pixels: Tensor = image.reshape(1, *self.size, 3)
        return pixels.permute(0, 3, 1, 2)


class Grow(nn.Module):
    """`preprocess.restore` as a module: float32 [1,1,h,w] -> [1,1,H,W], 0 outside the part that the net sees."""

    def __init__(self, frame: tuple[int, int], how: Preprocess, picks: bool = True) -> None:
        super().__init__()
        top, left, height, width = seen_part(frame, how)
        self.size, back = how.size, how.back or how.resize
        self.rows = _along(0, (how.size[0], height), back, picks, 32)
        self.columns = _along(1, (how.size[1], width), back, picks, 160)
        self.border = (left, frame[1] - left - width, top, frame[0] - top - height)

    def forward(self, depth: Tensor) -> Tensor:
        grown = self.rows(self.columns(depth.reshape(self.size)))[None, None]
        return F.pad(grown, self.border) if any(self.border) else grown


def _along(
    axis: int,
    sizes: tuple[int, int],
    rule: str,
    picks: bool,
    step: int,
    *,
    part: tuple[float, float] | None = None,
    colours: int = 1,
    divisor: float = 1.0,
) -> nn.Module:
    """What resizes `axis` of a map from the first to the second of `sizes` by `rule`."""
    if picks and rule == "corners":
        return Between(between(*sizes, part), axis, colours, divisor)
    weights = taps(*sizes, rule, part)
    if picks and rule == "nearest":
        return Between((weights.argmax(axis=1), None), axis, colours, divisor)
    weights = weights / np.float32(divisor)
    return Rows(weights, step) if axis == 0 else Columns(np.kron(weights, np.eye(colours, dtype=np.float32)), step)


class Rows(nn.Module):
    """x [n, m] -> W x [n_out, m] for a constant W [n_out, n] whose rows are a narrow band that moves down.

    Each `step` rows of W see only the rows of x where they are not zero. That is as many for each, so that one batched
    multiplication does them all.
    """

    weights: Tensor

    def __init__(self, weights: np.ndarray, step: int) -> None:
        super().__init__()
        n_out, n = weights.shape
        blocks = [weights[top : top + step] for top in range(0, n_out, step)]
        ranges = [_range(block) for block in blocks]
        self.n_out, self.height = n_out, max(end - first for first, end in ranges)
        self.starts = [min(first, n - self.height) for first, _ in ranges]
        stacked = np.zeros((len(blocks), step, self.height), np.float32)
        for i, (block, start) in enumerate(zip(blocks, self.starts, strict=True)):
            stacked[i, : len(block)] = block[:, start : start + self.height]
        self.register_buffer("weights", torch.tensor(stacked))

    def forward(self, x: Tensor) -> Tensor:
        seen = torch.cat([x[start : start + self.height] for start in self.starts])
        # cast to float only here: as uint8 a frame has a quarter of the bytes
        blocks = self.weights @ seen.reshape(len(self.starts), self.height, x.shape[1]).float()
        rows: Tensor = blocks.reshape(blocks.shape[0] * blocks.shape[1], x.shape[1])
        return rows if len(rows) == self.n_out else rows[: self.n_out]


class Columns(nn.Module):
    """x [m, n] -> x W^T [m, n_out] for such a W, `step` columns at a time.

    Block by block, since runtimes keep their fastest kernels for a constant matrix on the right.
    """

    def __init__(self, weights: np.ndarray, step: int) -> None:
        super().__init__()
        blocks = [weights[left : left + step] for left in range(0, len(weights), step)]
        self.ranges = [_range(block) for block in blocks]
        for i, (block, (first, end)) in enumerate(zip(blocks, self.ranges, strict=True)):
            self.register_buffer(f"block{i}", torch.tensor(np.ascontiguousarray(block[:, first:end].T)))

    def forward(self, x: Tensor) -> Tensor:
        parts = [x[:, first:end] @ getattr(self, f"block{i}") for i, (first, end) in enumerate(self.ranges)]
        return torch.cat(parts, dim=1)


class Between(nn.Module):
    """Each output along `axis` of x [n, m] lies between two neighbours, see `preprocess.between`, or is one of them.

    With `axis` 1, x is [m, n * colours] and the colours of a pixel stay together. Without weights to store, so that a
    small net's file stays small.
    """

    lower: Tensor
    upper: Tensor
    share: Tensor

    def __init__(
        self, places: tuple[np.ndarray, np.ndarray | None], axis: int, colours: int = 1, divisor: float = 1.0
    ) -> None:
        super().__init__()
        lower, share = places
        self.axis, self.colours, self.divisor, self.nearest = axis, colours, divisor, share is None
        self.register_buffer("lower", torch.tensor(lower))
        # with share 0 the upper tap does not count: it is set to the lower one, which is inside the image
        if share is not None:
            self.register_buffer("upper", torch.tensor(np.where(share > 0, lower + 1, lower)))
            self.register_buffer("share", torch.tensor(share).reshape((-1, 1) if axis == 0 else (1, -1, 1)))

    def forward(self, x: Tensor) -> Tensor:
        pixels = x if self.axis == 0 else x.reshape(x.shape[0], x.shape[1] // self.colours, self.colours)
        out = pixels.index_select(self.axis, self.lower)
        if not self.nearest:
            out = out.float()
            out = out + (pixels.index_select(self.axis, self.upper).float() - out) * self.share
        if self.divisor != 1:
            out = out / self.divisor
        return out if self.axis == 0 else out.reshape(out.shape[0], out.shape[1] * self.colours)


def _range(block: np.ndarray) -> tuple[int, int]:
    """The first column with a value that is not zero, and the one after the last."""
    used = np.flatnonzero(block.any(axis=0))
    return int(used[0]), int(used[-1]) + 1
