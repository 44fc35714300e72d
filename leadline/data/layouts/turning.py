"""What lies beside a photograph that its EXIF block turns: depth maps, masks and cameras are turned with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from leadline.core.orientation import UPRIGHT, back, lies_stored, stated, turned
from leadline.data.depth_tiff import tiff_orientation
from leadline.data.pictures import opened_picture


def as_stored(image: np.ndarray, orientation: int) -> np.ndarray:
    """The image as its file has it, from what `read_upright` gives."""
    return turned(image, back(orientation))


def turned_along(
    values: np.ndarray, file: Path, upright: tuple[int, ...], orientation: int, lies: str | None
) -> np.ndarray:
    """The values [H,W] of `file`, a depth map or a mask, as the photograph of `upright` size lies that was turned by
    `orientation`. A file that states an orientation of its own knows; else see `with_photograph`.
    """
    if orientation == UPRIGHT:
        return values
    own = _own(file)
    if own != UPRIGHT:
        return values if file.suffix.lower() in (".tif", ".tiff") else turned(values, own)  # what reads a TIFF turns it
    return turned(values, orientation) if with_photograph(values.shape, upright, orientation, lies) else values


def with_photograph(size: tuple[float, ...], upright: tuple[int, ...], orientation: int, lies: str | None) -> bool:
    """Whether what has `size` is turned with its photograph: as the description says (`lies`, its `orientation`), else
    by `orientation.lies_stored`.
    """
    if orientation == UPRIGHT or lies is None:
        return lies_stored(size, upright, orientation)
    return lies == "stored"


def _own(file: Path) -> int:
    """What a picture states of itself."""
    if file.suffix.lower() in (".tif", ".tiff"):
        return tiff_orientation(file)  # pillow opens no TIFF of 16 or 64 bits of floating point
    if file.suffix.lower() != ".png":
        return UPRIGHT
    with opened_picture(file, ("PNG",)) as image:
        return stated(image)
