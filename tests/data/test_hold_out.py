"""The validation split of a small data set: what is kept is never learned from, and there is enough of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from leadline.core.types import Item
from leadline.data.dataset import Dataset, hold_out, hold_out_few
from leadline.pipelines.training_data import split_validation
from leadline.training.options import Training


def data(*scenes: int) -> Dataset:
    """A data set whose scenes have so many images."""

    def read(key: str) -> Item:
        raise AssertionError("no image is read")

    names = [f"scene{number}/{i:03}" for number, n in enumerate(scenes) for i in range(n)]
    return Dataset("small", tuple(names), read)


SETS = [(24,), (1,) * 30, (8, 8, 8), (3, 40, 2, 2), (100, 7), (10, 9, 11, 12, 50), (60, 60, 60), (2, 2), (5,), (11, 12)]


@pytest.mark.parametrize("scenes", SETS)
def test_the_parts_are_disjoint_whole_and_the_same_each_time(scenes: tuple[int, ...]) -> None:
    whole = data(*scenes)
    rest, kept, _ = hold_out_few(whole)
    assert sorted([*rest.keys, *kept.keys]) == sorted(whole.keys)
    assert not set(rest.keys) & set(kept.keys)
    assert [one.keys for one in hold_out_few(whole)[:2]] == [rest.keys, kept.keys]
    assert list(kept.keys) == [key for key in whole.keys if key in set(kept.keys)]  # in their order


@pytest.mark.parametrize("scenes", SETS)
def test_at_least_eight_or_a_third_are_kept_and_at_most_half(scenes: tuple[int, ...]) -> None:
    n = sum(scenes)
    kept = hold_out_few(data(*scenes))[1]
    assert min(8, n // 3) <= len(kept) <= n // 2


@pytest.mark.parametrize(
    ("scenes", "expected"), [((8, 8, 8), {2}), ((3, 40, 2, 2, 5), {2, 3, 4}), ((9, 9, 40), {0, 1})]
)
def test_scenes_stay_whole_where_there_are_several(scenes: tuple[int, ...], expected: set[int]) -> None:
    rest, kept, whole = hold_out_few(data(*scenes))
    parts = [{key.split("/")[0] for key in one.keys} for one in (rest, kept)]
    assert whole and not parts[0] & parts[1]
    assert parts[1] <= {f"scene{number}" for number in expected}


def test_one_scene_is_cut_in_order_and_that_is_said() -> None:
    rest, kept, whole = hold_out_few(data(30))
    assert not whole and kept.keys == data(30).keys[-8:] and rest.keys == data(30).keys[:-8]


@pytest.mark.parametrize(("n", "expected"), [(2, None), (3, 1), (23, 7), (24, 8), (185, 8), (188, 8), (400, 40)])
def test_a_run_validates_on_what_a_small_set_can_spare(n: int, expected: int | None) -> None:
    said: list[str] = []
    rest, kept = split_validation(Training(data=("small",), out=Path("run")), data(n), said.append)
    assert (kept and len(kept)) == expected and len(rest) == n - (expected or 0)
    large = expected == len(hold_out(data(n))[1])
    assert len(said) == (not large)
    if expected and not large:
        assert f"{expected} are kept for validation" in said[0] and "--val-every 0" in said[0]


def test_nothing_is_kept_where_that_is_asked_for() -> None:
    run = replace(Training(data=("small",), out=Path("run")), val_every=0)
    assert split_validation(run, data(30), pytest.fail)[1] is None
