"""By what a picture is known again: its pixels, or the file that it was read from.

The same JPEG gives other last bits with another build of the decoder, so pixels alone would not do. A file may be read
otherwise, turned for one, so the file alone would not do either: then the picture must look the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

_GRID = 8
_ALIKE = 6  # grey levels of a mean over a part of the picture; decoders differ by less than one


def fingerprint(image: np.ndarray) -> str:
    """SHA-256 of a picture's size and pixels, uint8 [H,W,3]: the same for any file that holds the same picture."""
    return hashlib.sha256(repr(image.shape).encode() + np.ascontiguousarray(image).tobytes()).hexdigest()


def marks(image: np.ndarray, file: Path | None) -> dict[str, str]:
    """What to keep of a picture: `image`, its fingerprint; if it has a file of its own, `source`, the file's SHA-256,
    and `look`, its mean grey in 8 x 8 parts. OSError if the file cannot be read.
    """
    found = {"image": fingerprint(image)}
    return found if file is None else {**found, "source": _hash_of(file), "look": _look(image).tobytes().hex()}


def is_same(kept: Mapping[str, Any], image: np.ndarray, file: Path | None) -> bool:
    """Whether this is the picture of which `marks` were kept; older ones have only `image`."""
    if kept["image"] == fingerprint(image):
        return True
    if file is None or "source" not in kept or "look" not in kept or kept["source"] != _hash_of(file):
        return False
    known = np.frombuffer(bytes.fromhex(kept["look"]), np.uint8).astype(int)
    return int(np.abs(known - _look(image).astype(int)).max()) <= _ALIKE


def file_of(read: Callable[[Any], Any], key: Any) -> Path | None:
    """The file that holds the picture of `key` and nothing else, as a data set's `read` finds it; None if there is no
    such file: a picture in a larger file, or one that is drawn.
    """
    while isinstance(read, partial):
        read = read.keywords.get("read", read.func)
    root, image = getattr(getattr(read, "__self__", None), "root", None), getattr(key, "image", None)
    if not isinstance(root, Path) or not isinstance(image, str):
        return None
    path = root / image
    return path if path.is_file() else None


def _look(image: np.ndarray) -> np.ndarray:
    """uint8 [64]"""
    small = Image.fromarray(image).convert("L").resize((_GRID, _GRID), Image.Resampling.BOX)
    return np.asarray(small).reshape(-1)


def _hash_of(file: Path) -> str:
    status = file.stat()
    return _hashed(file, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=4096)
def _hashed(file: Path, size: int, time: int) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
