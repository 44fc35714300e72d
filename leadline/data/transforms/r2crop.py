"""LiteDepth's training list with its R2 crop: a cut-out of random size at a random place, at one scale."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from PIL import Image

from leadline.core.types import Item
from leadline.data.options import R2Crop
from leadline.data.transforms.augment import BILINEAR, NEAREST, by_table


def r2crop(sample: Item, rng: np.random.Generator, how: R2Crop = R2Crop()) -> Item:
    """LiteDepth's list in its order (the authors' config and transforms); its numbers are the defaults of `how`.

    1. with p = 0.5 rotate by U(-2.5, 2.5) degrees about the middle; what comes from outside is black and invalid;
    2. mirror with p = 0.5;
    3. R2 crop: one of (240, 384), (360, 512), (480, 640) of a 480x640 frame, each as likely, at any place;
    4. the image by 128/480 and 160/640, to (64, 96), (96, 128) or (128, 160), bilinear between the four nearest pixels
       (cv2's, pixel centres kept); the depth stays as it is, or is brought to `how.depth` by nearest neighbour;
    5. c -> c^U(0.9, 1.1) of values 0..255, times U(0.75, 1.25), each channel times U(0.9, 1.1), clipped.

    So items of one batch differ in size. A frame of another size than 480x640 is cut in the same proportions of its
    height and width. Deviations: steps 1 to 4 read the frame once, so a rotated image is interpolated once, not twice;
    colours are rounded to whole numbers after step 5.
    """
    angle = rng.uniform(-how.rotate, how.rotate) if rng.random() < how.rotate_chance else 0.0
    flip = bool(rng.random() < how.flip)
    cut = how.sizes[int(rng.integers(len(how.sizes)))] if how.crop else how.frame
    frame = sample.image.shape[:2]
    height, width = (frame[i] * cut[i] / how.frame[i] for i in (0, 1))
    top, left = int(rng.integers(int(frame[0] - height) + 1)), int(rng.integers(int(frame[1] - width) + 1))
    size, depth_size = ([round(cut[i] * to[i] / how.frame[i]) for i in (0, 1)] for to in (how.image, how.depth))
    part = (top, left, height, width)
    image = _seen(sample.image, part, size, angle, flip, BILINEAR)
    valid = _seen(sample.valid.astype(np.uint8), part, depth_size, angle, flip, NEAREST).astype(bool)
    target = np.where(valid, _seen(sample.target, part, depth_size, angle, flip, NEAREST), np.float32(0))
    pseudo = None if sample.pseudo_depth is None else _seen(sample.pseudo_depth, part, depth_size, angle, flip, NEAREST)
    # the intrinsics of the cut-out are not kept: a rotated view has none of the simple form
    return recolour(
        Item(image, target, valid, sample.name, pseudo_depth=pseudo, pseudo_kind=sample.pseudo_kind), rng, how
    )


def recolour(sample: Item, rng: np.random.Generator, how: R2Crop) -> Item:
    """Step 5 of the list."""
    gamma = rng.uniform(1 - how.gamma, 1 + how.gamma)
    gains = rng.uniform(1 - how.brightness, 1 + how.brightness) * rng.uniform(1 - how.colour, 1 + how.colour, 3)
    table = (np.arange(256.0)[:, None] ** gamma * gains).clip(0, 255).round().astype(np.uint8)
    return replace(sample, image=by_table(sample.image, table))


def _seen(
    pixels: np.ndarray,
    part: tuple[int, int, float, float],
    size: list[int],
    angle: float,
    flip: bool,
    how: Image.Resampling,
) -> np.ndarray:
    """The `part` (top, left, height, width) of the rotated and then mirrored picture, at `size`."""
    (frame_height, frame_width), (top, left, height, width) = pixels.shape[:2], part
    # places relative to the frame's middle, where (x, y) of the output lies after mirroring back
    turn, step_x, step_y = np.deg2rad(angle), width / size[1], height / size[0]
    x, y = left - frame_width / 2, top - frame_height / 2
    if flip:
        x, step_x = -x, -step_x
    cos, sin = float(np.cos(turn)), float(np.sin(turn))
    across = (cos * step_x, -sin * step_y, cos * x - sin * y + frame_width / 2)
    down = (sin * step_x, cos * step_y, sin * x + cos * y + frame_height / 2)
    picture = Image.fromarray(pixels).transform((size[1], size[0]), Image.Transform.AFFINE, (*across, *down), how)
    return np.asarray(picture)
