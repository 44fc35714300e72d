"""What happens to the picture happens to its depth, and zooming brings things nearer."""

from __future__ import annotations

import numpy as np
import pytest

from leadline.core.types import Item
from leadline.data.options import View
from leadline.data.transforms import augment as transforms
from leadline.data.transforms.augment import augment, fastdepth_train, fastdepth_val, hu_train

STILL = View(size=(48, 64), zoom=(1, 1), rotate=0, shift=0, flip=0, jitter=0)


def scene(height: int = 480, width: int = 640) -> Item:
    """Red is the row, green the column, so any pixel tells where it comes from; depth is 1 + 4 * column / width."""
    rows, columns = np.mgrid[:height, :width]
    image = np.stack([rows * 255 / height, columns * 255 / width, rows * 0 + 90], -1).astype(np.uint8)
    valid = np.ones((height, width), bool)
    valid[: height // 10] = False
    target = np.where(valid, 1 + 4 * columns / width, 0).astype(np.float32)
    camera = np.array([[500.0, 0, width / 2], [0, 500.0, height / 2], [0, 0, 1]])
    return Item(image, target, valid, "scene", camera)


def depth_told_by_colour(sample: Item, zoom: float = 1.0) -> np.ndarray:
    return (1 + 4 * (sample.image[..., 1] / 255)) / zoom


def test_the_published_list_gives_224_square_with_depth_divided_by_the_zoom() -> None:
    zooms = []
    for seed in range(8):
        zoom = np.random.default_rng(seed).uniform(1.0, 1.5)  # the first draw of the list
        out = fastdepth_train(scene(), np.random.default_rng(seed))
        assert out.image.shape == (224, 224, 3) and out.target.shape == out.valid.shape == (224, 224)
        assert np.all(out.target[~out.valid] == 0)
        deepest = out.target[out.valid].max()
        assert deepest <= 5 / zoom + 1e-5
        zooms.append(zoom)
    assert max(zooms) - min(zooms) > 0.2


def test_the_published_evaluation_view_is_the_centre_228_of_250_rows() -> None:
    out = fastdepth_val(scene())
    assert out.image.shape == (224, 224, 3)
    # rows 11 to 239 of 250, columns 14 to 318 of 333, as colours of the scene
    np.testing.assert_allclose(out.image[[0, -1], 0, 0], [11 * 255 / 250, 238 * 255 / 250], atol=2)
    np.testing.assert_allclose(out.image[0, [0, -1], 1], [14 * 255 / 333, 317 * 255 / 333], atol=2)


@pytest.mark.parametrize("given", [(640, 480), (300, 300), (37, 11)], ids=["upright", "square", "tiny"])
def test_a_frame_too_narrow_for_the_published_crops_is_enlarged_to_its_whole_width(given: tuple[int, int]) -> None:
    middle = fastdepth_val(scene(*given)).target[112]
    assert (middle[0], middle[-1]) == pytest.approx((1, 1 + 4 * (given[1] - 1) / given[1]), abs=0.02)
    for seed in range(4):
        for published, size in ((fastdepth_train, (224, 224)), (hu_train, (228, 304))):
            out = published(scene(*given), np.random.default_rng(seed))
            assert out.image.shape == (*size, 3)
            seen = out.target[out.valid]
            assert seen.max() / seen.min() > (1 + 4 * 5 / 6) / (1 + 4 / 6) - 0.3  # zoomed by at most 1.5


def test_standing_still_is_a_plain_resize() -> None:
    out = augment(scene(96, 128), np.random.default_rng(0), STILL)
    plain = transforms.resize(scene(96, 128), (48, 64), image_filter=transforms.NEAREST)
    assert np.abs(out.image.astype(int) - plain.image).max() <= 3
    np.testing.assert_array_equal(out.valid, plain.valid)
    np.testing.assert_allclose(out.target, plain.target, atol=0.05)


@pytest.mark.parametrize("seed", range(6))
def test_colour_and_depth_stay_together(seed: int) -> None:
    """Depth read from the colour at a pixel is the depth there, however the view is turned, moved and mirrored."""
    rng = np.random.default_rng(seed)
    zoom = float(np.exp(np.random.default_rng(seed).uniform(*np.log((1.0, 1.5)))))
    out = augment(scene(), rng, View(rotate=15, stretch=1.3, jitter=0))
    error = np.abs(out.target - depth_told_by_colour(out, zoom))[out.valid]
    assert np.quantile(error, 0.99) < 0.05
    assert 0.5 < out.valid.mean() < 1


def test_zooming_out_shows_an_invalid_border() -> None:
    out = augment(scene(), np.random.default_rng(0), View(zoom=(0.5, 0.5), rotate=0))
    assert out.valid.mean() < 0.3
    assert np.all(out.target[~out.valid] == 0)
    assert out.target.max() > 5  # twice as far


def test_a_mirrored_view_is_mirrored() -> None:
    always, never = (augment(scene(), np.random.default_rng(0), View(rotate=0, shift=0, flip=p)) for p in (1.0, 0.0))
    assert np.abs(always.target[:, ::-1] - never.target).max() < 0.05


def test_jitter_touches_the_image_only() -> None:
    before = scene()
    after = transforms.jitter(before, np.random.default_rng(1))
    assert (after.image != before.image).any()
    assert after.target is before.target and after.valid is before.valid


def test_resizing_and_cropping_move_the_intrinsics() -> None:
    half = transforms.resize(scene(), (240, 320))
    np.testing.assert_allclose(half.intrinsics, [[250, 0, 159.75], [0, 250, 119.75], [0, 0, 1]])
    cut = transforms.centre_crop(half, (200, 300))
    np.testing.assert_allclose(cut.intrinsics, [[250, 0, 149.75], [0, 250, 99.75], [0, 0, 1]])


def test_a_crop_larger_than_the_item_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(500, 500\) out of an image of \(480, 640\)"):
        transforms.centre_crop(scene(), (500, 500))
