"""Stereo pairs as training material: both views are changed alike, and a mirrored pair is a pair."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from leadline.cli.main import main
from leadline.core.errors import BadData
from leadline.core.types import Item
from leadline.data.dataset import Dataset
from leadline.data.layouts.detect import open_dataset
from leadline.data.options import Stereo
from leadline.data.synthetic.dataset import BASELINE_M, FOCAL, synthetic, write
from leadline.data.transforms.stereo import (
    augment_pair,
    focal_times_baseline,
    mirror_pair,
    open_pairs,
    with_valid_depth,
)

SIZE = (8, 16)
STILL = Stereo(flip=0.0, colours=0.0)


def pair(size: tuple[int, int] = SIZE) -> Item:
    draw = np.random.default_rng(0)
    image, right = draw.integers(0, 256, (2, *size, 3), dtype=np.uint8)
    camera = np.array([[10.0, 0, 6], [0, 10, 4], [0, 0, 1]])
    return Item(image, np.ones(size, np.float32), np.ones(size, bool), "pair", camera, right, 0.5)


def changed(sample: Item, how: Stereo, seed: int = 0, size: tuple[int, int] = SIZE) -> Item:
    return augment_pair(sample, np.random.default_rng(seed), size, how)


def test_a_mirrored_pair_exchanges_its_views_and_knows_no_depth() -> None:
    sample = pair()
    turned = changed(sample, replace(STILL, flip=1.0))
    assert np.array_equal(turned.image, sample.right[:, ::-1]) and np.array_equal(turned.right, sample.image[:, ::-1])
    assert not turned.valid.any() and not turned.target.any()
    assert turned.intrinsics[0, 2] == 15 - 6 and sample.intrinsics[0, 2] == 6
    again = mirror_pair(turned)
    assert np.array_equal(again.image, sample.image) and np.array_equal(again.right, sample.right)


def test_a_mirror_keeps_the_sign_of_the_disparity() -> None:
    left, right = np.zeros((2, 4, 16, 3), np.uint8)
    left[:, 9], right[:, 6] = 255, 255  # three pixels further left in the right view
    sample = Item(left, np.zeros((4, 16), np.float32), np.zeros((4, 16), bool), "post", right=right)
    turned = mirror_pair(sample)
    assert int(turned.image[0, :, 0].argmax()) - int(turned.right[0, :, 0].argmax()) == 3


def test_nothing_drawn_leaves_the_pair_as_it_is() -> None:
    sample = pair()
    still = changed(sample, STILL)
    assert np.array_equal(still.image, sample.image) and np.array_equal(still.right, sample.right) and still.valid.all()


def test_colours_change_alike_in_both_views_by_gamma_brightness_and_tint() -> None:
    sample = pair()
    same = replace(sample, right=sample.image)
    how = Stereo(flip=0.0, colours=1.0, gamma=(1.2, 1.2), brightness=(1.5, 1.5), tint=(0.8, 0.8))
    new = changed(same, how)
    assert np.array_equal(new.image, new.right)
    expected = ((sample.image / 255) ** 1.2 * 1.5 * 0.8).clip(0, 1) * 255
    assert np.abs(new.image - expected).max() <= 0.5 + 1e-9
    drawn = [changed(sample, Stereo(flip=0.0, colours=1.0), seed) for seed in range(20)]
    assert len({view.image.tobytes() for view in drawn}) == 20


def test_each_is_drawn_with_its_probability() -> None:
    sample = pair()
    kinds = []
    for seed in range(400):
        new = changed(sample, Stereo(), seed)
        flipped = not new.valid.any()
        plain = sample.right[:, ::-1] if flipped else sample.image
        kinds.append((flipped, not np.array_equal(new.image, plain)))
    assert 0.42 < np.mean([flipped for flipped, _ in kinds]) < 0.58
    assert 0.42 < np.mean([coloured for _, coloured in kinds]) < 0.58
    assert 0.17 < np.mean([flipped and coloured for flipped, coloured in kinds]) < 0.33  # apart from each other


def test_the_bonnet_is_cut_away_before_the_views_are_resized() -> None:
    sample = pair((10, 16))
    cut = changed(sample, replace(STILL, cut_bottom=0.2))
    assert np.array_equal(cut.image, sample.image[:8]) and np.array_equal(cut.right, sample.right[:8])
    assert cut.target.shape == cut.valid.shape == SIZE


def test_both_views_get_the_training_size_and_intrinsics_follow() -> None:
    small = changed(pair(), STILL, size=(4, 8))
    assert small.image.shape == small.right.shape == (4, 8, 3) and small.target.shape == (4, 8)
    assert small.intrinsics[0, 0] == 5 and small.baseline_m == 0.5


def test_an_item_without_a_right_view_is_refused() -> None:
    with pytest.raises(ValueError, match="pair has no right view"):
        changed(replace(pair(), right=None), STILL)


def test_focal_times_baseline_is_focal_length_over_width_times_baseline() -> None:
    data = Dataset("two", (0, 1), lambda _: pair())
    assert focal_times_baseline([data]) == pytest.approx(10 / 16 * 0.5)
    with pytest.raises(BadData, match="left and right swapped"):
        focal_times_baseline([Dataset("swapped", (0,), lambda _: replace(pair(), baseline_m=-0.5))])
    other = Dataset("other", (0,), lambda _: replace(pair(), baseline_m=0.504))
    assert focal_times_baseline([data, other]) == pytest.approx(10 / 16 * 0.502)  # within 1 %
    with pytest.raises(BadData, match=r"0\.3125 m in two and 0\.3187 m in wide"):
        focal_times_baseline([data, Dataset("wide", (0,), lambda _: replace(pair(), baseline_m=0.51))])


def test_items_without_depth_are_not_measured() -> None:
    blind = replace(pair(), valid=np.zeros(SIZE, bool))
    data = Dataset("some", (0, 1, 2), lambda i: blind if i == 1 else pair())
    assert with_valid_depth(data).keys == (0, 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scales": 0}, "scales is 0; one of 1, 2, 3, 4 is needed"),
        ({"scales": 5}, "scales is 5"),
        ({"flip": 1.5}, "flip is 1.5; a number from 0 to 1"),
        ({"colours": -0.1}, "colours is -0.1; a number from 0 to 1"),
        ({"ssim": float("nan")}, "ssim is nan; a number from 0 to 1"),
        ({"smoothness": -1.0}, "smoothness is -1.0; a finite number of 0 or more"),
        ({"consistency": float("nan")}, "consistency is nan"),
        ({"gamma": (1.2, 0.8)}, "gamma is (1.2, 0.8); a pair of finite numbers above 0, the lower one first"),
        ({"brightness": (0.0, 1.0)}, "brightness is (0.0, 1.0)"),
        ({"tint": (0.8, float("nan"))}, "tint is (0.8, nan)"),
        ({"cut_bottom": 1.0}, "cut_bottom is 1.0; a number of at least 0 and below 1"),
    ],
)
def test_options_that_make_no_sense_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        Stereo(**changes)


def test_a_folder_without_right_views_is_refused(tmp_path: Path) -> None:
    for part in ("images", "depth"):
        (tmp_path / part).mkdir()
    Image.fromarray(pair().image).save(tmp_path / "images" / "a.png")
    Image.fromarray(np.ones(SIZE, np.uint16)).save(tmp_path / "depth" / "a.png")
    (tmp_path / "dataset.toml").write_text('split = "train"\n')
    with pytest.raises(BadData, match=r"no stereo pairs.*image_02/data \(left\) and image_03/data \(right\)"):
        open_pairs(tmp_path)


@pytest.mark.parametrize("kind", ["street", "mixed"])
def test_written_pairs_return_with_right_view_depth_and_baseline(tmp_path: Path, kind: str) -> None:
    data = synthetic(2, kind=kind, size=(24, 48), stereo=True)  # type: ignore[arg-type]
    assert write(data, tmp_path, workers=1, split="train") == 2
    assert write(data, tmp_path, workers=1, split="train") == 0
    again, drawn = open_pairs(tmp_path), {s.name: s for s in (data[0], data[1])}
    assert len(again) == len(open_dataset(tmp_path)) == 2
    for i in range(2):
        sample = again[i]
        truth = drawn[Path(sample.name).name]
        assert np.abs(sample.right.astype(float) - truth.right).mean() < 8  # JPEG
        assert np.allclose(sample.intrinsics, truth.intrinsics) and sample.baseline_m == pytest.approx(truth.baseline_m)
        assert np.abs(sample.target - truth.target).max() <= 0.0021 and np.array_equal(sample.valid, truth.valid)
    if kind == "street":
        assert focal_times_baseline([again]) == pytest.approx(FOCAL["street"] * BASELINE_M["street"])


def test_the_command_line_draws_pairs(tmp_path: Path) -> None:
    words = f"data synth {tmp_path / 'streets'} --n 1 --kind street --size 16 32 --stereo --workers 1 --split train"
    assert main(words.split()) == 0
    assert open_pairs(tmp_path / "streets")[0].right is not None
    with pytest.raises(BadData, match="other data"):
        write(synthetic(1, kind="street", size=(16, 32)), tmp_path / "streets", workers=1, split="train")


def test_the_real_drive_has_123_pairs_to_learn_from(shared_data: Path) -> None:
    data = open_pairs(shared_data / "drive")
    assert len(data) == 123 and focal_times_baseline([data]) == pytest.approx(0.3095, abs=2e-4)
