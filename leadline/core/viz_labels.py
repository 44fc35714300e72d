"""Pictures of labels: a colour for each class, and a legend that names them."""

from __future__ import annotations

import colorsys

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from leadline.core.types import Joint, Labels
from leadline.core.viz import BACKGROUND, INK, captioned, colorize, side_by_side

VOID = (0, 0, 0)
"""Pixels without a label are black, which no class is."""
_ROW, _BOX = 16, 12
_LEAST = 128  # rows that a name needs beside it


def palette(n: int) -> np.ndarray:
    """uint8 [n,3]: colours that lie apart, always the same ones: hues by the golden ratio, of three brightnesses."""
    found = [
        colorsys.hsv_to_rgb((i * 0.618034) % 1, (0.55, 0.8, 0.95)[i % 3], (0.95, 0.75, 0.55)[i // 3 % 3])
        for i in range(n)
    ]
    return (np.array(found) * 255).round().astype(np.uint8)


def coloured_labels(labels: Labels) -> np.ndarray:
    """uint8 RGB [H,W,3]: each pixel in its class's colour, without a label black."""
    colours = palette(len(labels.classes))[labels.values.astype(np.int64)]
    return np.where(labels.valid[..., None], colours, np.array(VOID, np.uint8)).astype(np.uint8)


def labels_picture(labels: Labels) -> np.ndarray:
    """`coloured_labels`, and to its right a legend of the classes that occur, the most frequent first.

    What the picture has no room for is left out of the legend.
    """
    picture = coloured_labels(labels)
    shown = list(labels.shares())[: picture.shape[0] // _ROW]
    colours = dict(zip(labels.classes, palette(len(labels.classes)).tolist(), strict=True))
    font = ImageFont.load_default(size=11)
    width = 24 + max((int(font.getlength(name)) for name in shown), default=0)
    side = Image.new("RGB", (width, picture.shape[0]), BACKGROUND)
    draw = ImageDraw.Draw(side)
    for row, name in enumerate(shown):
        top = row * _ROW + 2
        draw.rectangle((3, top, 3 + _BOX, top + _BOX), fill=tuple(colours[name]))
        draw.text((6 + _BOX, top), name, fill=INK, font=font)
    return np.concatenate([picture, np.asarray(side)], axis=1)


def joint_picture(
    image: np.ndarray,
    seen: Joint,
    *,
    vmin: float | None = None,
    vmax: float | None = None,
    colormap: str | None = None,
) -> np.ndarray:
    """uint8 RGB: photograph [H,W,3] | depth and its legend | labels and theirs. The colours of the depth are those of
    `viz.picture`.
    """
    depth = side_by_side(image, seen.depth, vmin=vmin, vmax=vmax, colormap=colormap)
    return np.concatenate([depth, labels_picture(seen.labels)], axis=1)


def joint_panel(image: np.ndarray, truth: Joint, prediction: Joint) -> np.ndarray:
    """A validation picture, uint8 RGB: image | true depth | depth | true labels | labels, all of the image's size."""
    depths = [colorize(one.depth) for one in (truth, prediction)]
    return np.concatenate([image, *depths, *(coloured_labels(one.labels) for one in (truth, prediction))], axis=1)


def named_picture(image: np.ndarray, name: str) -> np.ndarray:
    """uint8 RGB: the image [H,W,3] under the name of its class; a small one is enlarged by a whole number."""
    n = -(-_LEAST // min(image.shape[:2]))
    return captioned(image.repeat(n, axis=0).repeat(n, axis=1), name)
