"""From data sets to batches: any step's batch depends on the seed and the step alone, so a run can resume anywhere."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from leadline.core.errors import BadData, BadImage, LeadlineError, TrainingFailed
from leadline.core.machine import usable_cores
from leadline.core.types import Item
from leadline.data.batch import Batch
from leadline.data.dataset import Dataset

Batches = Callable[[int], Iterator[Any]]
"""The batches of a run from a given step on, without end: Batch objects, or what `finish` of `fit` makes them of."""


@dataclass(frozen=True)
class Part:
    """One data set's share: `per_batch` items of every batch, each through `transform`."""

    data: Dataset
    per_batch: int
    transform: Callable[[Item, np.random.Generator], Any]


def loader(
    parts: Sequence[Part],
    *,
    seed: int,
    workers: int = 1,
    rank: int = 0,
    world: int = 1,
    pad: bool = False,
    gather: Callable[[Sequence[Any]], Any] | None = None,
) -> Batches:
    """Batches over `parts`, each in its own shuffled order; every item is seen once before any is seen again.

    `workers` processes prepare them (0: none). Of `world` processes that train together, number `rank` gets its slice
    of each batch; the union is the batch of a single process. `pad`: see `collate`; `gather` takes its place where the
    transforms of the parts give something else than Items.
    """
    for part in parts:
        if len(part.data) == 0:
            raise ValueError(f"the data set {part.data.name!r} is empty; nothing to train on")
    if (size := sum(part.per_batch for part in parts)) % world:
        raise ValueError(f"a batch of {size} images cannot be shared by {world} processes; make it a multiple of them")
    at = _BatchAt(tuple(parts), seed, rank, world, gather or partial(collate, pad=pad))

    def batches(start: int) -> Iterator[Any]:
        steps = itertools.count(start)
        options = {"multiprocessing_context": start_method(), "prefetch_factor": 4} if workers else {}
        try:
            for batch in DataLoader(at, None, sampler=steps, num_workers=workers, collate_fn=_same, **options):  # type: ignore[arg-type]
                if isinstance(batch, Exception):
                    raise batch
                yield batch
        except RuntimeError as error:
            if not str(error).startswith("DataLoader worker"):
                raise
            raise TrainingFailed(
                f"a process that prepares batches has died ({error}), as when memory runs out: give fewer --workers, "
                f"now {workers}, or a smaller --batch"
            ) from error

    return batches


def start_method() -> str:
    """How worker processes begin. Forked ones share what is loaded, which is safe on Linux only: on macOS system
    libraries break in them, and Windows has none.
    """
    return "fork" if sys.platform == "linux" else "spawn"


def item(part: Part, index: int, rng: np.random.Generator) -> Any:
    """An item of the part's data through its transform. What cannot be transformed is an error that names the item."""
    sample = part.data[index]
    try:
        return part.transform(sample, rng)
    except (BadData, BadImage, ValueError) as error:
        if str(error).startswith((f"{sample.name}:", f"{sample.name} ")):
            raise
        kind = type(error) if isinstance(error, LeadlineError) else ValueError
        raise kind(f"{sample.name}: {error}") from error


