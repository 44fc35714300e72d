"""Depth maps on disk: 16-bit PNG with a declared scale, `.npy`, `.npz` and OpenEXR, to metres and back."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from leadline.errors import BadData, MissingPackage

Invalid = int | tuple[int, ...] | None
"""The stored value or values that mean "no depth here"; None or a negative number: there is no such value."""

INTEGER_SCALE = 1000.0
"""Units per metre of integer files whose scale nobody states: millimetres."""

MAX_PIXELS = 100_000_000
"""Larger pictures are refused: one needs 400 MB once read, and such a file is more often damaged than a depth map."""


def read_depth(
    path: str | Path, *, scale: float | None = None, offset: float = 0.0, invalid: Invalid = 0
) -> tuple[np.ndarray, np.ndarray]:
    """(depth float32 [H,W] in metres, valid bool [H,W]) of one depth map; depth is 0 where it is not valid.

    Suffix: `.png .tif .tiff` (one channel of 8, 16 or 32 bits), `.npy`, `.npz` (its array `depth`, else its first) or
    `.exr` (its channel Z, depth, Y or V, else its only one). See `to_metres` for the other arguments. BadData, naming
    the file, if it is missing, empty, cut short, has several channels, or is of another type.
    """
    return to_metres(read_values(path), scale=scale, offset=offset, invalid=invalid)


def to_metres(
    values: np.ndarray, *, scale: float | None = None, offset: float = 0.0, invalid: Invalid = 0
) -> tuple[np.ndarray, np.ndarray]:
    """(depth float32 in metres, valid bool): (values + offset) / scale, and 0 and False where that is no depth.

    No depth is: a stored value listed in `invalid`, NaN, infinite, zero or less. `scale` is in units per metre; None
    means 1000 for integers (millimetres) and 1 for floating-point values (metres).
    """
    if scale is None:
        scale = INTEGER_SCALE if values.dtype.kind in "iu" else 1.0
    if not scale > 0 or not np.isfinite(scale) or not np.isfinite(offset):
        raise ValueError(f"scale is {scale} and offset {offset}; a scale above 0 and a finite offset are needed")
    marks = [mark for mark in (invalid if isinstance(invalid, tuple) else (invalid,)) if mark is not None and mark >= 0]
    with np.errstate(over="ignore", invalid="ignore"):
        depth = ((values.astype(np.float64) + offset) / scale).astype(np.float32)
    valid = np.isfinite(depth) & (depth > 0) & ~np.isin(values, marks)
    return np.where(valid, depth, np.float32(0)), valid


def read_values(path: str | Path) -> np.ndarray:
    """The numbers of one depth file as they are stored, [H,W], integer or floating point. Errors as in `read_depth`."""
    path = Path(path)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise BadData(f"{path}: depth maps end in {', '.join(_READERS)}, not in '{path.suffix}'")
    if not path.is_file():
        raise BadData(f"{path} is a folder, a depth map is needed" if path.is_dir() else f"{path} does not exist")
    if not path.stat().st_size:
        raise BadData(f"{path} is empty (0 bytes); copy it again")
    try:
        values = reader(path)
    except (BadData, MissingPackage):
        raise
    except Exception as error:  # damaged files make pillow, zipfile, zlib and numpy raise nearly anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BadData(f"{path} cannot be read ({reason}); if it is cut short or damaged, copy it again") from error
    if values.ndim == 3:
        values = values[..., 0] if values.shape[2] == 1 else values[0] if values.shape[0] == 1 else values
    if values.ndim != 2 or 0 in values.shape:
        raise BadData(f"{path} has the shape {values.shape}; depth has one channel [H,W]: save that alone")
    if values.dtype.kind not in "iuf":
        raise BadData(f"{path} holds {values.dtype}; depth is integer or floating point")
    return values


def write_depth(
    path: str | Path, depth: np.ndarray, valid: np.ndarray | None = None, *, scale: float | None = None
) -> None:
    """Write depth float32 [H,W] in metres to `.png` (16 bits), `.npy`, `.npz` (array `depth`) or `.exr`.

    What is not `valid` (None: everything finite above 0 is) is stored as 0, the mark for "no depth". `scale`, units per
    metre, is 1000 for PNG and 1 for the float formats unless given. A PNG holds 1 to 65535 units (65.5 m in
    millimetres): what is nearer or farther cannot be stored truthfully and becomes 0, too.
    """
    path = Path(path)
    writer = _WRITERS.get(path.suffix.lower())
    if writer is None:
        raise ValueError(f"depth can be written to {', '.join(_WRITERS)}, not to '{path.suffix}' ({path})")
    if depth.ndim != 2 or (valid is not None and (valid.shape != depth.shape or valid.dtype != bool)):
        given = "none" if valid is None else f"{valid.dtype} {valid.shape}"
        raise ValueError(f"depth is {depth.shape} and valid {given}; [H,W] and bool [H,W] are needed")
    if scale is None:
        scale = INTEGER_SCALE if writer is _write_png else 1.0
    if not scale > 0 or not np.isfinite(scale):
        raise ValueError(f"scale is {scale}; units per metre, above 0, are needed")
    usable = np.isfinite(depth) & (depth > 0) & (True if valid is None else valid)
    writer(path, np.where(usable, depth, 0).astype(np.float64) * scale)


def _read_picture(path: Path) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pillow warns of large files and odd metadata
        with Image.open(path, formats=("PNG", "TIFF")) as image:
            if image.width * image.height > MAX_PIXELS:
                raise BadData(f"{path} has {image.width} x {image.height} pixels; at most {MAX_PIXELS} are read")
            if image.mode in ("1", "P", "PA"):
                raise BadData(f"{path} is a {image.mode!r} picture for the eye, not a depth map; save the numbers")
            return np.asarray(image)


def _read_npz(path: Path) -> np.ndarray:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        if not arrays.files:
            raise BadData(f"{path} holds no array; an array named 'depth' is needed")
        return np.asarray(arrays["depth" if "depth" in arrays.files else arrays.files[0]])


def _read_npy(path: Path) -> np.ndarray:
    with path.open("rb") as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def _read_exr(path: Path) -> np.ndarray:
    exr = _open_exr()
    with exr.File(str(path), header_only=True) as file:  # before memory is taken for its pixels
        (left, top), (right, bottom) = file.header()["dataWindow"]
        if (right - left + 1) * (bottom - top + 1) > MAX_PIXELS:
            raise BadData(f"{path} claims more than {MAX_PIXELS} pixels; so many are not read")
    with exr.File(str(path), separate_channels=True) as file:
        channels = {name: channel.pixels for name, channel in file.channels().items()}
    named = [name for name in channels if name.rpartition(".")[2].lower() in ("z", "depth", "y", "v")]
    if len(named) != 1 and len(channels) != 1:
        raise BadData(f"{path} has the channels {', '.join(channels)}; depth is one of them called Z or depth")
    return np.asarray(channels[named[0] if len(named) == 1 else next(iter(channels))])


def _write_png(path: Path, units: np.ndarray) -> None:
    rounded = np.rint(units)
    stored = np.where(rounded <= np.iinfo(np.uint16).max, rounded, 0).astype(np.uint16)
    facts = PngInfo()
    facts.add_text("leadline:kind", "metric")  # so that leadline knows its own file again
    Image.fromarray(stored).save(path, format="PNG", pnginfo=facts)


def _write_npy(path: Path, units: np.ndarray) -> None:
    with path.open("wb") as file:
        np.save(file, units.astype(np.float32))


def _write_npz(path: Path, units: np.ndarray) -> None:
    with path.open("wb") as file:
        np.savez_compressed(file, depth=units.astype(np.float32))


def _write_exr(path: Path, units: np.ndarray) -> None:
    exr = _open_exr()
    header = {"compression": exr.ZIP_COMPRESSION, "type": exr.scanlineimage}
    exr.File(header, {"Z": units.astype(np.float32)}).write(str(path))


def _open_exr() -> Any:
    try:
        import OpenEXR
    except ImportError as error:
        raise MissingPackage("OpenEXR", "exr", "depth in OpenEXR files") from error
    return OpenEXR


_READERS: dict[str, Callable[[Path], np.ndarray]] = {
    ".png": _read_picture,
    ".tif": _read_picture,
    ".tiff": _read_picture,
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".exr": _read_exr,
}
_WRITERS: dict[str, Callable[[Path, np.ndarray], None]] = {
    ".png": _write_png,
    ".npy": _write_npy,
    ".npz": _write_npz,
    ".exr": _write_exr,
}
DEPTH_SUFFIXES = tuple(_READERS)
