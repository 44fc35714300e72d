"""Frames from the cache are the frames that were decoded, whatever happened to its files."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from support import tiny_streets
from support.tiny_classes import write_batches

from leadline.core.errors import BadData
from leadline.core.types import Item
from leadline.data.cache import SUFFIX, cached
from leadline.data.dataset import Dataset, subset
from leadline.data.layouts.detect import open_dataset

READS: list[int] = []


def read(key: int, right: bool = False, taught: bool = False) -> Item:
    """Frames of two sizes, the second without a multiple of eight pixels; `right` gives them a camera beside, `taught`
    a teacher's answer.
    """
    READS.append(key)
    rng = np.random.default_rng(key)
    size = (48, 64) if key % 2 else (21, 33)
    image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    valid = rng.random(size) < 0.7
    depth = np.where(valid, rng.random(size) * 80, 0).astype(np.float32)
    camera = np.array([[50.0, 0, 31.5], [0, 51, 23.5], [0, 0, 1]]) if right else None
    answer = rng.random(size, np.float32) if taught else None
    kind = "relative_depth" if taught else "metric"
    other = image[:, ::-1].copy() if right else None
    return Item(image, depth, valid, f"a/{key}", camera, other, 0.54, answer, kind)


def frames(n: int = 6, **bound: bool) -> Dataset:
    return Dataset("frames", tuple(range(n)), partial(read, **bound))


def same(a: Item, b: Item) -> bool:
    arrays = all(
        np.array_equal(getattr(a, k), getattr(b, k)) and getattr(a, k).dtype == getattr(b, k).dtype
        for k in ("image", "target", "valid")
    )
    views = [(a.right, b.right), (a.intrinsics, b.intrinsics), (a.pseudo_depth, b.pseudo_depth)]
    others = all((x is None) == (y is None) and (x is None or np.array_equal(x, y)) for x, y in views)
    return arrays and others and (a.name, a.baseline_m, a.pseudo_kind) == (b.name, b.baseline_m, b.pseudo_kind)


def equal(a: Dataset, b: Dataset) -> bool:
    return len(a) == len(b) and all(same(a[i], b[i]) for i in range(len(a)))


@pytest.fixture(autouse=True)
def nothing_read() -> None:
    READS.clear()


def test_classes_are_shrunk_to_classes_and_maps_of_them_are_kept(tmp_path: Path) -> None:
    tiny_streets.write(tmp_path / "streets", "train", 2, 0)
    write_batches(tmp_path / "cifar", "data_batch_1", 12, 0)
    sets = [open_dataset(tmp_path / name) for name in ("streets", "cifar")]
    streets, cifar = cached(sets, tmp_path / "cache", gb=0.01, height=18)
    whole, item = sets[0][1], streets[1]
    assert item.image.shape == (18, 24, 3) and item.target.dtype == np.int64 and item.valid.dtype == bool
    assert any(np.array_equal(item.target, whole.target[i::2, j::2]) for i in (0, 1) for j in (0, 1))
    assert cifar[7].image.shape == (18, 18, 3) and cifar[7].target.shape == () and int(cifar[7].target) == 7
    assert (streets.classes, cifar.classes) == (sets[0].classes, sets[1].classes)
    assert len(list(tmp_path.glob(f"cache/*{SUFFIX}"))) == 1  # CIFAR's layout keeps its own in memory


@pytest.mark.parametrize(("right", "taught"), [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("height", [None, 24])
def test_kept_frames_equal_decoded_ones(tmp_path: Path, right: bool, taught: bool, height: int | None) -> None:
    data = frames(right=right, taught=taught)
    [plain] = cached([data], tmp_path, gb=0, height=height)
    [kept] = cached([data], tmp_path, gb=1, height=height)
    READS.clear()
    held = [kept[i] for i in range(len(kept))]
    assert not READS
    assert all(same(a, plain[i]) for i, a in enumerate(held))
    assert kept.name == data.name
    assert max(s.image.shape[0] for s in held) == (height or 48)


def test_a_second_run_decodes_nothing(tmp_path: Path) -> None:
    cached([frames()], tmp_path, gb=1)
    READS.clear()
    [again] = cached([frames()], tmp_path, gb=1)
    assert not READS
    assert equal(again, frames())


def halved(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def one_bit_turned(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[1000] ^= 4
    path.write_bytes(content)


def index_overwritten(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-60] ^= 4
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [halved, emptied, one_bit_turned, index_overwritten])
def test_a_damaged_file_is_made_anew(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    cached([frames()], tmp_path, gb=1)
    [file] = tmp_path.iterdir()
    whole = file.read_bytes()
    damage(file)
    READS.clear()
    assert equal(cached([frames()], tmp_path, gb=1)[0], frames())
    assert READS
    assert file.read_bytes() == whole


def test_a_run_that_is_stopped_while_it_decodes_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        cached([Dataset("frames", (*range(6), 6), stops)], tmp_path, gb=1)
    assert not list(tmp_path.iterdir())


def stops(key: int) -> Item:
    if key == 6:
        raise KeyboardInterrupt
    return read(key)


def test_the_first_frames_are_kept_as_far_as_the_bound_goes(tmp_path: Path) -> None:
    said: list[str] = []
    cached([frames(40)], tmp_path, gb=1)
    [whole] = (path.stat().st_size for path in tmp_path.iterdir())
    [part] = cached([frames(40)], tmp_path, gb=whole / 2e9, say=said.append)
    [file] = tmp_path.iterdir()
    assert 0.3 * whole < file.stat().st_size <= whole / 2
    assert "do not fit and are decoded each time" in said[-1]
    READS.clear()
    assert equal(part, frames(40))
    assert (READS.count(0), READS.count(39)) == (1, 2)  # one reading is that of the comparison
    READS.clear()
    cached([frames(40)], tmp_path, gb=whole / 2e9)
    assert not READS  # a part is kept as it is,
    cached([frames(40)], tmp_path, gb=1)
    assert len(READS) > 39  # until there is room for more


def test_two_data_sets_share_the_bound_and_old_files_give_way(tmp_path: Path) -> None:
    cached([frames(40)], tmp_path, gb=1)
    [old] = tmp_path.iterdir()
    size = old.stat().st_size
    os.utime(old, (1, 1))
    first, second = (Dataset(name, tuple(range(40)), read) for name in ("one", "two"))
    both = cached([first, second], tmp_path, gb=1.5 * size / 1e9)
    assert not old.exists()
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 1.5 * size
    assert equal(both[0], first) and equal(both[1], second)


def test_what_was_used_last_gives_way_last(tmp_path: Path) -> None:
    for name, when in (("one", 100), ("two", 200)):
        before = set(tmp_path.iterdir())
        cached([Dataset(name, tuple(range(40)), read)], tmp_path, gb=1)
        [made] = set(tmp_path.iterdir()) - before
        os.utime(made, (when, when))
    size = made.stat().st_size
    cached([Dataset("one", tuple(range(40)), read)], tmp_path, gb=1)  # used again
    cached([Dataset("three", tuple(range(40)), read)], tmp_path, gb=2.2 * size / 1e9)
    assert not made.exists()  # two
    READS.clear()
    cached([Dataset("one", tuple(range(40)), read)], tmp_path, gb=1)
    assert not READS


def test_a_changed_file_or_another_way_of_reading_is_another_data_set(
    tmp_path: Path, room_folder: Callable[..., Path]
) -> None:
    root, cache = room_folder(), tmp_path / "cache"
    data = open_dataset(root, "train")
    assert equal(cached([data], cache, gb=1)[0], data)
    assert equal(cached([open_dataset(root, "train")], cache, gb=1)[0], data)
    assert len(list(cache.iterdir())) == 1
    cached([data], cache, gb=1, height=16)
    cached([open_dataset(root, "train", max_depth=1.0)], cache, gb=1)
    cached([subset(data, range(3))], cache, gb=1)
    assert len(list(cache.iterdir())) == 4
    some = next((root / "depth").iterdir())
    os.utime(some, (5, 5))
    cached([open_dataset(root, "all")], cache, gb=1)
    cached([data], cache, gb=1)
    assert len(list(cache.iterdir())) == 6


def test_a_reader_without_a_name_is_never_mistaken_for_another(tmp_path: Path) -> None:
    [kept] = cached([Dataset("frames", (1, 2), lambda key: read(key))], tmp_path, gb=1)
    assert not list(tmp_path.iterdir())
    assert equal(kept, Dataset("frames", (1, 2), read))


def test_drafts_of_killed_runs_are_swept_and_those_of_others_left(tmp_path: Path) -> None:
    old, fresh = tmp_path / f".old{SUFFIX}", tmp_path / f".fresh{SUFFIX}"
    for path in (old, fresh):
        path.write_bytes(b"x")
    os.utime(old, (1, 1))
    cached([frames()], tmp_path, gb=1)
    assert fresh.exists() and not old.exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadData, match="LEADLINE_CACHE"):
        cached([frames()], tmp_path / "file" / "cache", gb=1)
    with pytest.raises(ValueError, match="gb is -1"):
        cached([frames()], tmp_path, gb=-1)


def test_runs_that_make_the_same_file_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: cached([frames(40)], tmp_path, gb=1)[0], range(4)))
    assert len(list(tmp_path.iterdir())) == 1
    assert all(equal(data, frames(40)) for data in made)