def enough_workers(world: int, gpu: bool) -> int:
    """How many worker processes each of `world` processes on this machine should have, when nobody says.

    Beside a GPU: all cores but one, at most 16, at least 1. Beside a net that itself computes on all cores: nearly
    half, at most 8, and none on two cores: there a worker interrupts the threads of the net, which wait for each other
    hundreds of times in a step. LiteDepth trains on 126 images/s without a worker, on 94 with one.
    """
    cores = usable_cores()
    return max(1, min(16, cores - 1) // world) if gpu else min(8, (cores - 1) // 2) // world


def collate(items: Sequence[Item], pad: bool = False) -> Batch:
    """Items (numpy) as a batch (torch). An item's depth may be of another size than its image.

    Items of unlike sizes are a BadData; with `pad`, each is continued to the right and below up to the largest: the
    image by grey (127.5 of 255, which a net that takes (x - 127.5) / 127.5 sees as 0), the depth by invalid pixels.
    """
    if not pad:
        _refuse_mixed(items)
    image = _images([s.image for s in items])
    target, valid = (_targets([getattr(s, name) for s in items]) for name in ("target", "valid"))
    views = [s.right for s in items if s.right is not None]
    right = _images(views) if len(views) == len(items) else None
    pseudo = None
    if any(s.pseudo_depth is not None for s in items):
        pseudo = torch.from_numpy(_padded([pseudo_depth_of(s) for s in items])[:, None])
    names, kinds = tuple(s.name for s in items), tuple(s.pseudo_kind for s in items)
    return Batch(image, target, valid, names, right, pseudo, kinds)


def pseudo_depth_of(item: Item) -> np.ndarray:
    """The teacher's depth of an item, float32 [H,W]; 0, which is none, for one that no teacher has seen."""
    return np.zeros(item.target.shape, np.float32) if item.pseudo_depth is None else item.pseudo_depth


def _refuse_mixed(items: Sequence[Item]) -> None:
    for item in items[1:]:
        for what, sides in (("image", slice(2)), ("target", slice(-2, None))):
            one, other = (getattr(s, what).shape[sides] for s in (items[0], item))
            if one != other:
                raise BadData(
                    f"a batch of unlike sizes: the {what} of {items[0].name} is {one[1]} wide, {one[0]} high, that of "
                    f"{item.name} {other[1]} wide, {other[0]} high; bring them to one size in the transform, or pad"
                )


def _targets(values: Sequence[np.ndarray]) -> torch.Tensor:
    """Maps [H,W] as [B,1,H,W] and [2,H,W] as [B,2,H,W], padded; single numbers as [B]."""
    if values[0].ndim == 0:
        return torch.from_numpy(np.stack(values))
    if values[0].ndim == 3:
        return torch.from_numpy(_padded(values))
    return torch.from_numpy(_padded(values)[:, None])


def _images(images: Sequence[np.ndarray]) -> torch.Tensor:
    batch = torch.from_numpy(_padded(images)).permute(0, 3, 1, 2).float().div_(255)
    for picture, image in zip(batch, images, strict=True):
        rows, columns = image.shape[:2]
        picture[:, rows:], picture[:, :, columns:] = 0.5, 0.5
    return batch


def _padded(maps: Sequence[np.ndarray]) -> np.ndarray:
    size = tuple(max(shape) for shape in zip(*(m.shape for m in maps), strict=True))
    if all(m.shape == size for m in maps):
        return np.stack(maps)
    batch = np.zeros((len(maps), *size), maps[0].dtype)
    for place, m in zip(batch, maps, strict=True):
        place[tuple(slice(n) for n in m.shape)] = m
    return batch


@dataclass(frozen=True)
class _BatchAt(TorchDataset[Any]):
    """`at[step]` is the batch of that step, or the error that it ends in: torch would make a traceback of one that is
    raised in a worker.
    """

    parts: tuple[Part, ...]
    seed: int
    rank: int
    world: int
    gather: Callable[[Sequence[Any]], Any]

    def __getitem__(self, step: int) -> Any:
        slots = [(which, slot) for which, part in enumerate(self.parts) for slot in range(part.per_batch)]
        try:
            return self.gather([self._item(step, which, slot) for which, slot in slots[self.rank :: self.world]])
        except (LeadlineError, ValueError, OSError) as error:
            return error

    def _item(self, step: int, which: int, slot: int) -> Any:
        part = self.parts[which]
        draw = step * part.per_batch + slot
        rng = np.random.default_rng([self.seed, which, draw, 1])
        return item(part, drawn(self.seed, which, draw, len(part.data)), rng)


def drawn(seed: int, which: int, draw: int, n: int) -> int:
    """The item that draw number `draw` from the `n` of data set number `which` takes: all once before any again."""
    epoch, place = divmod(draw, n)
    return int(_order(seed, which, epoch, n)[place])


@lru_cache(maxsize=32)
def _order(seed: int, which: int, epoch: int, n: int) -> np.ndarray:
    return np.random.default_rng([seed, which, epoch]).permutation(n)


def _same(value: Any) -> Any:
    return value
