"""Saved depth maps as predictions: which is for which frame, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from leadline.core.errors import BadData
from leadline.core.spec import Kind
from leadline.core.types import Item
from leadline.data.dataset import Dataset, subset
from leadline.data.map_folder import open_map_folder
from leadline.evaluation.evaluate import evaluate_all
from leadline.evaluation.predictions import Paired, pair

SIZE = (12, 16)


class Key(NamedTuple):
    name: str


def truth(name: str) -> np.ndarray:
    return np.full(SIZE, 1.0 + len(name), np.float32) + np.linspace(0, 1, SIZE[1], dtype=np.float32)


def frames(*names: str) -> Dataset:
    def read(key: Key) -> Item:
        return Item(np.zeros((*SIZE, 3), np.uint8), truth(key.name), np.ones(SIZE, bool), key.name)

    return Dataset("made", tuple(map(Key, names)), read)


def saved(root: Path, maps: dict[str, np.ndarray]) -> Path:
    for name, values in maps.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(root / name, values)
    return root


def paired(root: Path, data: Dataset, kind: Kind = "metric", **how: bool) -> Paired:
    return pair(open_map_folder(root, kind, 1.0 if kind == "metric" else None), data, **how)


def delta1(found: Paired, protocol: str = "indoor-metric@1") -> tuple[float, int | None, Sequence[str]]:
    report = evaluate_all(found, found.frames, [protocol], by_sample=True)[0]
    return report.metrics["delta1"], report.n, report.context["skipped"]


def test_maps_are_paired_by_path_or_by_the_last_part_of_a_name(tmp_path: Path) -> None:
    root = saved(tmp_path, {"1/a.npy": truth("1/a"), "b_depth.npy": truth("2/bb")})
    found = paired(root, frames("1/a", "2/b"))
    assert found.missing == () and found.unused == ()
    score, n, _ = delta1(found)
    assert n == 2 and score > 0.5


def test_a_perfect_map_is_perfect_whatever_its_size_and_kind(tmp_path: Path) -> None:
    data = frames("a")
    assert delta1(paired(saved(tmp_path / "m", {"a.npy": truth("a")}), data)) == (1.0, 1, [])
    small = saved(tmp_path / "s", {"a.npy": truth("a")[::2, ::2]})
    assert delta1(paired(small, data))[0] == 1.0
    disparity = saved(tmp_path / "d", {"a.npy": 3 / truth("a") - 0.2})
    assert delta1(paired(disparity, data, "relative_disparity"), "zeroshot-disparity@1")[0] == 1.0


def test_zeros_and_nan_are_no_prediction_and_are_counted(tmp_path: Path) -> None:
    values = truth("a")
    values[0], values[1] = 0, np.nan
    found = paired(saved(tmp_path, {"a.npy": values}), frames("a"))
    report = evaluate_all(found, found.frames, ["indoor-metric@1"], by_sample=True)[0]
    assert report.context["n_filled"] == 2 * SIZE[1]


def test_missing_frames_are_counted_and_named_and_refused_unless_allowed(tmp_path: Path) -> None:
    root, data = saved(tmp_path, {"a.npy": truth("a")}), frames("a", "b", "c", "d", "e")
    with pytest.raises(BadData, match=r"no depth map for 4 of 5 frames: b, c, d and 1 more\. It holds a\.npy"):
        paired(root, data)
    found = paired(root, data, allow_missing=True)
    assert found.missing == ("b", "c", "d", "e") and delta1(found)[1] == 1
    with pytest.raises(BadData, match="no depth map for 1 of 1 frames: x"):
        paired(root, frames("x"), allow_missing=True)


def test_extra_maps_are_named_but_not_those_of_other_frames_of_the_set(tmp_path: Path) -> None:
    root = saved(tmp_path, {"a.npy": truth("a"), "b.npy": truth("b"), "notes.npy": truth("a")})
    data = frames("a", "b")
    maps = open_map_folder(root, "metric", 1.0)
    assert pair(maps, subset(data, [0])).unused == ("b.npy", "notes.npy")
    assert pair(maps, subset(data, [0]), of=data).unused == ("notes.npy",)


def test_one_map_for_two_frames_is_refused(tmp_path: Path) -> None:
    root = saved(tmp_path, {"a.npy": truth("a")})
    with pytest.raises(BadData, match=r"a\.npy would be for several frames, 1/a and 2/a"):
        paired(root, frames("1/a", "2/a"))


def test_a_map_of_another_shape_stops_the_evaluation(tmp_path: Path) -> None:
    root = saved(tmp_path, {"a.npy": np.ones((16, 12), np.float32)})
    with pytest.raises(
        ValueError, match=r"a\.npy is \(16, 12\), the picture a \(12, 16\): not one shape \(turned by 90"
    ):
        delta1(paired(root, frames("a")))


@pytest.mark.parametrize("spoil", ["empty", "cut", "zero"])
def test_an_unusable_map_is_never_left_out_in_silence(tmp_path: Path, spoil: str) -> None:
    root = saved(tmp_path, {"a.npy": truth("a"), "b.npy": np.zeros(SIZE, np.float32)})
    if spoil != "zero":
        (root / "b.npy").write_bytes(b"" if spoil == "empty" else (root / "b.npy").read_bytes()[:200])
    with pytest.raises(ValueError, match=r"b\.npy .*--allow-missing"):
        delta1(paired(root, frames("a", "b")))
    score, n, skipped = delta1(paired(root, frames("a", "b"), allow_missing=True))
    assert (score, n) == (1.0, 1) and "b.npy" in skipped[0]


def test_frames_whose_keys_have_no_name_are_read_for_it(tmp_path: Path) -> None:
    data = frames("a", "b")
    bare = Dataset("bare", (0, 1), lambda i: data[i])
    assert paired(saved(tmp_path, {"a.npy": truth("a"), "b.npy": truth("b")}), bare).missing == ()
