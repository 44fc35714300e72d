"""Resizing with aligned corners and by nearest neighbour, on the way in and on the way back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadline.core.preprocess import between, prepare, restore
from leadline.core.spec import Preprocess


def by_torch(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """PyTorch's bilinear resize of [H,W] or [H,W,C] with the corner pixels of both at the same place."""
    import torch
    from torch.nn import functional as F

    x = torch.tensor(values.astype(np.float32)).reshape(*values.shape[:2], -1).permute(2, 0, 1)[None]
    out = F.interpolate(x, size=size, mode="bilinear", align_corners=True)[0].permute(1, 2, 0).numpy()
    return out.reshape(*size, *values.shape[2:])


CORNERS = Preprocess(size=(16, 24), resize="corners")


@pytest.mark.parametrize("frame", [(480, 640), (37, 53), (375, 1242), (16, 24), (5, 7), (1, 9), (2, 1), (1, 1)])
def test_corners_is_torch_s_align_corners_for_whole_frames(frame: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (*frame, 3), dtype=np.uint8)
    found = prepare(pixels, CORNERS)
    assert found.dtype == np.float32 and found.flags.c_contiguous
    np.testing.assert_allclose(found[0].transpose(1, 2, 0), by_torch(pixels, (16, 24)) / 255, atol=2e-6)
    depth = np.random.default_rng(1).uniform(0.5, 9, (16, 24)).astype(np.float32)
    values, valid = restore(depth, frame, CORNERS)
    np.testing.assert_allclose(values, by_torch(depth, frame), atol=2e-5)
    assert valid.all()


def test_litedepth_s_input_is_that_of_its_published_export() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (480, 640, 3), dtype=np.uint8)
    how = Preprocess((128, 160), "corners", "nearest", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    np.testing.assert_allclose(
        prepare(pixels, how)[0].transpose(1, 2, 0), by_torch(pixels, (128, 160)) / 255, atol=2e-6
    )


@given(st.integers(1, 60), st.integers(1, 60), st.floats(0.1, 1.0))
def test_corners_of_a_window_reach_from_its_first_to_its_last_pixel(n: int, n_out: int, part: float) -> None:
    length = max(n * part, 1.0)
    start = (n - length) / 2
    lower, share = between(n, n_out, (start, length))
    places = lower + share.astype(np.float64)
    expected = np.linspace(start, start + length - 1, n_out) if n_out > 1 else np.array([start])
    np.testing.assert_allclose(places, expected.clip(0, n - 1), atol=1e-4)
    assert (lower >= 0).all() and (lower + (share > 0) <= n - 1).all()


@pytest.mark.parametrize("frame", [(150, 201), (33, 47)])
def test_a_part_of_the_frame_is_sampled_between_its_own_corners(frame: tuple[int, int]) -> None:
    """A frame that is its own coordinates: what is sampled is where it was sampled."""
    how = Preprocess(size=(16, 24), resize="corners", view=(0.8, 0.6))
    rows, columns = np.mgrid[: frame[0], : frame[1]]
    found = prepare(np.stack([rows, columns, rows], -1).astype(np.uint8), how)[0] * 255
    height, width = frame[0] * 0.8, frame[1] * 0.6
    top, left = (frame[0] - height) / 2, (frame[1] - width) / 2
    np.testing.assert_allclose(found[0, :, 0], np.linspace(top, top + height - 1, 16), atol=1e-3)
    np.testing.assert_allclose(found[1, 0], np.linspace(left, left + width - 1, 24), atol=1e-3)


def test_nearest_on_the_way_back_copies_whole_pixels() -> None:
    depth = np.random.default_rng(0).uniform(0.5, 9, (32, 40)).astype(np.float32)
    how = Preprocess(size=(32, 40), resize="corners", back="nearest")
    values, valid = restore(depth, (480, 640), how)
    np.testing.assert_array_equal(values, np.kron(depth, np.ones((15, 16), np.float32)))
    assert valid.all()
    numbers = np.broadcast_to(np.arange(40, dtype=np.float32), (32, 40))
    odd, _ = restore(np.ascontiguousarray(numbers), (53, 71), how)
    assert np.abs(odd - ((np.arange(71) + 0.5) * 40 / 71 - 0.5)).max() <= 0.5 + 1e-6


def test_the_way_back_is_as_the_way_in_unless_stated() -> None:
    depth = np.random.default_rng(0).uniform(0.5, 9, (16, 24)).astype(np.float32)
    for rule in ("bilinear", "nearest", "corners"):
        alone = restore(depth, (50, 70), Preprocess((16, 24), rule))[0]
        np.testing.assert_array_equal(alone, restore(depth, (50, 70), Preprocess((16, 24), "nearest", rule))[0])


@pytest.mark.parametrize("rule", ["bilinear", "nearest", "corners"])
def test_a_window_comes_back_into_its_own_place(rule: str) -> None:
    how = Preprocess(size=(8, 12), resize="corners", back=rule, view=(0.5, 0.75))
    values, valid = restore(np.full((8, 12), 3, np.float32), (20, 40), how)
    assert valid.sum() == 10 * 30 and valid[5:15, 5:35].all()
    assert (values[valid] == 3).all() and (values[~valid] == 0).all()
