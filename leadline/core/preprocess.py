"""From a frame to the net's input and back: one truth for training, runtimes and demo (numpy and pillow only)."""

from __future__ import annotations

import os
import stat
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image

from leadline.core.errors import BadImage
from leadline.core.formats import IMAGE_SUFFIXES as IMAGE_SUFFIXES
from leadline.core.formats import formats, guess
from leadline.core.orientation import of_file, stated, turned
from leadline.core.spec import Preprocess
from leadline.core.text import reason

Runner = Callable[[np.ndarray], np.ndarray]
"""A loaded model: float32 [N,3,h,w], RGB in 0..1 -> float32 [N,1,h,w], an array that is the caller's to keep.

A file made for whole camera frames is one too: uint8 [N,H,W,3], RGB -> float32 [N,1,H,W].
Threads may share one: their calls take turns where the runtime needs that.
"""

MAX_PIXELS = 100_000_000
"""Larger pictures and depth maps are refused: one needs 300 or 400 MB once decoded, and such a file is more often a
bomb or damaged.
"""

_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "nearest": Image.Resampling.NEAREST}


def read_image(path: str | Path) -> np.ndarray:
    """A photograph's pixels uint8 [H,W,3], RGB, upright, from a JPEG, PNG, WebP, BMP, TIFF, GIF, PPM, JPEG 2000
    or AVIF file, or HEIC where the package pillow-heif is installed.

    - The EXIF orientation is applied. An animation gives its first frame.
    - Transparent parts are laid over white. Grey, palette, 1-bit, CMYK and the like become RGB.
    - 16-bit and integer grey: 0..65535 becomes 0..255. Floating-point grey is read the same way, unless no value
      exceeds 255 or 1 (it would be black throughout): then it is 0..255 already, or 0..1 becomes that.
    - Colour profiles (ICC) are not applied: the stored numbers are taken as sRGB.

    BadImage, in one line that names the file, if it is missing, a folder, empty, not an image, cut short or damaged, or
    if it has more than MAX_PIXELS pixels.
    """
    return read_upright(path)[0]


