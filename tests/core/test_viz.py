"""Pictures of depth: fixed colours, grey for nothing, a legend that says metres."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadline.core import viz
from leadline.core.types import KINDS, Depth

RAMP = np.tile(np.linspace(0, 12, 96, dtype=np.float32), (80, 1))
PHOTO = np.full((80, 96, 3), 77, np.uint8)


def test_the_same_distance_has_the_same_colour_in_every_picture() -> None:
    near = viz.colorize(Depth(np.full((2, 2), 2.0, np.float32)))
    mixed = viz.colorize(Depth(np.array([[2.0, 9.0]], np.float32)))
    assert (near[0, 0] == mixed[0, 0]).all()
    assert (mixed[0, 0] != mixed[0, 1]).any()


def test_near_is_brighter_than_far_for_every_kind() -> None:
    for kind in KINDS:
        first, last = viz.colorize(Depth(RAMP, kind))[0, [0, -1]].astype(int).sum(axis=1)
        assert (first < last) == (kind == "relative_disparity")


def test_values_beyond_the_range_get_the_end_colours() -> None:
    colours = viz.colorize(Depth(np.array([[-5, 1, 2, 99]], np.float32)), vmin=1, vmax=2)
    assert (colours[0, 0] == colours[0, 1]).all()
    assert (colours[0, 2] == colours[0, 3]).all()


def test_invalid_pixels_are_grey_whatever_their_value() -> None:
    valid = np.ones(RAMP.shape, bool)
    valid[:, :5] = False
    wild = RAMP.copy()
    wild[:, :5] = np.nan
    for values in (RAMP, wild):
        colours = viz.colorize(Depth(values, valid=valid))
        assert (colours[:, :5] == viz.INVALID).all()
        assert (colours[:, 5:] == viz.colorize(Depth(RAMP))[:, 5:]).all()


@pytest.mark.parametrize("colormap", ["magma", "magma_r", "inferno"])
def test_no_default_colour_map_contains_the_grey_of_invalid_pixels(colormap: str) -> None:
    colours = viz.colorize(Depth(np.linspace(0, 10, 256, dtype=np.float32)[None]), colormap=colormap)
    assert not (colours == viz.INVALID).all(axis=-1).any()


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_without_any_valid_pixel_is_all_grey(kind: str) -> None:
    depth = Depth(np.full((3, 4), np.nan, np.float32), kind)  # type: ignore[arg-type]
    assert (viz.colorize(depth) == viz.INVALID).all()


@given(st.floats(-1e3, 1e3, width=32), st.sampled_from(KINDS[1:]))
def test_a_flat_relative_picture_still_has_a_range(value: float, kind: str) -> None:
    low, high = viz.value_range(Depth(np.full((2, 2), value, np.float32), kind))  # type: ignore[arg-type]
    assert low < high


def test_a_relative_range_ignores_outliers_and_invalid_pixels() -> None:
    values = np.linspace(0, 1, 10_000, dtype=np.float32).reshape(100, 100)
    values[0, 0] = 1e6
    valid = np.ones(values.shape, bool)
    valid[-1] = False
    low, high = viz.value_range(Depth(values, "relative_disparity", valid))
    assert 0 <= low < 0.05
    assert 0.9 < high < 1


@pytest.mark.parametrize(("vmin", "vmax"), [(3, 3), (4, 2), (float("nan"), 2), (0, float("inf"))])
def test_an_impossible_range_is_an_error(vmin: float, vmax: float) -> None:
    with pytest.raises(ValueError, match="vmin < vmax"):
        viz.colorize(Depth(RAMP), vmin=vmin, vmax=vmax)


def test_an_unknown_colour_map_is_an_error_that_names_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"'turbi'.*nearest: .*turbo"):
        viz.colorize(Depth(RAMP), colormap="turbi")


def test_a_picture_is_the_colours_with_a_legend_beside_them() -> None:
    depth = Depth(RAMP)
    picture = viz.picture(depth)
    assert (picture[:, :96] == viz.colorize(depth)).all()
    assert (picture[:, 96:] == viz.legend(80, 0, 10)).all()


def test_a_1x1_picture_has_no_legend() -> None:
    assert viz.picture(Depth(np.ones((1, 1), np.float32))).shape == (1, 1, 3)


@pytest.mark.parametrize("height", [64, 65, 200, 1080, 3000])
def test_the_legend_runs_from_the_last_colour_down_to_the_first(height: int) -> None:
    bar = viz.legend(height, 0, 10)
    assert bar.shape[0] == height
    ends = viz.colorize(Depth(np.array([[0, 10]], np.float32)))[0]
    column = bar[:, max(4, height // 60)]
    shown = column[(column != viz.BACKGROUND).any(axis=1)]
    assert (shown[0] == ends[1]).all()
    assert (shown[-1] == ends[0]).all()


def test_the_legend_says_metres_or_which_end_is_near() -> None:
    assert viz._labels(0, 10, "metric", 3) == ["0 m", "5 m", "10 m"]
    assert viz._labels(0, 1, "relative_disparity", 3) == ["far", "near"]
    assert viz._labels(0, 1, "relative_depth", 3) == ["near", "far"]


def test_side_by_side_shows_the_photograph_first() -> None:
    picture = viz.side_by_side(PHOTO, Depth(RAMP))
    assert (picture[:, :96] == PHOTO).all()
    assert (picture[:, 96:] == viz.picture(Depth(RAMP))).all()


def test_a_panel_shows_image_truth_prediction_and_error() -> None:
    prediction = RAMP + np.float32(0.25)
    panel = viz.panel(PHOTO, Depth(RAMP), Depth(prediction))
    image, truth, predicted, error = np.split(panel[-80:], 4, axis=1)
    assert (image == PHOTO).all()
    assert (truth == viz.colorize(Depth(RAMP))).all()
    assert (predicted == viz.colorize(Depth(prediction))).all()
    assert (error == viz.colorize(Depth(np.abs(prediction - RAMP)), vmin=0, vmax=1, colormap="inferno")).all()


def test_a_perfect_prediction_has_a_black_error_and_invalid_truth_a_grey_one() -> None:
    valid = np.ones(RAMP.shape, bool)
    valid[:10] = False
    error = viz.panel(PHOTO, Depth(RAMP, valid=valid), Depth(RAMP))[-80:, -96:]
    assert (error[:10] == viz.INVALID).all()
    assert error[10:].max() <= 4


def test_a_panel_of_tiny_pictures_is_possible() -> None:
    one = Depth(np.ones((1, 1), np.float32))
    assert viz.panel(PHOTO[:1, :1], one, one).shape[1] == 4


def test_a_panel_refuses_what_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="align them first"):
        viz.panel(PHOTO, Depth(RAMP), Depth(RAMP, "relative_depth"))
    with pytest.raises(ValueError, match="as the depth, is needed"):
        viz.panel(PHOTO[:-1], Depth(RAMP), Depth(RAMP))


@pytest.mark.parametrize(
    ("values", "expected"),
    [([1.6, 4.2], (1, 5)), ([1.63, 4.1], (1.5, 4.5)), ([0, 10], (0, 10)), ([2, 2], (2, 2.0002)), ([3, 70], (0, 80))],
)
def test_a_picture_s_own_range_has_round_numbers(values: list[float], expected: tuple[float, float]) -> None:
    depth = Depth(np.repeat(np.array(values, np.float32), 50).reshape(10, 10))
    assert np.allclose(viz.own_range(depth), expected)


def test_a_picture_s_own_range_holds_nearly_all_of_it() -> None:
    rng = np.random.default_rng(0)
    for scale in (0.01, 1.0, 80.0):
        depth = Depth(rng.gamma(3, scale, (40, 40)).astype(np.float32))
        low, high = viz.own_range(depth)
        assert np.mean((depth.values >= low) & (depth.values <= high)) >= 0.95 and low >= 0


def test_a_picture_without_depth_has_the_usual_range() -> None:
    assert viz.own_range(Depth(np.zeros((4, 4), np.float32), valid=np.zeros((4, 4), bool))) == viz.RANGE_M


def test_a_legend_of_round_numbers_has_round_numbers_only() -> None:
    assert viz._labels(1.5, 4.5, "metric", 6) == ["1.5 m", "2.5 m", "3.5 m", "4.5 m"]
    assert viz._labels(0.0, 10.0, "metric", 6) == ["0 m", "2 m", "4 m", "6 m", "8 m", "10 m"]
