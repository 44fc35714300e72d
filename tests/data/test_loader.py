"""A batch depends on the seed and the step alone."""

from __future__ import annotations

import itertools
import os
import pickle
import signal
import sys
from collections import Counter
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from leadline.core.errors import BadData, BadImage, LeadlineError, MissingPackage, TrainingFailed
from leadline.core.types import Item
from leadline.data import loader as loader_module
from leadline.data.dataset import Dataset, hold_out, subset
from leadline.data.loader import Part, collate, enough_workers, loader, start_method
from leadline.data.transforms.augment import centre_crop


def read(key: int) -> Item:
    image = np.full((4, 6, 3), key, np.uint8)
    return Item(image, np.full((4, 6), key, np.float32), np.ones((4, 6), bool), str(key))


def noisy(sample: Item, rng: np.random.Generator) -> Item:
    return Item(sample.image, sample.target + np.float32(rng.random()), sample.valid, sample.name)


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


@pytest.mark.slow
def test_where_forked_workers_are_unsafe_they_are_spawned_and_give_the_same_batches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert start_method() == ("fork" if sys.platform == "linux" else "spawn")
    whole = list(itertools.islice(loader([Part(numbers(10), 3, noisy)], seed=2, workers=0)(0), 3))
    for system in ("darwin", "win32"):
        monkeypatch.setattr(loader_module, "sys", SimpleNamespace(platform=system))
        assert start_method() == "spawn"
    stream = loader([Part(numbers(10), 3, noisy)], seed=2, workers=1)(0)
    found = list(itertools.islice(stream, 3))
    assert [b.name for b in found] == [b.name for b in whole]
    assert all(torch.equal(a.target, b.target) for a, b in zip(found, whole, strict=True))


def die(sample: Item, rng: np.random.Generator) -> Item:
    os.kill(os.getpid(), signal.SIGKILL)
    return sample


def test_a_worker_that_is_killed_is_an_error_that_names_the_flag() -> None:
    with pytest.raises(TrainingFailed, match=r"has died .*: give fewer --workers, now 1,"):
        next(loader([Part(numbers(10), 3, die)], seed=0, workers=1)(0))


def test_the_slices_of_two_processes_make_the_batch_of_one() -> None:
    parts = [Part(numbers(10), 3, noisy), Part(numbers(7, 100), 1, noisy)]
    whole = next(loader(parts, seed=3, workers=0)(2))
    slices = [next(loader(parts, seed=3, workers=0, rank=r, world=2)(2)) for r in (0, 1)]
    assert sorted(whole.name) == sorted(slices[0].name + slices[1].name)
    assert len(slices[0].name) == len(slices[1].name)


def test_a_batch_that_processes_cannot_share_evenly_is_refused() -> None:
    with pytest.raises(ValueError, match="3 images cannot be shared by 4 processes"):
        loader([Part(numbers(10), 3, noisy)], seed=0, world=4)


def test_each_data_set_has_its_share_of_every_batch() -> None:
    stream = loader([Part(numbers(10), 3, noisy), Part(numbers(7, 100), 2, noisy)], seed=0, workers=0)(0)
    for batch in itertools.islice(stream, 4):
        assert [int(n) >= 100 for n in batch.name] == [False] * 3 + [True] * 2


def test_an_empty_data_set_is_refused_before_training() -> None:
    with pytest.raises(ValueError, match="'numbers' is empty"):
        loader([Part(numbers(0), 3, noisy)], seed=0)


def sized(name: str, image: tuple[int, int], depth: tuple[int, int], stereo: bool = False) -> Item:
    picture = np.full((*image, 3), 200, np.uint8)
    right = picture if stereo else None
    return Item(picture, np.full(depth, 2, np.float32), np.ones(depth, bool), name, right=right)


def test_a_batch_of_unlike_sizes_is_refused_by_naming_two_items() -> None:
    with pytest.raises(BadData, match=r"image of a is 6 wide, 4 high, that of b 8 wide, 4 high; .* or pad"):
        collate([sized("a", (4, 6), (4, 6)), sized("b", (4, 8), (4, 6))])
    with pytest.raises(BadData, match="target of a is 6 wide, 4 high, that of c 6 wide, 5 high"):
        collate([sized("a", (4, 6), (4, 6)), sized("c", (4, 6), (5, 6))])
    stream = loader([Part(numbers(4), 2, grown)], seed=0, workers=0)(0)
    with pytest.raises(BadData, match="unlike sizes"):
        next(stream)


