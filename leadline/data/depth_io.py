"""Depth maps on disk, to metres and back: PNG, TIFF, `.npy`, `.npz`, OpenEXR, HDF5 and MATLAB's `.mat`.

What a file says of itself is believed: PNG files of ours hold their units per metre and their kind as text, `.npz`
files of ours the kind, the unit and which pixels are valid, as arrays.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from leadline.core.errors import BadData, Lost, MissingPackage
from leadline.core.spec import Kind
from leadline.core.text import reason
from leadline.data.depth_arrays import read_h5, read_mat, read_npy, read_npz
from leadline.data.depth_exr import open_exr, read_exr
from leadline.data.depth_names import Stored, agreeing, few_enough, stated_kind, stated_scale
from leadline.data.depth_tiff import read_tiff

Invalid = float | tuple[float, ...] | None
"""The stored value or values that mean "no depth here"; None or one negative number: there is no such value."""

INTEGER_SCALE = 1000.0
"""Units per metre of integer files whose scale nobody states: millimetres."""

PNG_SCALES = (1000.0, 256.0, 100.0)
"""Units per metre that a PNG may be written with: 16 bits hold 65 m, 255 m and 655 m."""

_BLOCK = 1 << 22  # pixels that are made metres at a time
SCALE_TEXT, KIND_TEXT = "leadline:depth_scale", "leadline:kind"
"""What a PNG of ours calls its units per metre and its kind."""


def read_depth(
    path: str | Path,
    *,
    scale: float | None = None,
    offset: float = 0.0,
    invalid: Invalid = 0,
    key: str | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """(depth float32 [H,W] in metres, valid bool [H,W]) of one depth map; depth is 0 where it is not valid.

    Suffix: `.png` (8 or 16 bits), `.tif .tiff`, `.npy`, `.npz`, `.exr`, `.h5 .hdf5`, `.mat`. `key` names the array,
    channel, dataset, variable or page that is the depth, where a file holds several and none is called so. `scale`
    None: what the file says, else as in `to_metres`. BadData, naming the file, if it is missing, empty, cut short, has
    several channels, is of another type, holds something else than metres, or says another scale than `scale`.
    """
    stored = read_stored(path, key=key)
    return to_metres(stored.values, scale=agreed(stored, scale), offset=offset, invalid=invalid)


def agreed(stored: Stored, scale: float | None) -> float | None:
    """Units per metre by what somebody stated (`scale`) and by what the file says; BadData if these differ."""
    if scale is None or stored.scale is None or math.isclose(scale, stored.scale, rel_tol=1e-4):
        return stored.scale if scale is None else scale
    raise BadData(
        f"{stored.path} says that it has {stored.scale:g} units per metre, and depth_scale is {scale:g}: leave"
        " depth_scale out, and each file counts as it says"
    )


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
    depth = np.empty(values.shape, np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        for rows in _blocks(values.shape):
            depth[rows] = (values[rows].astype(np.float64) + offset) / scale
    valid = np.isfinite(depth) & (depth > 0)
    for mark in invalid if isinstance(invalid, tuple) else () if invalid is None or invalid < 0 else (invalid,):
        valid &= ~_is_mark(values, mark)
    np.copyto(depth, 0, where=~valid)
    return depth, valid


def _blocks(shape: tuple[int, ...]) -> Iterator[slice]:
    """The rows of a map in parts, so that the largest map does not need a copy in double precision."""
    rows = max(1, _BLOCK // max(1, shape[1])) if len(shape) > 1 else _BLOCK
    return (slice(top, top + rows) for top in range(0, shape[0], rows))


def _is_mark(values: np.ndarray, mark: float) -> np.ndarray:
    """Where the stored values are `mark`, which a file has as its own number type holds it: 1e11 in 32 bits is not."""
    if values.dtype.kind == "f":
        with np.errstate(over="ignore"):
            return np.asarray(values == values.dtype.type(mark))
    info = np.iinfo(values.dtype)
    whole = math.isfinite(mark) and mark == int(mark) and info.min <= mark <= info.max
    return np.asarray(values == values.dtype.type(int(mark)) if whole else np.zeros(values.shape, bool))


def read_values(path: str | Path, *, key: str | None = None, kind: Kind | None = "metric") -> np.ndarray:
    """The numbers of one depth file as they are stored, [H,W], integer or floating point. Errors as in `read_depth`.

    `kind` is what the numbers are taken for; a file that says that it holds another is a BadData. None: any.
    """
    return read_stored(path, key=key, kind=kind).values


def read_stored(path: str | Path, *, key: str | None = None, kind: Kind | None = "metric") -> Stored:
    """As `read_values`, with what the file says of its numbers."""
    path = Path(path)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise BadData(f"{path}: depth maps end in {', '.join(_READERS)}, not in '{path.suffix}'")
    if not os.path.isfile(path):
        is_folder = os.path.isdir(path)
        raise BadData(f"{path} is a folder, a depth map is needed" if is_folder else f"{path} does not exist")
    if not path.stat().st_size:
        raise BadData(f"{path} is empty (0 bytes); copy it again")
    try:
        stored = reader(path, kind, key)
    except (BadData, MissingPackage):
        raise
    except Exception as error:  # damaged files make pillow, zipfile, zlib and numpy raise nearly anything
        raise BadData(
            f"{path} cannot be read ({reason(error)}); if it is cut short or damaged, copy it again"
        ) from error
    values = stored.values
    if values.ndim == 3:
        values = values[..., 0] if values.shape[2] == 1 else values[0] if values.shape[0] == 1 else values
    if values.ndim != 2 or 0 in values.shape:
        raise BadData(f"{path} has the shape {values.shape}; depth has one channel [H,W]: save that alone")
    if values.dtype.kind not in "iuf":
        raise BadData(f"{path} holds {values.dtype}; depth is integer or floating point")
    return replace(stored, values=values, path=path)


def write_depth(
    path: str | Path, depth: np.ndarray, valid: np.ndarray | None = None, *, scale: float | None = None
) -> None:
    """Write depth float32 [H,W] in metres to `.png` (16 bits), `.npy`, `.npz` (array `depth`) or `.exr`.

    What is not `valid` (None: everything finite above 0 is) is stored as 0, the mark for "no depth". `scale` is in
    units per metre; None: 1 for the float formats, and for PNG the first of PNG_SCALES that holds the farthest value
    (1000, millimetres, unless something is beyond 65.5 m). A PNG states its scale in its text. It holds 1 to 65535
    units: what is nearer than half a unit becomes 0, too, and so does what is farther; a warning counts these.
    """
    path = Path(path)
    writer = _WRITERS.get(path.suffix.lower())
    if writer is None:
        raise ValueError(f"depth can be written to {', '.join(_WRITERS)}, not to '{path.suffix}' ({path})")
    if depth.ndim != 2 or (valid is not None and (valid.shape != depth.shape or valid.dtype != bool)):
        given = "none" if valid is None else f"{valid.dtype} {valid.shape}"
        raise ValueError(f"depth is {depth.shape} and valid {given}; [H,W] and bool [H,W] are needed")
    if scale is not None and (not scale > 0 or not np.isfinite(scale)):
        raise ValueError(f"scale is {scale}; units per metre, above 0, are needed")
    usable = np.isfinite(depth) & (depth > 0) & (True if valid is None else valid)
    writer(path, np.where(usable, depth, 0).astype(np.float64), scale)


def _read_png(path: Path, kind: Kind | None, key: str | None) -> Stored:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pillow warns of large files and odd metadata
        with Image.open(path, formats=("PNG",)) as image:
            few_enough(path, image.height, image.width)
            if image.mode in ("1", "P", "PA"):
                raise BadData(f"{path} is a {image.mode!r} picture for the eye, not a depth map; save the numbers")
            scale, says = image.info.get(SCALE_TEXT), image.info.get(KIND_TEXT)
            known = None if says is None else stated_kind(path, says)
            agreeing(path, "", known, kind)
            return Stored(np.asarray(image), None if scale is None else stated_scale(path, scale), known)


def _write_png(path: Path, depth: np.ndarray, scale: float | None) -> None:
    top, farthest = np.iinfo(np.uint16).max, float(depth.max(initial=0))
    if scale is None:
        fitting = [one for one in PNG_SCALES if round(farthest * one) <= top]
        scale = fitting[0] if fitting else PNG_SCALES[-1]
        beyond = int((np.rint(depth * INTEGER_SCALE) > top).sum())
        if beyond and fitting:
            why = f"{beyond} of its pixels are farther than {top / INTEGER_SCALE:.1f} m, which millimetres cannot hold"
            warnings.warn(f"{path} has {scale:g} units per metre, as it says in its text: {why}", Lost, stacklevel=3)
    rounded = np.rint(depth * scale)
    stored = np.where(rounded <= top, rounded, 0).astype(np.uint16)
    lost = int((rounded > top).sum())
    if lost:
        why = f"16 bits hold {top / scale:.4g} m at {scale:g} units per metre; take a smaller scale, or npy, npz or exr"
        warnings.warn(f"{path} lost {lost} of {depth.size} pixels, now stored as no depth: {why}", Lost, stacklevel=3)
    facts = PngInfo()
    facts.add_text(SCALE_TEXT, f"{scale:.10g}")
    facts.add_text(KIND_TEXT, "metric")
    Image.fromarray(stored).save(path, format="PNG", pnginfo=facts)


def _write_npy(path: Path, depth: np.ndarray, scale: float | None) -> None:
    with path.open("wb") as file:
        np.save(file, (depth * (scale or 1)).astype(np.float32))


def _write_npz(path: Path, depth: np.ndarray, scale: float | None) -> None:
    facts = {"kind": np.array("metric")} | ({"unit": np.array("m")} if scale in (None, 1) else {})
    with path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, depth=(depth * (scale or 1)).astype(np.float32), **facts)


def _write_exr(path: Path, depth: np.ndarray, scale: float | None) -> None:
    exr = open_exr()
    header = {"compression": exr.ZIP_COMPRESSION, "type": exr.scanlineimage}
    exr.File(header, {"Z": (depth * (scale or 1)).astype(np.float32)}).write(str(path))


_READERS: dict[str, Callable[[Path, Kind | None, str | None], Stored]] = {
    ".png": _read_png,
    ".tif": read_tiff,
    ".tiff": read_tiff,
    ".npy": read_npy,
    ".npz": read_npz,
    ".exr": read_exr,
    ".h5": read_h5,
    ".hdf5": read_h5,
    ".mat": read_mat,
}
_WRITERS: dict[str, Callable[[Path, np.ndarray, float | None], None]] = {
    ".png": _write_png,
    ".npy": _write_npy,
    ".npz": _write_npz,
    ".exr": _write_exr,
}
DEPTH_SUFFIXES = tuple(_READERS)
