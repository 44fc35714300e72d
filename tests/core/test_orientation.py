"""EXIF orientations: pixels, sizes and cameras turn alike."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from leadline.core import orientation
from leadline.core.orientation import back, lies_stored, of_file, stated, turned, turned_intrinsics, turned_size

EVERY = pytest.mark.parametrize("turn", orientation.ALL)
PIXELS = np.arange(6 * 9 * 3, dtype=np.uint8).reshape(6, 9, 3)


def opened(turn: object) -> Image.Image:
    exif, file = Image.Exif(), io.BytesIO()
    exif[orientation.TAG] = turn
    Image.fromarray(PIXELS).save(file, format="PNG", exif=exif)
    return Image.open(file)


@EVERY
def test_pixels_turn_as_pillow_turns_them_and_back(turn: int) -> None:
    assert stated(opened(turn)) == turn
    upright = turned(PIXELS, turn)
    assert (upright == np.array(ImageOps.exif_transpose(opened(turn)))).all()
    assert upright.shape[:2] == turned_size((6, 9), turn)
    assert (turned(upright, back(turn)) == PIXELS).all()


@pytest.mark.parametrize("turn", [0, 9, 77])
def test_an_orientation_that_does_not_exist_is_none(turn: int) -> None:
    assert stated(opened(turn)) == orientation.UPRIGHT


def test_a_file_that_its_reader_has_turned_still_says_how() -> None:
    image = opened(1)
    image.info["original_orientation"] = 6
    assert (stated(image), of_file(image)) == (1, 6)
    image.info["original_orientation"] = None
    assert of_file(image) == 1 and of_file(opened(8)) == 8


@EVERY
def test_the_principal_point_stays_on_its_pixel_and_focal_lengths_on_their_axes(turn: int) -> None:
    mark = np.zeros((6, 9))
    mark[2, 7] = 1
    made = turned_intrinsics(np.array([[100, 0, 7], [0, 200, 2], [0, 0, 1]]), (6, 9), turn)
    [[row, column]] = np.argwhere(turned(mark, turn))
    assert (made[0, 2], made[1, 2]) == (column, row)
    assert (made[0, 0], made[1, 1]) == ((200, 100) if turn >= 5 else (100, 200))


def test_sizes_decide_where_height_and_width_are_exchanged_and_only_there() -> None:
    portrait = (16, 12)
    assert lies_stored((6, 8), portrait, 6) and not lies_stored((8, 6), portrait, 6)
    assert lies_stored((8, 8), portrait, 8)
    assert all(lies_stored(size, portrait, 3) for size in ((6, 8), (8, 6)))
    assert not lies_stored((6, 8), portrait, 1)
