"""Disparity, cameras and alignment obey their laws, also where there is nothing to align."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadline.core.geometry import (
    ALIGNMENTS,
    Alignment,
    align,
    crop_intrinsics,
    depth_to_disparity,
    disparity_to_depth,
    extend,
    project,
    scale_intrinsics,
    unproject,
)
from leadline.core.spec import Kind
from leadline.core.types import Depth

CAMERA = np.array([[500.0, 0, 319.5], [0, 510.0, 239.5], [0, 0, 1]])
EVERYWHERE = np.ones((6, 8), bool)


def scene(seed: int = 0, size: tuple[int, int] = (6, 8)) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.7, 9, size)


@given(seed=st.integers(0, 99), factor=st.floats(0.1, 500))
def test_disparity_and_back_is_the_same_depth(seed: int, factor: float) -> None:
    depth = scene(seed)
    back = disparity_to_depth(depth_to_disparity(depth, factor=factor), max_depth=100, factor=factor)
    np.testing.assert_allclose(back, depth)


def test_no_depth_is_zero_disparity_and_zero_disparity_the_farthest_depth() -> None:
    assert depth_to_disparity(np.array([0, -1, np.nan, np.inf, 4])).tolist() == [0, 0, 0, 0, 0.25]
    assert disparity_to_depth(np.array([0, -3.0, 1e-9, 0.5]), max_depth=80).tolist() == [80, 80, 80, 2]


@given(seed=st.integers(0, 99))
def test_project_undoes_unproject(seed: int) -> None:
    depth, valid = scene(seed), np.random.default_rng(seed).random((6, 8)) < 0.7
    points = unproject(depth, CAMERA, valid)
    pixels, z = project(points, CAMERA)
    rows, columns = np.nonzero(valid)
    np.testing.assert_allclose(pixels, np.stack([columns, rows], axis=1), atol=1e-9)
    np.testing.assert_allclose(z, depth[valid])


def test_the_optical_axis_points_forward_and_x_to_the_right() -> None:
    depth = np.zeros((480, 640))
    depth[239:241, 319:321] = 2
    points = unproject(depth, CAMERA)
    np.testing.assert_allclose(points.mean(axis=0), [0, 0, 2], atol=1e-12)
    assert points[1, 0] > points[0, 0]
    assert points[2, 1] > points[0, 1]


def test_points_behind_the_camera_have_no_pixel() -> None:
    pixels, z = project(np.array([[0, 0, -1.0], [0, 0, 0], [0, 0, 1]]), CAMERA)
    assert np.isnan(pixels[:2]).all()
    assert pixels[2].tolist() == [319.5, 239.5]
    assert z.tolist() == [-1, 0, 1]


def test_resized_and_cropped_cameras_see_the_same_rays() -> None:
    half = scale_intrinsics(CAMERA, (480, 640), (240, 320))
    assert half.tolist() == [[250, 0, 159.5], [0, 255, 119.5], [0, 0, 1]]  # the centre stays the centre
    np.testing.assert_allclose(scale_intrinsics(half, (240, 320), (480, 640)), CAMERA)
    point = np.array([[0.3, -0.2, 2.0]])
    whole, cropped = project(point, CAMERA)[0], project(point, crop_intrinsics(CAMERA, 10, 20))[0]
    np.testing.assert_allclose(whole - cropped, [[20, 10]])


def test_extend_takes_the_nearest_pixel_of_the_row_then_the_nearest_row() -> None:
    values = np.array([[9.0, 9, 9, 9], [9, 1, 9, 4], [9, 9, 9, 9], [9, 9, 9, 9], [9, 9, 7, 9]])
    filled = extend(values, values != 9)
    assert filled.tolist() == [[1, 1, 1, 4], [1, 1, 1, 4], [1, 1, 1, 4], [7, 7, 7, 7], [7, 7, 7, 7]]
    with pytest.raises(ValueError, match="no pixel is valid"):
        extend(values, values < 0)


def test_extend_leaves_valid_pixels_alone_whatever_the_others_hold() -> None:
    values, valid = scene(), np.random.default_rng(1).random((6, 8)) < 0.5
    filled = extend(np.where(valid, values, np.nan), valid)
    assert np.isfinite(filled).all()
    assert (filled[valid] == values[valid]).all()


def shown(depth: np.ndarray, how: Alignment, scale: float, shift: float) -> Depth:
    """What a net would say that is right up to what `how` repairs."""
    match how:
        case "median":
            return Depth((scale * depth).astype(np.float32), "relative_depth")
        case "lsq_depth":
            return Depth((scale * depth + shift).astype(np.float32), "relative_depth")
        case "lsq_disparity":
            return Depth((scale / depth + shift).astype(np.float32), "relative_disparity")
        case "lsq_log":
            return Depth(np.exp(scale * np.log(depth) + shift).astype(np.float32), "relative_depth")
    return Depth(depth.astype(np.float32))


@pytest.mark.parametrize("how", ALIGNMENTS)
@given(scale=st.floats(0.2, 5), shift=st.floats(-3, 3), seed=st.integers(0, 99))
def test_alignment_recovers_a_known_scale_and_shift(how: Alignment, scale: float, shift: float, seed: int) -> None:
    target = scene(seed)
    found = align(shown(target, how, scale, shift), np.where(EVERYWHERE, target, 0), EVERYWHERE, how)
    assert found.kind == "metric"
    np.testing.assert_allclose(found.values, target, rtol=2e-4)


def test_a_wrong_scale_of_metric_depth_is_repaired_in_disparity_too() -> None:
    target = scene()
    found = align(Depth((3 * target).astype(np.float32)), target, EVERYWHERE, "lsq_disparity")
    np.testing.assert_allclose(found.values, target, rtol=1e-4)


@pytest.mark.parametrize("how", ALIGNMENTS)
def test_pixels_outside_the_mask_do_not_change_the_fit(how: Alignment) -> None:
    target, valid = scene(), np.random.default_rng(3).random((6, 8)) < 0.6
    pred = shown(target, how, 1.3, 0.4)
    pred = Depth((pred.values * np.linspace(0.9, 1.1, 48).reshape(6, 8)).astype(np.float32), pred.kind)
    broken = Depth(np.where(valid, pred.values, np.nan).astype(np.float32), pred.kind)
    whole = align(pred, np.where(valid, target, np.nan), valid, how)
    part = align(broken, np.where(valid, target, 0), valid, how)
    assert (whole.values[valid] == part.values[valid]).all()
    assert part.valid is not None
    assert (part.valid == valid).all()


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        ("relative_disparity", "none"),
        ("relative_disparity", "median"),
        ("relative_disparity", "lsq_depth"),
        ("relative_disparity", "lsq_log"),
        ("relative_depth", "none"),
    ],
)
def test_a_kind_that_cannot_become_metres_is_refused(kind: Kind, how: Alignment) -> None:
    with pytest.raises(
        ValueError, match=f"alignment '{how}' cannot turn {kind} into metres; what fits it: .*lsq_disparity"
    ):
        align(Depth(np.ones((6, 8), np.float32), kind), scene(), EVERYWHERE, how)


@pytest.mark.parametrize("how", [h for h in ALIGNMENTS if h != "none"])
@pytest.mark.parametrize("value", [0.1, 3.0, 1000.0])
def test_a_constant_prediction_becomes_the_best_constant(how: Alignment, value: float) -> None:
    target = scene()
    kind: Kind = "relative_disparity" if how == "lsq_disparity" else "relative_depth"
    found = align(Depth(np.full((6, 8), value, np.float32), kind), target, EVERYWHERE, how)
    best = {
        "median": np.median(target),
        "lsq_depth": target.mean(),
        "lsq_disparity": 1 / (1 / target).mean(),
        "lsq_log": np.exp(np.log(target).mean()),
    }[how]
    np.testing.assert_allclose(found.values, best, rtol=1e-6)


@pytest.mark.parametrize("how", [h for h in ALIGNMENTS if h != "none"])
def test_one_pixel_or_no_positive_depth_still_gives_finite_metres(how: Alignment) -> None:
    target, one = scene(), np.zeros((6, 8), bool)
    one[2, 3] = True
    found = align(Depth(scene(5).astype(np.float32)), target, one, how)
    assert found.values[2, 3] == pytest.approx(target[2, 3], rel=1e-6)
    assert np.isfinite(found.values).all()
    dead = align(Depth(np.zeros((6, 8), np.float32)), target, EVERYWHERE, how)
    assert np.isfinite(dead.values).all()
    assert (dead.values > 0).all()


@pytest.mark.parametrize("how", [h for h in ALIGNMENTS if h != "none"])
def test_without_a_common_pixel_nothing_is_valid(how: Alignment) -> None:
    found = align(Depth(scene().astype(np.float32)), scene(1), ~EVERYWHERE, how)
    assert found.valid is not None
    assert not found.valid.any()


def test_disparity_that_the_fit_makes_negative_is_the_farthest_depth() -> None:
    target = np.tile(np.array([1.0, 1, 1, 1, 1, 1, 9, 9]), (6, 1))
    disparity = np.tile(np.array([1.0, 1, 1, 1, 1, 1, 0.2, -3]), (6, 1)).astype(np.float32)
    found = align(Depth(disparity, "relative_disparity"), target, EVERYWHERE, "lsq_disparity", depth_range=(0.5, 20))
    assert (found.values[:, 7] == 20).all()
    assert (found.values <= 20).all()


def test_unknown_alignments_and_sizes_that_differ_are_named() -> None:
    pred = Depth(scene().astype(np.float32))
    with pytest.raises(ValueError, match="'affine' is unknown; allowed: none, median"):
        align(pred, scene(), EVERYWHERE, "affine")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="differ in size"):
        align(pred, scene()[1:], EVERYWHERE[1:], "none")