def grown(sample: Item, rng: np.random.Generator) -> Item:
    """An item as many rows high as its number, at least 1."""
    return sized(sample.name, (int(sample.name) + 1, 6), (2, 3 + int(sample.name)))


def damaged(key: int) -> Item:
    raise BadImage(f"{key}.jpg is cut short")


def crop(sample: Item, rng: np.random.Generator) -> Item:
    """More than there is."""
    return centre_crop(sample, (9, 9))


def refused(sample: Item, rng: np.random.Generator) -> Item:
    raise BadData("no depth")


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("read_as", "transform", "kind", "message"),
    [
        (damaged, noisy, BadImage, r"\d\.jpg is cut short"),
        (read, grown, BadData, "a batch of unlike sizes: .*, or pad"),
        (read, crop, ValueError, r"\d: cannot crop \(9, 9\) out of an image of \(4, 6\)"),
        (read, refused, BadData, r"\d: no depth"),
    ],
)
def test_an_error_of_a_worker_is_the_error_itself_and_names_the_item(
    workers: int, read_as: Any, transform: Any, kind: type[Exception], message: str
) -> None:
    data = Dataset("numbers", tuple(range(4)), read_as)
    with pytest.raises(kind, match=f"^{message}$"):
        next(loader([Part(data, 2, transform)], seed=0, workers=workers)(0))


@pytest.mark.parametrize("error", [MissingPackage("h5py", "nyu", "reading"), BadImage("a"), BadData("b")])
def test_an_error_can_leave_a_worker(error: LeadlineError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error) and str(again) == str(error)


def test_padding_is_grey_and_invalid_and_lies_right_and_below() -> None:
    batch = collate([sized("a", (2, 6), (4, 3), True), sized("b", (4, 3), (2, 5), True)], pad=True)
    assert batch.image.shape == (2, 3, 4, 6) and batch.target.shape == batch.valid.shape == (2, 1, 4, 5)
    for view in (batch.image, batch.right):
        inside = torch.zeros(2, 3, 4, 6, dtype=torch.bool)
        inside[0, :, :2, :6] = inside[1, :, :4, :3] = True
        assert set(view[inside].tolist()) == {float(torch.tensor(200.0) / 255)}
        assert set(view[~inside].tolist()) == {0.5}  # exactly what LiteDepth's normalisation makes 0
    assert batch.valid[0, 0, :, :3].all() and batch.valid[1, 0, :2].all() and int(batch.valid.sum()) == 22
    assert torch.equal(batch.target, 2.0 * batch.valid)


def test_padding_changes_nothing_where_sizes_are_equal() -> None:
    items = [sized("a", (4, 6), (4, 6)), sized("b", (4, 6), (4, 6))]
    for what in ("image", "target", "valid"):
        assert torch.equal(getattr(collate(items), what), getattr(collate(items, pad=True), what))


@pytest.mark.parametrize("workers", [0, 1])
def test_the_loader_pads_when_asked(workers: int) -> None:
    batch = next(loader([Part(numbers(4), 4, grown)], seed=0, workers=workers, pad=True)(0))
    assert batch.image.shape == (4, 3, 4, 6) and batch.target.shape == (4, 1, 2, 6)


@pytest.mark.parametrize(
    ("cores", "beside_a_net", "beside_a_gpu"),
    [(1, [0, 0, 0], [1, 1, 1]), (2, [0, 0, 0], [1, 1, 1]), (8, [3, 1, 0], [7, 3, 1]), (64, [8, 4, 0], [16, 8, 1])],
)
def test_each_process_has_its_share_of_the_workers_and_a_net_on_two_cores_has_none(
    cores: int, beside_a_net: list[int], beside_a_gpu: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leadline.data.loader.usable_cores", lambda: cores)
    for gpu, wanted in ((False, beside_a_net), (True, beside_a_gpu)):
        assert [enough_workers(world, gpu) for world in (1, 2, 64)] == wanted


def test_held_out_items_are_whole_blocks_and_nothing_is_lost() -> None:
    rest, kept = hold_out(numbers(100), every=5, block=10)
    assert kept.keys == (*range(40, 50), *range(90, 100))
    assert sorted(rest.keys + kept.keys) == list(range(100))
    assert subset(rest, [1, 0]).keys == (1, 0)