def read_upright(path: str | Path) -> tuple[np.ndarray, int]:
    """(what `read_image` gives, the EXIF orientation 1 to 8 that was applied to it; see `orientation`)."""
    path = Path(path)
    if os.path.isdir(path):
        raise BadImage(f"{path} is a folder; one image file is needed")
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise BadImage(f"{path} is a pipe, a socket or a device; one image file is needed")
        if not found.st_size:
            raise BadImage(f"{path} is empty (0 bytes)")
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pillow warns of large files, odd EXIF and palettes, all dealt with here
            return _decode(file, path)
    except FileNotFoundError:
        raise BadImage(
            f"{path} does not exist{': it is a link to what is not there' if os.path.islink(path) else ''}"
        ) from None
    except PermissionError:
        raise BadImage(f"{path} may not be read: permission denied") from None
    except (OSError, ValueError) as error:  # a name too long or with a NUL byte, a link to itself, a disk that is gone
        raise BadImage(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _decode(file: IO[bytes], path: Path) -> tuple[np.ndarray, int]:
    limit = f"leadline reads up to {MAX_PIXELS // 1_000_000} million pixels: make it smaller first"
    try:
        image = Image.open(file, formats=formats())
    except Image.DecompressionBombError:
        raise BadImage(f"{path} is too large; {limit}") from None
    except Exception as error:  # damaged headers make pillow's readers raise nearly anything
        file.seek(0)
        what = guess(file.read(64))
        guessed = f"it is {what}" if what else "or its start is damaged"
        raise BadImage(f"{path} is not an image that can be read ({', '.join(formats())}), {guessed}") from error
    if image.width * image.height > MAX_PIXELS:
        raise BadImage(f"{path} has {image.width} x {image.height} pixels; {limit}")
    # a TIFF forgets it once it is loaded; a PNG is loaded to find it, and its damage would not show a second time
    turn = of_file(image) if image.format == "TIFF" else None
    try:
        pixels = from_pillow(image)
        return pixels, of_file(image) if turn is None else turn
    except Exception as error:
        raise BadImage(
            f"{path} cannot be decoded, it is cut short, damaged or of a rare kind: {reason(error)}"
        ) from error


def from_pillow(image: Image.Image) -> np.ndarray:
    """The pixels of a pillow image uint8 [H,W,3], RGB, upright, as `read_image` gives; damage is pillow's error."""
    image.load()  # first: pillow itself turns a TIFF then, and a file is asked for its tag after that
    return turned(_pixels(image), stated(image))


def _pixels(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I") or image.mode == "F":
        return _grey(np.asarray(image))
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        return _over_white(image)
    return np.array(image.convert("RGB"))


_BAND = 1 << 20
"""So many pixels are converted at a time: all of a large picture at once, in float64, would be several GB."""


def _grey(values: np.ndarray) -> np.ndarray:
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= 65535):  # nor NaN
        raise ValueError("grey values outside 0..65535")
    usual = (1.0, 255.0, 65535.0) if values.dtype.kind == "f" else (65535.0,)
    scale = next(top for top in usual if high <= top)
    out = np.empty((*values.shape, 3), np.uint8)
    for rows in _bands(*values.shape):
        out[rows] = (values[rows].astype(np.float64) / scale * 255).round().astype(np.uint8)[..., None]
    return out


def _over_white(image: Image.Image) -> np.ndarray:
    out = np.empty((image.height, image.width, 3), np.uint8)
    for rows in _bands(image.height, image.width):
        part = image.crop((0, rows.start, image.width, rows.stop)).convert("RGBA")
        whole = Image.alpha_composite(Image.new("RGBA", part.size, "white"), part)
        out[rows] = np.asarray(whole.convert("RGB"))
    return out


def _bands(height: int, width: int) -> Iterator[slice]:
    step = max(1, _BAND // width)
    for top in range(0, height, step):
        yield slice(top, min(top + step, height))


def prepare(image: np.ndarray, how: Preprocess) -> np.ndarray:
    """The net's input float32 [1,3,h,w] in 0..1 from a frame uint8 [H,W,3] of any size.

    Bilinear is pillow's: it averages when it shrinks, so small inputs do not alias. `corners` does not average.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"the frame is {image.dtype} {image.shape}; uint8 [H,W,3] is needed")
    top, left, height, width = window(image.shape[:2], how)
    if how.resize == "corners":
        rows = between(image.shape[0], how.size[0], (top, height))
        columns = between(image.shape[1], how.size[1], (left, width))
        return np.ascontiguousarray(_corners(image, rows, columns).transpose(2, 0, 1)[None] / np.float32(255))
    box = (left, top, left + width, top + height)
    small = Image.fromarray(image).resize((how.size[1], how.size[0]), _FILTERS[how.resize], box=box)
    return np.ascontiguousarray(np.asarray(small, np.float32).transpose(2, 0, 1)[None] / np.float32(255))


def restore(values: np.ndarray, frame_size: tuple[int, int], how: Preprocess) -> tuple[np.ndarray, np.ndarray]:
    """The net's output float32 [h,w] at the frame's size, and bool [H,W]: which pixels the net has seen."""
    top, left, height, width = seen_part(frame_size, how)
    values, back = values.astype(np.float32), how.back or how.resize
    if back == "corners":
        seen = _corners(values, between(values.shape[0], height), between(values.shape[1], width))
    else:
        seen = np.asarray(Image.fromarray(values).resize((width, height), _FILTERS[back]))
    out, valid = np.zeros(frame_size, np.float32), np.zeros(frame_size, bool)
    part = (slice(top, top + height), slice(left, left + width))
    out[part], valid[part] = seen, True
    return out, valid & np.isfinite(out)


def seen_part(frame_size: tuple[int, int], how: Preprocess) -> tuple[int, int, int, int]:
    """Top, left, height and width of the part of a frame [H,W] that `restore` fills, in whole pixels."""
    top, left, height, width = (round(v) for v in window(frame_size, how))
    return top, left, max(height, 1), max(width, 1)


def taps(n: int, n_out: int, rule: str, part: tuple[float, float] | None = None) -> np.ndarray:
    """The weights float32 [n_out, n] by which `prepare` and `restore` resize one axis from `n` to `n_out` pixels, by
    one of the rules of `Preprocess.resize`.

    `part` is the stretch (start, length) of the axis that is read, by default all of it. They are pillow's own: what it
    makes of unit impulses.
    """
    if rule == "corners":
        lower, share = between(n, n_out, part)
        weights = np.zeros((n_out, n), np.float32)
        weights[np.arange(n_out), np.minimum(lower + 1, n - 1)] = share
        weights[np.arange(n_out), lower] += 1 - share
        return weights
    start, length = part or (0.0, float(n))
    impulses = Image.fromarray(np.eye(n, dtype=np.float32))
    turned = impulses.resize((n_out, n), _FILTERS[rule], box=(start, 0, start + length, n))
    return np.ascontiguousarray(np.asarray(turned).T)


def between(n: int, n_out: int, part: tuple[float, float] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """For `corners` on one axis: the lower of the two pixels that each of `n_out` lies between, and the share
    (float32, 0 to 1) of the one after it. `part` is the stretch (start, length) that is read, by default all.
    """
    start, length = part or (0.0, float(n))
    # torch's order of operations, so that the two agree to the last bit of the place
    place = np.float32(start) + np.arange(n_out, dtype=np.float32) * np.float32((length - 1) / max(n_out - 1, 1))
    lower = np.clip(np.floor(place), 0, max(n - 2, 0)).astype(np.int64)
    return lower, np.clip(place - lower, 0, min(n - 1, 1)).astype(np.float32)


def _corners(x: np.ndarray, rows: tuple[np.ndarray, np.ndarray], columns: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    for axis, (lower, share) in enumerate((rows, columns)):
        first = np.take(x, lower, axis).astype(np.float32)
        second = np.take(x, np.minimum(lower + 1, x.shape[axis] - 1), axis).astype(np.float32)
        x = first + (second - first) * share.reshape(-1, *[1] * (x.ndim - 1 - axis))
    return x


def window(frame_size: tuple[int, int], how: Preprocess) -> tuple[float, float, float, float]:
    """Top, left, height and width of the seen part, in pixels of the frame."""
    height, width = frame_size[0] * how.view[0], frame_size[1] * how.view[1]
    return (frame_size[0] - height) / 2, (frame_size[1] - width) / 2, height, width
