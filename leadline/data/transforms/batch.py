"""`transforms.augment` for a whole batch, on a GPU: workers only deliver frames and what was drawn for them.

What is drawn is drawn by `augment`'s own rules from the same generator, so a run sees the same views either way. Two
things differ, by about 1/255: colours are not rounded to whole numbers between the steps, and sums are float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from leadline.core.spec import Kind
from leadline.core.types import Item
from leadline.data.batch import Batch
from leadline.data.loader import pseudo_depth_of
from leadline.data.options import View
from leadline.data.transforms.augment import jittered, place, shifted

_GREY = (0.299, 0.587, 0.114)  # ITU-R 601, as Pillow's


@dataclass(frozen=True)
class Viewed:
    """A frame, and the random numbers of its augmentation."""

    frame: Item
    drawn: np.ndarray
    """float64 [17]: Pillow's affine matrix (6), zoom, the order of the three colour changes (3), their factors (3),
    gains (3), gamma.
    """


@dataclass(frozen=True)
class Frames:
    """A batch before its augmentation. Frames of one size stand together: `groups` holds for each size the places in
    the batch int64 [b], images uint8 [b,H,W,3], depth float32 [b,H,W], validity bool [b,H,W], and what a teacher says
    float32 [b,H,W], or None where there is no teacher.
    """

    name: tuple[str, ...]
    drawn: Tensor
    groups: tuple[tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None], ...]
    kind: tuple[Kind, ...]


def draw(sample: Item, rng: np.random.Generator, view: View) -> Viewed:
    """What `augment` would draw from `rng` for this frame."""
    zoom, matrix = place((sample.image.shape[0], sample.image.shape[1]), rng, view)
    order, factors = jittered(rng, view.jitter)
    gains, gamma = shifted(rng, view.colour_shift)
    return Viewed(sample, np.array([*matrix, zoom, *order, *factors, *gains, gamma], np.float64))


def gather(items: Sequence[Viewed]) -> Frames:
    """Items as a batch, still on the CPU."""
    frames = [item.frame for item in items]
    groups, answered = [], any(frame.pseudo_depth is not None for frame in frames)
    for size in dict.fromkeys(frame.image.shape for frame in frames):
        places = [i for i, frame in enumerate(frames) if frame.image.shape == size]
        stacked = (np.stack([getattr(frames[i], what) for i in places]) for what in ("image", "target", "valid"))
        image, target, valid = map(torch.from_numpy, stacked)
        pseudo = torch.from_numpy(np.stack([pseudo_depth_of(frames[i]) for i in places])) if answered else None
        groups.append((torch.tensor(places), image, target, valid, pseudo))
    drawn = torch.from_numpy(np.stack([item.drawn for item in items]))
    return Frames(
        tuple(frame.name for frame in frames), drawn, tuple(groups), tuple(frame.pseudo_kind for frame in frames)
    )


def augmented(batch: Frames, device: torch.device, view: View) -> Batch:
    """The batch that `augment` and `collate` make of the same frames and draws, on `device`."""
    n, (height, width) = len(batch.name), view.pixels
    image = torch.empty(n, 3, height, width, device=device)
    target = torch.empty(n, 1, height, width, device=device)
    valid = torch.empty(n, 1, height, width, dtype=torch.bool, device=device)
    drawn = batch.drawn.to(device, torch.float32, non_blocking=True)
    pseudo = None if batch.groups[0][4] is None else torch.empty_like(target)
    metric = torch.tensor([kind == "metric" for kind in batch.kind], device=device)
    for group in batch.groups:
        places, frames, depths, counts = (x.to(device, non_blocking=True) for x in group[:4])
        rows = drawn[places]
        x, y = _seen(rows[:, :6], view.pixels)  # where each pixel of the view lies in the frame
        image[places] = _bilinear(frames, x, y).view(-1, 3, height, width)
        keep, pixel = _nearest((frames.shape[1], frames.shape[2]), x, y)
        found = counts.flatten(1).gather(1, pixel) & keep
        metres = depths.flatten(1).gather(1, pixel) / rows[:, 6:7]
        valid[places] = found.view(-1, 1, height, width)
        target[places] = torch.where(found, metres, 0).view(-1, 1, height, width)
        if pseudo is not None and group[4] is not None:
            says = group[4].to(device, non_blocking=True).flatten(1).gather(1, pixel)
            says = torch.where(metric[places, None], says / rows[:, 6:7], says)  # as `transforms.zoomed`
            pseudo[places] = torch.where(keep, says, 0).view(-1, 1, height, width)
    return Batch(_recoloured(image, drawn, view), target, valid, batch.name, None, pseudo, batch.kind)


def _seen(matrix: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Positions [b, h w] in the frame, in pixels; 0.5 is the middle of the first."""
    across = torch.arange(size[1], device=matrix.device) + 0.5
    down = (torch.arange(size[0], device=matrix.device) + 0.5)[:, None]
    a, b, c, d, e, f = (matrix[:, i, None, None] for i in range(6))
    return (a * across + b * down + c).flatten(1), (d * across + e * down + f).flatten(1)


def _bilinear(frames: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """uint8 [b,H,W,3] -> float [b,3,h w] in 0..1, black where the frame is not; its last pixels reach to its border."""
    n, rows, columns, _ = frames.shape
    grid = torch.stack([2 * x / columns - 1, 2 * y / rows - 1], -1)[:, None]
    pixels = frames.permute(0, 3, 1, 2).float() / 255
    seen = F.grid_sample(pixels, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return (seen * _inside((rows, columns), x, y)[:, None, None]).view(n, 3, -1)


def _nearest(frame: tuple[int, int], x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """(inside the frame, index of the pixel)."""
    column, row = x.floor().clamp(0, frame[1] - 1), y.floor().clamp(0, frame[0] - 1)
    return _inside(frame, x, y), (row * frame[1] + column).long()


def _inside(frame: tuple[int, int], x: Tensor, y: Tensor) -> Tensor:
    return (x >= 0) & (x < frame[1]) & (y >= 0) & (y < frame[0])


def _recoloured(image: Tensor, drawn: Tensor, view: View) -> Tensor:
    """Brightness, contrast and saturation in each image's own order, then gains and gamma."""
    weights = torch.tensor(_GREY, device=image.device).view(1, 3, 1, 1)
    if view.jitter:
        for turn in range(3):
            kind = drawn[:, 7 + turn].long()
            factor = drawn[:, 10:13].gather(1, kind[:, None])[:, :, None, None]
            kind = kind[:, None, None, None]
            grey = (image * weights).sum(1, keepdim=True)
            plain = torch.where(kind == 1, grey.mean((2, 3), keepdim=True), torch.where(kind == 2, grey, 0))
            image = torch.lerp(plain.expand_as(image), image, factor).clamp(0, 1)
    if view.colour_shift:
        gains, gamma = drawn[:, 13:16, None, None], drawn[:, 16, None, None, None]
        image = (image**gamma * gains).clamp(0, 1)
    return image
