"""A batch depends on the seed and the step alone."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
import torch

from leadline.data.dataset import Dataset, hold_out, subset
from leadline.data.loader import Part, cached, loader
from leadline.types import Sample


def read(key: int) -> Sample:
    image = np.full((4, 6, 3), key, np.uint8)
    return Sample(image, np.full((4, 6), key, np.float32), np.ones((4, 6), bool), str(key))


def noisy(sample: Sample, rng: np.random.Generator) -> Sample:
    return Sample(sample.image, sample.target + np.float32(rng.random()), sample.valid, sample.name)


def numbers(n: int, first: int = 0) -> Dataset:
    return Dataset("numbers", tuple(range(first, first + n)), read)


def test_a_batch_is_float_images_and_one_channel_maps() -> None:
    batch = next(loader([Part(numbers(5), 3, noisy)], seed=0, workers=0)(0))
    assert batch.image.shape == (3, 3, 4, 6) and batch.image.dtype == torch.float32
    assert batch.target.shape == batch.valid.shape == (3, 1, 4, 6)
    torch.testing.assert_close(batch.image[:, 0, 0, 0], torch.tensor([float(n) / 255 for n in batch.name]))


def test_every_item_is_seen_once_before_any_is_seen_again() -> None:
    stream = loader([Part(numbers(10), 4, noisy)], seed=1, workers=0)(0)
    seen = [name for batch in itertools.islice(stream, 5) for name in batch.name]
    assert Counter(seen) == Counter({str(n): 2 for n in range(10)})
    assert seen[:10] != seen[10:]


@pytest.mark.parametrize("workers", [0, 2])
def test_any_step_can_be_asked_for_and_is_always_the_same(workers: int) -> None:
    stream = loader([Part(numbers(10), 3, noisy)], seed=2, workers=0)(0)
    whole = list(itertools.islice(stream, 6))
    later = next(loader([Part(numbers(10), 3, noisy)], seed=2, workers=workers)(4))
    assert later.name == whole[4].name and torch.equal(later.target, whole[4].target)


def test_the_slices_of_two_processes_make_the_batch_of_one() -> None:
    parts = [Part(numbers(10), 3, noisy), Part(numbers(7, 100), 1, noisy)]
    whole = next(loader(parts, seed=3, workers=0)(2))
    slices = [next(loader(parts, seed=3, workers=0, rank=r, world=2)(2)) for r in (0, 1)]
    assert sorted(whole.name) == sorted(slices[0].name + slices[1].name)
    assert len(slices[0].name) == len(slices[1].name)


def test_a_batch_that_is_smaller_than_the_number_of_processes_is_refused() -> None:
    with pytest.raises(ValueError, match="fewer images than the 4 processes"):
        loader([Part(numbers(10), 3, noisy)], seed=0, world=4)


def test_each_data_set_has_its_share_of_every_batch() -> None:
    stream = loader([Part(numbers(10), 3, noisy), Part(numbers(7, 100), 2, noisy)], seed=0, workers=0)(0)
    for batch in itertools.islice(stream, 4):
        assert [int(n) >= 100 for n in batch.name] == [False] * 3 + [True] * 2


def test_an_empty_data_set_is_refused_before_training() -> None:
    with pytest.raises(ValueError, match="'numbers' is empty"):
        loader([Part(numbers(0), 3, noisy)], seed=0)


def test_cached_items_are_read_once_and_shrunk() -> None:
    reads: list[int] = []

    def count(key: int) -> Sample:
        reads.append(key)
        image = np.zeros((480, 640, 3), np.uint8)
        return Sample(image, np.ones((480, 640), np.float32), np.ones((480, 640), bool), str(key))

    held = cached(Dataset("big", (1, 2), count))
    assert held[0].image.shape == (240, 320, 3) and held[1].target.shape == (240, 320)
    assert [held[0].name, held[1].name, held[0].name] == ["1", "2", "1"]
    assert sorted(reads) == [1, 2]


def test_held_out_items_are_whole_blocks_and_nothing_is_lost() -> None:
    rest, kept = hold_out(numbers(100), every=5, block=10)
    assert kept.keys == (*range(40, 50), *range(90, 100))
    assert sorted(rest.keys + kept.keys) == list(range(100))
    assert subset(rest, [1, 0]).keys == (1, 0)
