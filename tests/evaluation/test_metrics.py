"""Metrics agree with their slow twins and obey their laws."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import reference

from leadline.evaluation.metrics import HIGHER_IS_BETTER, MAP_METRICS, METRICS, boundary_f1, measure, worse_by

ALL = (*METRICS, *MAP_METRICS)
SCALE_INVARIANT = ("silog", "si_rmse", "boundary_f1")


def maps(seed: int, size: tuple[int, int] = (9, 11)) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    target = rng.uniform(0.5, 9, size).astype(np.float32)
    return target * rng.uniform(0.6, 1.7, size).astype(np.float32), target, rng.random(size) < 0.8


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("seed", range(3))
def test_metrics_equal_their_twins(name: str, seed: int) -> None:
    pred, target, valid = maps(seed)
    expected = reference.metric(name, pred.astype(np.float64), target.astype(np.float64), valid)
    assert measure(pred, target, valid, [name])[name] == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("seed", range(3))
def test_boundary_f1_equals_its_twin(seed: int) -> None:
    pred, target, valid = maps(seed)
    pred = 0.3 * pred + 0.7 * target  # edges that agree in part
    expected = reference.boundary_f1(pred.astype(np.float64), target.astype(np.float64), valid)
    assert 0 < expected < 1
    assert boundary_f1(pred.astype(np.float64), target.astype(np.float64), valid) == pytest.approx(expected, rel=1e-9)


def test_a_perfect_prediction_gives_zero_or_one() -> None:
    _, target, valid = maps(0)
    for name, value in measure(target, target, valid, ALL).items():
        assert value == pytest.approx(1 if name in HIGHER_IS_BETTER else 0, abs=1e-12), name


@given(factor=st.floats(0.05, 20), seed=st.integers(0, 99))
def test_scale_invariant_metrics_ignore_scale(factor: float, seed: int) -> None:
    pred, target, valid = (x.astype(np.float64) if x.dtype != bool else x for x in maps(seed))
    once, twice = (measure(p, target, valid, SCALE_INVARIANT) for p in (pred, factor * pred))
    assert twice == pytest.approx(once, rel=1e-9)


@given(seed=st.integers(0, 99), garbage=st.sampled_from([math.nan, math.inf, -1.0, 0.0, 1e30]))
def test_invalid_pixels_never_matter(seed: int, garbage: float) -> None:
    pred, target, valid = maps(seed)
    clean = measure(pred, target, valid, ALL)
    assert measure(np.where(valid, pred, garbage), np.where(valid, target, garbage), valid, ALL) == clean


@given(seed=st.integers(0, 99))
def test_deltas_grow_and_lie_between_zero_and_one(seed: int) -> None:
    found = measure(*maps(seed))
    assert 0 <= found["delta1"] <= found["delta2"] <= found["delta3"] <= 1


def test_a_common_factor_of_both_maps_scales_lengths_only() -> None:
    pred, target, valid = maps(1)
    once, twice = measure(pred, target, valid, ALL), measure(2 * pred, 2 * target, valid, ALL)
    power = {"rmse": 2, "mae": 2, "sq_rel": 2, "irmse": 0.5, "imae": 0.5}
    assert twice == pytest.approx({name: value * power.get(name, 1) for name, value in once.items()}, rel=1e-6)


def test_a_constant_error_gives_the_number_by_hand() -> None:
    found = measure(np.full((2, 2), 2.5), np.full((2, 2), 2.0), np.ones((2, 2), bool))
    by_hand = {"abs_rel": 0.25, "sq_rel": 0.125, "rmse": 0.5, "mae": 0.5, "irmse": 100, "imae": 100}
    by_hand |= {"delta1": 0, "delta2": 1, "silog": 0, "log10": math.log10(1.25), "rmse_log": math.log(1.25)}
    assert {name: found[name] for name in by_hand} == pytest.approx(by_hand)


@pytest.mark.parametrize("bad", [0.0, -1.0])
def test_a_prediction_that_is_not_positive_misses_and_shows(bad: float) -> None:
    found = measure(np.array([[bad, 1.0]]), np.ones((1, 2)), np.ones((1, 2), bool))
    assert found["delta3"] == 0.5
    assert not math.isfinite(found["log10"])


def test_without_a_valid_pixel_every_metric_is_nan() -> None:
    pred, target, valid = maps(0)
    assert all(math.isnan(value) for value in measure(pred, target, valid & False, ALL).values())


def test_a_moved_edge_scores_less_than_the_right_one() -> None:
    target = np.ones((8, 8))
    target[:, 4:] = 3
    moved, soft = np.roll(target, 1, axis=1), np.ones((8, 8))
    soft[:, 3] = 2
    valid = np.ones((8, 8), bool)
    assert boundary_f1(moved, target, valid) < 0.5 * boundary_f1(5 * target, target, valid)
    assert boundary_f1(soft, np.ones((8, 8)), valid) == 0


def test_wrong_arguments_are_named() -> None:
    pred, target, valid = maps(0)
    with pytest.raises(ValueError, match=r"'rms' is unknown; allowed: delta1, .*boundary_f1"):
        measure(pred, target, valid, ["rms"])
    with pytest.raises(ValueError, match="differ in size"):
        measure(pred[1:], target, valid)
    with pytest.raises(ValueError, match="bool is needed"):
        measure(pred, target, valid.astype(int))


@pytest.mark.parametrize("name", [*METRICS, "boundary_f1"])
def test_worse_is_above_zero_whatever_the_sense_of_a_metric(name: str) -> None:
    better, worse = (0.9, 0.5) if name.startswith(("delta", "boundary")) else (0.5, 0.9)
    assert worse_by(name, better, worse) == pytest.approx(0.4)
    assert worse_by(name, worse, better) == pytest.approx(-0.4)
    assert worse_by(name, better, float("nan")) == float("inf") and worse_by(name, float("nan"), float("nan")) == 0
