"""From the numbers of a depth file to metres, by what the file and the data set's description say."""

from __future__ import annotations

import numpy as np

from leadline.core.errors import BadData
from leadline.data.depth_io import agreed, to_metres
from leadline.data.depth_names import Stored
from leadline.data.layouts.description import Description

FARTHEST_M = 1000.0
"""Depth beyond it is refused unless a description states `max_depth`: it is a mark for "no depth", or another unit."""

IN_TOML = (
    "state in dataset.toml what they are: invalid (the values that mean no depth), max_depth (farther values do not"
    " count) or depth_scale (units per metre)"
)

USUAL_MARKS = (0.0, 65535.0)
"""What means "no depth" in 16-bit files where nobody states it: nothing, and the largest number there is."""


def stored_to_metres(
    stored: Stored,
    description: Description,
    *,
    scale: float | None = None,
    marks: tuple[float, ...] = (),
    rays: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """(depth float32 [H,W] in metres, valid bool [H,W]); depth is 0 where it is not valid.

    `scale` is what a layout says where neither the description nor the file states one, and `marks` are its further
    values for "no depth". `rays` float64 [H,W], of `ray_lengths`, are needed by a description with `ray_distance`.
    Values out of the description's range are not valid. BadData if the file contradicts the description.
    """
    own = agreed(stored, description.depth_scale)
    values = rotated_back(stored, description.depth_rotated)
    depth, valid = to_metres(
        values,
        scale=scale if own is None else own,
        offset=description.depth_offset,
        invalid=(*_marks(stored, description), *marks),
    )
    if rays is not None:
        depth = (depth / rays).astype(np.float32)
    with np.errstate(over="ignore"):  # a bound beyond float32 is infinite there
        if description.min_depth is not None:
            valid &= depth >= description.min_depth
        if description.max_depth is not None:
            valid &= depth <= description.max_depth
    np.copyto(depth, 0, where=~valid)
    return depth, valid


def refuse_far(depth: np.ndarray, stored: Stored, where: str, advice: str = IN_TOML) -> None:
    """BadData if a depth (metres, 0 = none) is beyond FARTHEST_M; `where` is its name if it is from no file."""
    farthest = float(depth.max(initial=0))
    if farthest <= FARTHEST_M:
        return
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    count = int((depth > FARTHEST_M).sum())
    raise BadData(
        f"{stored.path or where}: {count} of {depth.size} pixels are farther than {FARTHEST_M:g} m, up to"
        f" {farthest:.4g} m (stored as {stored.values[row, column]:.6g}); {advice}"
    )


def rotated_back(stored: Stored, bits: int) -> np.ndarray:
    """16-bit values rotated right by `bits`; BadData if there are `bits` and the values have another type."""
    if not bits:
        return stored.values
    if stored.values.dtype.kind != "u" or stored.values.dtype.itemsize != 2:
        raise BadData(f"{stored.path} holds {stored.values.dtype}; depth_rotated is for files of unsigned 16 bits")
    values = stored.values.astype(np.uint16)
    return (values >> np.uint16(bits)) | (values << np.uint16(16 - bits))


def ray_lengths(intrinsics: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """float64 [H,W]: how long each pixel's ray is where its z is 1, for the camera matrix of a map of `size`."""
    inverse = np.linalg.inv(np.asarray(intrinsics, np.float64))
    rows, columns = np.indices(size)
    points = np.stack([columns, rows, np.ones(size)], axis=-1) @ inverse.T
    return np.asarray(np.linalg.norm(points, axis=-1))


def _marks(stored: Stored, description: Description) -> tuple[float, ...]:
    if description.invalid is not None:
        return () if len(description.invalid) == 1 and description.invalid[0] < 0 else description.invalid
    wide = stored.values.dtype.kind == "u" and stored.values.dtype.itemsize == 2
    return USUAL_MARKS if wide and stored.scale is None else (0.0,)
