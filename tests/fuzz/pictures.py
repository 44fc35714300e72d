"""Whole pictures of every format and mode that pillow writes here, as bytes."""

from __future__ import annotations

import io
import struct
import warnings
from functools import cache
from typing import Any

import numpy as np
from PIL import Image, features

from fuzz.case import pick

Rng = np.random.Generator
_SIZES = ((1, 1), (7, 5), (1, 40), (33, 17), (64, 48), (160, 120))

# Format -> mode -> the options of `save` that make files of different kinds.
FORMATS: dict[str, dict[str, tuple[dict[str, Any], ...]]] = {
    "JPEG": {mode: ({}, {"progressive": True}, {"quality": 1}) for mode in ("L", "RGB", "CMYK")},
    "PNG": {
        **dict.fromkeys(("1", "L", "LA", "RGB", "RGBA", "I;16"), ({},)),
        "P": ({}, {"bits": 1}, {"bits": 2}, {"bits": 4}, {"transparency": 3}),
    },
    "WEBP": {mode: ({}, {"lossless": True}) for mode in ("RGB", "RGBA")},
    "BMP": dict.fromkeys(("1", "L", "P", "RGB", "RGBA"), ({},)),
    "TIFF": {
        **dict.fromkeys(("LA", "RGBA", "CMYK", "LAB", "I", "I;16", "F", "YCbCr"), ({}, {"compression": "tiff_lzw"})),
        "1": ({}, {"compression": "group4"}, {"compression": "group3"}),
        "L": ({}, {"compression": "packbits"}, {"compression": "tiff_adobe_deflate"}, {"compression": "jpeg"}),
        "P": ({}, {"compression": "tiff_lzw"}),
        "RGB": ({}, {"compression": "jpeg"}, {"compression": "tiff_deflate"}, {"big_tiff": True}),
    },
    "GIF": {"L": ({},), "P": ({"transparency": 1}, {"interlace": 1}), "RGB": ({"save_all": True},)},
    "PPM": dict.fromkeys(("1", "L", "RGB", "I;16", "F"), ({},)),
    **({"AVIF": {"RGB": ({},), "RGBA": ({},)}} if features.check("avif") else {}),
}
ENDINGS = {"JPEG": "jpg", "TIFF": "tif", "PPM": "ppm"}


def picture(rng: Rng) -> tuple[str, str, bytes]:
    """(what it is, its usual ending, the file's bytes)."""
    kind = pick(rng, FORMATS)
    mode = pick(rng, FORMATS[kind])
    options = dict(pick(rng, FORMATS[kind][mode]))
    size = pick(rng, _SIZES)
    if kind in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF") and "compression" not in options and rng.random() < 0.3:
        options["exif"] = exif(rng, 1 if kind in ("TIFF", "AVIF") else 4)  # pillow writes no broken ones in those
    frames = [_image(rng, mode, size) for _ in range(3 if options.get("save_all") else 1)]
    if len(frames) > 1:
        options["append_images"] = frames[1:]
    stored = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frames[0].save(stored, kind, **options)
    said = " ".join(f"{k}={v}" for k, v in options.items() if k not in ("exif", "append_images"))
    return f"{kind} {mode} {size[0]}x{size[1]} {said}".strip(), ENDINGS.get(kind, kind.lower()), stored.getvalue()


def exif(rng: Rng, ways: int = 4) -> bytes:
    """An EXIF block: an orientation, a strange one, one whose directories point at themselves, or noise."""
    way = int(rng.integers(ways))
    if way == 0:
        return _directory([(0x0112, 3, 1, int(rng.integers(0, 10)))])
    if way == 1:
        return _directory([(0x0112, int(rng.integers(0, 14)), int(rng.integers(0, 1 << 31)), 0xFFFFFFFF)])
    if way == 2:
        return _directory([(0x8769, 4, 1, 8), (0x0112, 3, 1, 6), (0x920A, 5, 1, 8)], after=8)
    return b"Exif\0\0" + rng.bytes(int(rng.integers(1, 200)))


def _directory(entries: list[tuple[int, int, int, int]], after: int = 0) -> bytes:
    rows = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(entries)) + rows + struct.pack("<I", after)


def _image(rng: Rng, mode: str, size: tuple[int, int]) -> Image.Image:
    width, height = size
    values = rng.integers(0, 256, (height, width, 4), dtype=np.uint8)
    if rng.random() < 0.5:
        values = np.broadcast_to(np.linspace(0, 255, width).astype(np.uint8)[None, :, None], values.shape)
    if mode in ("I;16", "I", "F"):
        grey = values[..., 0].astype(np.uint16) * 257
        if mode == "I;16":
            return Image.fromarray(grey)
        return Image.fromarray(grey.astype(np.float32 if mode == "F" else np.int32))
    whole = Image.fromarray(np.ascontiguousarray(values), "RGBA" if mode in ("RGBA", "LA") else None)
    if mode in ("RGBA", "LA"):
        return whole.convert(mode)
    if mode == "LAB":
        return Image.fromarray(np.ascontiguousarray(values[..., :3]), "LAB")
    return Image.fromarray(np.ascontiguousarray(values[..., :3])).convert(mode)


@cache
def known() -> str:
    """The formats, for people."""
    return ", ".join(f"{kind} ({' '.join(modes)})" for kind, modes in FORMATS.items())
