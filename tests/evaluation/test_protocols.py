"""Protocols compare exactly what their sources compare, and never change under their name."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support import reference

from leadline.core.spec import Kind
from leadline.core.types import Depth
from leadline.evaluation.metrics import METRICS
from leadline.evaluation.protocols import PROTOCOLS, Protocol, apply, find, match, misfit, protocol_hash

FRAME = (480, 640)
HASHES = {
    "nyu-eigen@1": "4bc0a6af8604",
    "kitti-eigen-garg@1": "3529c124f222",
    "kitti-eigen-raw@1": "e7b4fc8f9a25",
    "fastdepth-224@1": "e8a51aab8942",
    "indoor-metric@1": "718020d51ce6",
    "zeroshot-disparity@1": "446926242935",
    "zeroshot-depth@1": "0bce843b1e0a",
    "qai-nyu@1": "a859a544ef51",
    "mai2022@1": "14afe9607773",
    "top1@1": "2713f18c00e7",
    "miou@1": "45508ef860d8",
    "joint@1": "53d08d580218",
}
OF_DEPTH = {key: protocol for key, protocol in PROTOCOLS.items() if protocol.task == "depth"}
NUMBERS: dict[str, tuple[float, ...]] = {
    "nyu-eigen@1": (0.6612514, 0.9981872, 1.0, 0.2031287, 0.1972595, 0.907519, 0.2141061, 0.07974746, 18.10316),
    "kitti-eigen-garg@1": (0.6012636, 1.0, 1.0, 0.2188645, 0.299252, 1.299894, 0.2255878, 0.08541017, 18.74336),
    "kitti-eigen-raw@1": (0.5942473, 1.0, 1.0, 0.2057584, 0.2592554, 1.204726, 0.2146447, 0.08186828, 18.74336),
    "fastdepth-224@1": (0.534957, 0.8530971, 0.8559869, 1.991538, 1.169572, 0.2124159, 0.08290056, 105.2296, 77.14981),
    "indoor-metric@1": (
        0.6467881,
        0.9960731,
        1.0,
        0.2073428,
        0.1923297,
        0.8950728,
        0.217649,
        0.0810842,
        18.12828,
        0.1812828,
        0.6631624,
    ),
    "zeroshot-disparity@1": (0.7717839, 1.0, 1.0, 0.1451098, 0.08607922, 0.6073079, 0.1738466, 0.06385972, 17.2616),
    "zeroshot-depth@1": (
        0.701392,
        0.9665832,
        0.9994553,
        0.1835782,
        0.1054486,
        0.608362,
        0.2119316,
        0.0750553,
        20.61784,
    ),
    "qai-nyu@1": (0.7715923,),
    "mai2022@1": (0.1850442, 1.076274),
}


def picture(index: int, size: tuple[int, int] = FRAME) -> tuple[Depth, np.ndarray, np.ndarray]:
    """A prediction, a target with holes and its mask, written as formulas: the stored images of this file."""
    y, x = np.mgrid[: size[0], : size[1]] / np.array(size).reshape(2, 1, 1)
    target = 0.6 + 8.8 * y * x + 2 * (np.sin(9 * x + index) * np.cos(7 * y) > 0.4)
    pred = target * (1.1 + 0.3 * np.sin(11 * x + 5 * y + index)) + 0.1 * index
    valid = np.sin(40 * x + 31 * y) < 0.9
    return Depth(pred.astype(np.float32)), np.where(valid, target, 0).astype(np.float32), valid


def by_twins(protocol: Protocol, pred: np.ndarray, target: np.ndarray, counts: np.ndarray) -> dict[str, float]:
    low, high = protocol.depth_range
    clamped = np.minimum(np.maximum(pred.astype(np.float64), low), high)
    return {n: reference.metric(n, clamped, target.astype(np.float64), counts) for n in protocol.metrics}


def test_the_eigen_crop_is_426_by_560_pixels_of_a_480_by_640_frame() -> None:
    counts = match(
        PROTOCOLS["nyu-eigen@1"], Depth(np.full(FRAME, 2, np.float32)), np.full(FRAME, 2.0), np.ones(FRAME, bool)
    ).counts
    rows, columns = np.nonzero(counts)
    assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (45, 471, 41, 601)
    assert counts.sum() == 426 * 560


@pytest.mark.parametrize("name", ["kitti-eigen-garg@1", "kitti-eigen-raw@1"])
def test_the_garg_crop_of_a_kitti_frame_is_the_published_one(name: str) -> None:
    size = (375, 1242)
    counts = match(PROTOCOLS[name], Depth(np.full(size, 9, np.float32)), np.full(size, 9.0), np.ones(size, bool)).counts
    rows, columns = np.nonzero(counts)
    assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (153, 371, 44, 1197)
    assert counts.sum() == (371 - 153) * (1197 - 44)


@pytest.mark.parametrize("name", ["kitti-eigen-garg@1", "indoor-metric@1", "mai2022@1"])
def test_numbers_equal_those_of_the_slow_twins(name: str) -> None:
    protocol = PROTOCOLS[name]
    pred, target, valid = picture(1, (24, 40))
    target[3, 4], valid[3, 4] = 1e-4, True  # nearer than any range
    low, high = protocol.depth_range
    inside = np.zeros((24, 40), bool)
    top, bottom, left, right = protocol.crop or (0, 1, 0, 1)
    inside[math.floor(24 * top) : math.floor(24 * bottom), math.floor(40 * left) : math.floor(40 * right)] = True
    counts = valid & inside & (target > low) & (target < high)
    assert apply(protocol, pred, target, valid) == pytest.approx(
        by_twins(protocol, pred.values, target, counts), rel=1e-9
    )


def test_zero_shot_disparity_equals_a_polynomial_fit() -> None:
    protocol = PROTOCOLS["zeroshot-disparity@1"]
    pred, target, valid = picture(2, (24, 40))
    said = Depth((5 / pred.values - 0.3).astype(np.float32), "relative_disparity")
    slope, offset = np.polyfit(said.values[valid].astype(np.float64), 1 / target[valid].astype(np.float64), 1)
    metres = 1 / np.maximum(slope * said.values + offset, 1 / 80)
    assert apply(protocol, said, target, valid) == pytest.approx(by_twins(protocol, metres, target, valid), rel=1e-5)


def test_median_scaling_makes_the_medians_equal() -> None:
    pred, target, valid = picture(0, (375, 1242))
    found = match(PROTOCOLS["kitti-eigen-raw@1"], Depth(7 * pred.values, "relative_depth"), target, valid)
    assert np.median(found.pred[found.counts]) == pytest.approx(np.median(target[found.counts]), rel=1e-5)


def test_the_fastdepth_view_is_what_pillow_makes_of_the_frame() -> None:
    values = np.random.default_rng(0).uniform(0.5, 9, FRAME).astype(np.float32)
    step = Image.fromarray(values).resize((333, 250), Image.Resampling.NEAREST)
    step = step.crop((14, 11, 14 + 304, 11 + 228)).resize((224, 224), Image.Resampling.NEAREST)
    found = match(PROTOCOLS["fastdepth-224@1"], Depth(values), values, np.ones(FRAME, bool))
    assert found.target.shape == (224, 224)
    assert (found.target == np.asarray(step)).all()
    assert (found.pred == np.asarray(step)).all()
    assert found.counts.all()


def test_the_or_mask_counts_predictions_without_a_target_as_misses() -> None:
    protocol = PROTOCOLS["fastdepth-224@1"]
    target = np.full(FRAME, 2.0, np.float32)
    target[:, 320:] = 0
    said = Depth(np.full(FRAME, 2.2, np.float32))
    valid = target > 0
    found = apply(protocol, said, target, valid)
    half = match(protocol, said, target, valid).target.__gt__(0).mean()
    assert 0.4 < half < 0.6
    assert found["delta1"] == pytest.approx(half)
    assert found["rmse"] == pytest.approx(math.sqrt(half * 0.2**2 + (1 - half) * 2.2**2), rel=1e-6)
    assert found["abs_rel"] == pytest.approx(0.1, rel=1e-6)
    assert found["log10"] == pytest.approx(math.log10(1.1), rel=1e-6)
    silent = Depth(np.where(valid, 2.2, 0).astype(np.float32))
    assert apply(protocol, silent, target, valid)["delta1"] == 1


def test_fastdepth_does_not_clamp_but_nyu_eigen_does() -> None:
    target, valid = np.full(FRAME, 9.0), np.ones(FRAME, bool)
    said = Depth(np.full(FRAME, 12, np.float32))
    assert apply(PROTOCOLS["fastdepth-224@1"], said, target, valid)["rmse"] == pytest.approx(3)
    assert apply(PROTOCOLS["nyu-eigen@1"], said, target, valid)["rmse"] == pytest.approx(1)


@pytest.mark.parametrize("name", OF_DEPTH)
def test_a_perfect_prediction_is_perfect_under_every_protocol(name: str) -> None:
    _, target, valid = picture(1)
    found = apply(PROTOCOLS[name], Depth(np.where(valid, target, 1)), target, np.ones_like(valid) & valid)
    for metric, value in found.items():
        if PROTOCOLS[name].mask == "target":
            assert value == pytest.approx(1 if metric.startswith("delta") else 0, abs=1e-5), metric


@pytest.mark.parametrize("name", OF_DEPTH)
@given(garbage=st.sampled_from([math.nan, math.inf, -5.0, 1e9]))
def test_invalid_targets_never_matter(name: str, garbage: float) -> None:
    pred, target, valid = picture(0)
    assert apply(PROTOCOLS[name], pred, np.where(valid, target, garbage), valid) == apply(
        PROTOCOLS[name], pred, target, valid
    )


def test_pixels_that_a_prediction_leaves_out_count_with_its_nearest_value() -> None:
    protocol = PROTOCOLS["indoor-metric@1"]
    target, valid = np.full((4, 6), 2.0), np.ones((4, 6), bool)
    seen = valid.copy()
    seen[:, 4:] = False
    values = np.full((4, 6), 2.0, np.float32)
    values[:, 3], values[:, 4:] = 3, np.nan
    found = match(protocol, Depth(values, "metric", seen), target, valid)
    assert found.n_filled == 8
    assert found.counts.all()
    assert (found.pred[:, 3:] == 3).all()
    assert apply(protocol, Depth(values, "metric", seen), target, valid)["delta1"] == 0.5


def test_a_prediction_of_another_size_is_brought_to_the_target() -> None:
    target, valid = np.full((48, 64), 3.0), np.ones((48, 64), bool)
    found = match(PROTOCOLS["indoor-metric@1"], Depth(np.full((12, 20), 3, np.float32)), target, valid)
    assert found.pred.shape == (48, 64)
    np.testing.assert_allclose(found.pred, 3)


def test_with_nothing_to_compare_every_number_is_nan() -> None:
    pred, target, valid = picture(0)
    for protocol in OF_DEPTH.values():
        assert all(math.isnan(v) for v in apply(protocol, pred, target, valid & False).values()), protocol.id
        blind = Depth(np.full(FRAME, np.nan, np.float32))
        assert all(math.isnan(v) for v in apply(protocol, blind, target, valid).values()), protocol.id


@pytest.mark.parametrize("name", ["nyu-eigen@1", "fastdepth-224@1"])
def test_a_frame_of_another_size_is_refused_with_the_cure(name: str) -> None:
    pred, target, valid = picture(0, (240, 320))
    with pytest.raises(
        ValueError, match=r"is defined on 480x640 targets, this one is 240x320; use one of: .*indoor-metric@1"
    ):
        apply(PROTOCOLS[name], pred, target, valid)


@pytest.mark.parametrize("kind", ["relative_depth", "relative_disparity"])
def test_relative_predictions_are_refused_where_metres_are_judged(kind: Kind) -> None:
    pred, target, valid = picture(0)
    said = Depth(pred.values, kind)
    with pytest.raises(ValueError, match=rf"nyu-eigen@1 .* cannot judge {kind}; use one of: .*zeroshot-disparity@1"):
        apply(PROTOCOLS["nyu-eigen@1"], said, target, valid)
    fitting = [p for p in PROTOCOLS.values() if misfit(p, kind, FRAME) is None]
    assert all(apply(p, said, target, valid) for p in fitting)
    assert "zeroshot-disparity@1" in {p.id for p in fitting}


def test_names_are_found_and_wrong_ones_get_the_nearest() -> None:
    assert find("nyu-eigen@1") is PROTOCOLS["nyu-eigen@1"]
    with pytest.raises(ValueError, match=r"'nyu-eigen' is unknown; nearest: nyu-eigen@1"):
        find("nyu-eigen")


def test_what_changes_numbers_changes_the_hash_and_words_do_not() -> None:
    protocol = PROTOCOLS["nyu-eigen@1"]
    assert protocol_hash(replace(protocol, source="other words")) == protocol_hash(protocol)
    changed = [replace(protocol, clamp=False), replace(protocol, version=2), replace(protocol, depth_range=(0.1, 10.0))]
    assert len({protocol_hash(p) for p in (protocol, *changed)}) == 4
    assert len({protocol_hash(p) for p in PROTOCOLS.values()}) == len(PROTOCOLS)


def test_every_protocol_is_filed_under_its_id_and_asks_for_known_metrics() -> None:
    for key, protocol in PROTOCOLS.items():
        assert key == protocol.id
        assert protocol.task != "depth" or set(protocol.metrics) <= set(METRICS)
        assert protocol.source


def test_published_protocols_keep_their_hash() -> None:
    """A hash that changes means a protocol changed under its name: give it a new version instead."""
    assert {key: protocol_hash(p) for key, p in PROTOCOLS.items()} == HASHES


@pytest.mark.parametrize("name", OF_DEPTH)
def test_published_protocols_keep_their_numbers_on_three_stored_images(name: str) -> None:
    protocol = PROTOCOLS[name]
    found = [apply(protocol, *picture(i)) for i in range(3)]
    means = tuple(sum(f[m] for f in found) / 3 for m in protocol.metrics)
    assert means == pytest.approx(NUMBERS[name], rel=2e-5)
