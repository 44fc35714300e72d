"""How many channels and bits a picture has, by the first bytes of its file; no pixel is read."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

from PIL import Image

_GREY = 0  # PNG's colour type


def is_measurement(path: Path) -> bool:
    """Whether a picture has one channel of more than 8 bits, or of floats: depth or the like, never a photograph."""
    channels, bits = channels_and_bits(path)
    return channels == 1 and bits > 8


def channels_and_bits(path: Path) -> tuple[int, int]:
    """(channels, bits of each) of a `.png`, `.tif`, `.tiff` or `.pgm` file; (3, 8) of others and of damaged ones."""
    suffix = path.suffix.lower()
    try:
        if suffix in (".png", ".pgm"):
            with path.open("rb") as file:
                return (_png if suffix == ".png" else _pgm)(file.read(64))
        if suffix in (".tif", ".tiff"):
            return _tiff(path)
    except Exception:  # a damaged header says nothing; reading the picture will
        return 3, 8
    return 3, 8


def _png(head: bytes) -> tuple[int, int]:
    if len(head) < 26 or not head.startswith(b"\x89PNG\r\n\x1a\n"):
        return 3, 8
    return (1 if head[25] == _GREY else 3), head[24]


def _pgm(head: bytes) -> tuple[int, int]:
    found = re.match(rb"P[25]\s+(?:#[^\n]*\n\s*)*\d+\s+\d+\s+(\d+)", head)
    return (1, 16 if int(found.group(1)) > 255 else 8) if found else (3, 8)


def _tiff(path: Path) -> tuple[int, int]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pillow warns of large files and odd metadata
        with Image.open(path, formats=("TIFF",)) as image:
            bits = {"1": 1, "L": 8, "F": 32, "I": 32}.get(image.mode, 16 if image.mode.startswith("I;16") else 0)
            return (1, bits) if bits else (3, 8)
