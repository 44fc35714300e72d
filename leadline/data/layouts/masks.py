"""Masks and maps of confidence: pictures and arrays that say which depth counts. 0 says "not valid", all else "valid".

Phones' LiDAR writes confidence 0, 1 or 2; DIODE writes 0.0 and 1.0; others 0 and 255. JPEG blurs, so there it is 128.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from leadline.core.errors import BadData
from leadline.core.preprocess import MAX_PIXELS
from leadline.core.text import reason
from leadline.data.pictures import opened_picture

MASK_SUFFIXES = (".png", ".npy", ".tif", ".tiff", ".bmp", ".jpg", ".jpeg")
_FORMATS = ("PNG", "TIFF", "BMP", "JPEG")
_REPAIR = "copy it again, or say masks = false in dataset.toml to do without"


def read_mask(path: Path) -> np.ndarray:
    """bool [H,W]: where the mask is not 0 (nor NaN; a picture of several channels: where any is not). BadData, with the
    file's name, if it cannot be read.
    """
    try:
        values = _array(path) if path.suffix.lower() == ".npy" else _picture(path)
    except BadData:
        raise
    except Exception as error:  # damaged files make pillow and numpy raise nearly anything
        raise BadData(f"{path} cannot be read as a mask ({reason(error)}); {_REPAIR}") from error
    if values.ndim == 3:
        values = values[0] if values.shape[0] == 1 else values.max(2)
    if values.ndim != 2 or 0 in values.shape or values.dtype.kind not in "buif":
        raise BadData(f"{path} is {values.dtype} {values.shape}; a mask has one channel [H,W] of numbers")
    least = 127 if path.suffix.lower() in (".jpg", ".jpeg") else 0
    return values > least  # False for NaN, too


def _array(path: Path) -> np.ndarray:
    stored = np.load(path, mmap_mode="r", allow_pickle=False)  # its header is read, not yet its numbers
    if stored.size > MAX_PIXELS:
        raise BadData(f"{path} has {stored.size} numbers; at most {MAX_PIXELS} are read")
    return np.asarray(stored)


def _picture(path: Path) -> np.ndarray:
    with opened_picture(path, _FORMATS) as image:
        if image.mode in ("RGBA", "LA", "PA"):  # alpha is no value
            return np.asarray(image.convert("RGB" if image.mode == "RGBA" else "L"))
        return np.asarray(image)
