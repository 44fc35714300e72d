"""LiteDepth's cut-outs keep image, depth and scale together, whatever the frame's size."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from leadline.core.types import Item
from leadline.data.options import R2Crop
from leadline.data.transforms.augment import hu_train
from leadline.data.transforms.r2crop import r2crop, recolour

STILL = R2Crop(rotate=0, flip=0, gamma=0, brightness=0, colour=0)
WHOLE = replace(STILL, crop=False)
SIZES = {(64, 96): (240, 384), (96, 128): (360, 512), (128, 160): (480, 640)}


def scene(height: int = 480, width: int = 640) -> Item:
    """Red is the row, green the column, blue 90; depth is 1 + 4 * column / width + row / height, with a hole on top."""
    rows, columns = (np.mgrid[:height, :width] + 0.5) / np.array([height, width]).reshape(2, 1, 1)
    image = np.stack([rows * 255, columns * 255, rows * 0 + 90], -1).astype(np.uint8)
    valid = rows > 0.1
    return Item(image, np.where(valid, 1 + 4 * columns + rows, 0).astype(np.float32), valid, "scene")


def told_by_colour(sample: Item) -> np.ndarray:
    """The depth that the image's colours tell, at the depth's size."""
    height, width = sample.target.shape
    rows = ((np.arange(height) + 0.5) * sample.image.shape[0] / height).astype(int)
    columns = ((np.arange(width) + 0.5) * sample.image.shape[1] / width).astype(int)
    seen = sample.image[rows][:, columns] / 255
    return 1 + 4 * seen[..., 1] + seen[..., 0]


def test_each_published_size_comes_as_often_and_its_image_is_3_75_and_4_times_smaller() -> None:
    rng = np.random.default_rng(0)
    found = [r2crop(scene(), rng) for _ in range(90)]
    sizes = [s.image.shape[:2] for s in found]
    assert set(sizes) == set(SIZES)
    assert min(sizes.count(size) for size in SIZES) > 15
    for sample in found:
        assert sample.target.shape == sample.valid.shape == SIZES[sample.image.shape[:2]]
        assert (sample.target[~sample.valid] == 0).all()


def test_a_whole_frame_s_depth_is_left_as_it_is_and_its_image_sampled_between_four_pixels() -> None:
    frame = scene()
    out = r2crop(frame, np.random.default_rng(0), WHOLE)
    np.testing.assert_array_equal(out.target, frame.target)
    np.testing.assert_array_equal(out.valid, frame.valid)
    y, x = (np.arange(128) + 0.5) * 3.75 - 0.5, (np.arange(160) + 0.5) * 4 - 0.5  # cv2's places
    top, left = np.floor(y).astype(int), np.floor(x).astype(int)
    a, b = (y - top)[:, None, None], (x - left)[None, :, None]
    p = frame.image.astype(float)
    mixed = (1 - a) * ((1 - b) * p[top][:, left] + b * p[top][:, left + 1])
    mixed += a * ((1 - b) * p[top + 1][:, left] + b * p[top + 1][:, left + 1])
    assert np.abs(out.image - mixed).max() <= 1


@pytest.mark.parametrize("seed", range(6))
def test_a_cut_out_is_a_part_of_the_frame_pixel_by_pixel(seed: int) -> None:
    frame = scene()
    out = r2crop(frame, np.random.default_rng(seed), STILL)
    height, width = out.target.shape
    # where its lower right corner lies, as its depth tells (the hole is on top)
    column = round((float(out.target[-1, -1]) - float(out.target[-1, 0])) / 4 * 640) + 1
    assert column == width
    matches = [
        (top, left)
        for top in range(480 - height + 1)
        for left in range(640 - width + 1)
        if frame.target[top + height - 1, left] == out.target[-1, 0]
    ]
    assert any((frame.target[t : t + height, x : x + width] == out.target).all() for t, x in matches)


@pytest.mark.parametrize("size", [(480, 640), (240, 320), (340, 600), (187, 621), (640, 480)])
@pytest.mark.parametrize("depth", [(480, 640), (120, 160)])
@pytest.mark.parametrize("seed", range(3))
def test_colour_and_depth_stay_together_in_frames_of_any_size(
    size: tuple[int, int], depth: tuple[int, int], seed: int
) -> None:
    how = R2Crop(depth=depth, rotate=10, rotate_chance=1, gamma=0, brightness=0, colour=0)
    out = r2crop(scene(*size), np.random.default_rng(seed), how)
    height, width = SIZES[out.image.shape[:2]]
    assert out.target.shape == (height * depth[0] // 480, width * depth[1] // 640)
    error = np.abs(out.target - told_by_colour(out))[out.valid]
    assert np.quantile(error, 0.98) < 0.1
    assert out.valid.mean() > 0.4


def test_a_mirrored_frame_is_mirrored() -> None:
    always, never = (r2crop(scene(), np.random.default_rng(0), replace(WHOLE, flip=p)) for p in (1.0, 0.0))
    np.testing.assert_array_equal(always.target[:, ::-1], never.target)
    assert np.abs(always.image[:, ::-1].astype(int) - never.image).max() <= 1


def test_half_of_the_frames_are_rotated_and_what_comes_from_outside_is_black_and_invalid() -> None:
    how = replace(WHOLE, rotate=20)
    bright = replace(scene(), valid=np.ones((480, 640), bool), image=np.full((480, 640, 3), 200, np.uint8))
    found = [r2crop(bright, np.random.default_rng(seed), how) for seed in range(40)]
    turned = [s for s in found if not s.valid.all()]
    assert 10 < len(turned) < 30
    assert all((s.target[~s.valid] == 0).all() for s in turned)
    assert all((s.image == 0).any() for s in turned if s.valid.mean() < 0.99)


def test_colours_follow_the_published_formula() -> None:
    grey = Item(np.full((1, 1, 3), 100, np.uint8), None, None, "grey")
    rng = np.random.default_rng(5)
    gamma, light, gains = rng.uniform(0.9, 1.1), rng.uniform(0.75, 1.25), rng.uniform(0.9, 1.1, 3)
    found = recolour(grey, np.random.default_rng(5), R2Crop()).image[0, 0]
    np.testing.assert_allclose(found, np.clip(100**gamma * light * gains, 0, 255), atol=0.5)
    white = replace(grey, image=np.full((1, 1, 3), 255, np.uint8))
    assert recolour(white, rng, R2Crop(brightness=0.9)).image.dtype == np.uint8


def test_a_crop_larger_than_the_image_is_refused() -> None:
    with pytest.raises(ValueError, match="the crop 500x640 does not fit into an image of 480x640; crops of 1x1 to"):
        R2Crop(sizes=((240, 320), (500, 640)))
    with pytest.raises(ValueError, match="a list of no crops does not fit"):
        R2Crop(sizes=())


def test_the_list_of_hu_gives_their_sizes_and_keeps_depth_in_place() -> None:
    for seed in range(6):
        out = hu_train(scene(), np.random.default_rng(seed))
        assert out.image.shape == (228, 304, 3) and out.target.shape == out.valid.shape == (114, 152)
        assert (out.target[~out.valid] == 0).all()
        # columns 8 to 312 of 320 and rows 6 to 234 of 240 stay: depth spans nearly all of the frame's, mirrored or not
        assert out.target[out.valid].max() == pytest.approx(5.8, abs=0.15)
        rising = float(out.target[60, -1] - out.target[60, 0])
        assert abs(rising) == pytest.approx(4 * 151 / 160, abs=0.2)


def test_the_list_of_hu_keeps_image_and_depth_aligned() -> None:
    rows, columns = np.mgrid[:480, :640]
    pattern = np.sin(2 * np.pi * rows / 70 + 1) * np.sin(2 * np.pi * columns / 90 + 2)  # a mirrored one is another
    grey = (90 + 25 * pattern).round().astype(np.uint8)
    waves = Item(np.stack([grey] * 3, -1), (3 + pattern).astype(np.float32), np.ones((480, 640), bool), "waves")
    for seed in range(6):
        out = hu_train(waves, np.random.default_rng(seed))
        image = out.image.astype(float).mean(axis=-1).reshape(114, 2, 152, 2).mean(axis=(1, 3))
        middle = np.s_[8:-8, 8:-8]  # at the frame's edge rotation mixes in black
        inside, depth = out.valid[middle], out.target[middle]
        moves = ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0))
        moved = [np.roll(image, move, axis=(0, 1))[middle] for move in moves]
        agreement = [np.corrcoef(there[inside], depth[inside])[0, 1] for there in moved]
        assert agreement[0] == max(agreement) > 0.97  # nearest neighbour twice: up to half a pixel off


def test_the_list_of_hu_shifts_all_pixels_along_the_colours_of_imagenet() -> None:
    """Mirroring and turning a grey frame changes nothing but its colour, by less than the strongest axis times 0.3."""
    grey = replace(scene(), image=np.full((480, 640, 3), 128, np.uint8))
    found = np.array([hu_train(grey, np.random.default_rng(s)).image[114, 152] for s in range(30)], float)
    assert found.std(axis=0).min() > 5  # brightness
    spread = (found - found.mean(axis=1, keepdims=True)).std()
    assert 0.1 < spread < 4
