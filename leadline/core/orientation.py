"""The EXIF orientation: how a picture as it is stored is turned to stand upright, and what is turned with it.

The number is that of the tag 0x0112, 1 to 8. 1 is upright; 2 to 4 keep the sides, 5 to 8 exchange height and width.
pillow's ImageOps.exif_transpose turns pictures only: depth maps, masks and intrinsics beside them have no tag.
"""

from __future__ import annotations

from typing import Any

import numpy as np

TAG = 0x0112
UPRIGHT = 1
ALL = tuple(range(1, 9))


def stated(image: Any) -> int:
    """The orientation that an open pillow image states; 1 if it states none, or its EXIF block is damaged.

    Ask of a TIFF before the pixels are loaded: pillow turns it while it loads it, and forgets the tag.
    """
    try:
        found = image.getexif().get(TAG, UPRIGHT)
    except Exception:  # a damaged EXIF block says nothing about the pixels
        return UPRIGHT
    return found if isinstance(found, int) and found in ALL else UPRIGHT


def of_file(image: Any) -> int:
    """The orientation of an open file, also where its reader turns the pixels by itself (HEIC
    by pillow-heif): what lies beside it may be as the file has it.
    """
    found = stated(image)
    turned_already = image.info.get("original_orientation")
    return turned_already if found == UPRIGHT and turned_already in ALL else found


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Pixels [H,W] or [H,W,C] as they are stored, made upright: [W,H,...] for 5 to 8. The array itself for 1."""
    if orientation == UPRIGHT:
        return pixels
    if exchanges(orientation):
        pixels = np.swapaxes(pixels, 0, 1)
    down, right = (-1 if end else 1 for end in _from_the_end(orientation))
    return np.ascontiguousarray(pixels[::down, ::right])


def back(orientation: int) -> int:
    """The orientation that undoes one: `turned(turned(x, o), back(o))` is x."""
    return {6: 8, 8: 6}.get(orientation, orientation)


def exchanges(orientation: int) -> bool:
    """Whether height becomes width."""
    return orientation >= 5


def turned_size(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    """(height, width) of a picture of stored `size` once it is upright."""
    return (size[1], size[0]) if exchanges(orientation) else size


def lies_stored(size: tuple[float, ...], upright: tuple[int, ...], orientation: int) -> bool:
    """Whether what has `size` (height, width) and belongs to a picture of `upright` size is taken to lie as the picture
    is stored: always, unless its long side lies as the upright picture's and not as the stored one's.

    So sizes decide where height and width are exchanged. Where both fit (180 degrees, mirrored, square) it lies as
    stored: who writes depth rarely knows of EXIF.
    """
    if not exchanges(orientation):
        return orientation != UPRIGHT
    return (size[0] - size[1]) * (upright[0] - upright[1]) <= 0


def turned_intrinsics(intrinsics: np.ndarray, size: tuple[int, int], orientation: int) -> np.ndarray:
    """The camera matrix float64 [3,3] of a picture of stored `size` (height, width) once it is upright.

    The camera's axes turn with the picture: x stays right and y down. Focal lengths stay positive in a mirrored one.
    """
    (fx, fy), (cx, cy) = np.diag(intrinsics)[:2], np.asarray(intrinsics)[:2, 2]
    if exchanges(orientation):
        fx, fy, cx, cy = fy, fx, cy, cx
    height, width = turned_size(size, orientation)
    down, right = _from_the_end(orientation)
    cx, cy = (width - 1 - cx if right else cx), (height - 1 - cy if down else cy)
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], np.float64)


def _from_the_end(orientation: int) -> tuple[bool, bool]:
    """Whether rows and columns run from the end, after height and width are exchanged where they are."""
    return orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
