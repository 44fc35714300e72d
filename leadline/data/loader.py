"""From data sets to batches: any step's batch depends on the seed and the step alone, so a run can resume anywhere."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from leadline.data.dataset import Dataset
from leadline.data.transforms import BILINEAR, Transform, resize
from leadline.types import Sample

Batches = Callable[[int], Iterator[Sample]]
"""The batches of a run from a given step on, without end."""


@dataclass(frozen=True)
class Part:
    """One data set's share: `per_batch` items of every batch, each through `transform`."""

    data: Dataset
    per_batch: int
    transform: Transform


def loader(parts: Sequence[Part], *, seed: int, workers: int = 1, rank: int = 0, world: int = 1) -> Batches:
    """Batches over `parts`, each in its own shuffled order; every item is seen once before any is seen again.

    `workers` processes prepare them (0: none). Of `world` processes that train together, number `rank` gets its slice
    of each batch; the union is the batch of a single process.
    """
    for part in parts:
        if len(part.data) == 0:
            raise ValueError(f"the data set {part.data.name!r} is empty; nothing to train on")
    if sum(part.per_batch for part in parts) < world:
        raise ValueError(f"a batch has fewer images than the {world} processes that share it; make it larger")
    at = _BatchAt(tuple(parts), seed, rank, world)

    def batches(start: int) -> Iterator[Sample]:
        steps = itertools.count(start)
        options = {"multiprocessing_context": "fork", "prefetch_factor": 4} if workers else {}
        yield from DataLoader(at, None, sampler=steps, num_workers=workers, collate_fn=_same, **options)  # type: ignore[arg-type]

    return batches


def collate(items: Sequence[Sample]) -> Sample:
    """Items (numpy, of one size) as a batch (torch): see `types.Sample`."""
    image = torch.from_numpy(np.stack([s.image for s in items])).permute(0, 3, 1, 2).float().div_(255)
    target = torch.from_numpy(np.stack([s.target for s in items])[:, None])
    valid = torch.from_numpy(np.stack([s.valid for s in items])[:, None])
    right = None
    if all(s.right is not None for s in items):
        right = torch.from_numpy(np.stack([s.right for s in items])).permute(0, 3, 1, 2).float().div_(255)
    return Sample(image, target, valid, tuple(s.name for s in items), right=right)


def cached(data: Dataset, height: int | None = 240) -> Dataset:
    """The same data set, decoded once and held in memory (about 0.4 MB an item at 240x320).

    Items higher than `height` are shrunk to it, aspect kept: colour is averaged, depth is nearest-neighbour.
    """

    def read(key: object) -> Sample:
        sample = data.read(key)
        sample = replace(sample, right=None, intrinsics=None)
        rows, columns = sample.image.shape[:2]
        if height is None or rows <= height:
            return sample
        return resize(sample, (height, round(columns * height / rows)), image_filter=BILINEAR)

    with ThreadPoolExecutor() as pool:
        samples = tuple(pool.map(read, data.keys))
    return Dataset(data.name, samples, _same)


@dataclass(frozen=True)
class _BatchAt(TorchDataset[Sample]):
    """`at[step]` is the batch of that step."""

    parts: tuple[Part, ...]
    seed: int
    rank: int
    world: int

    def __getitem__(self, step: int) -> Sample:
        slots = [(which, slot) for which, part in enumerate(self.parts) for slot in range(part.per_batch)]
        return collate([self._item(step, which, slot) for which, slot in slots[self.rank :: self.world]])

    def _item(self, step: int, which: int, slot: int) -> Sample:
        part = self.parts[which]
        draw = step * part.per_batch + slot
        epoch, place = divmod(draw, len(part.data))
        order = np.random.default_rng([self.seed, which, epoch]).permutation(len(part.data))
        rng = np.random.default_rng([self.seed, which, draw, 1])
        return part.transform(part.data[int(order[place])], rng)


def _same(value: Sample) -> Sample:
    return value
