"""Depth, disparity, cameras and alignment: the arithmetic between what a net says and what a metre is.

Pixel coordinates have the centre of the top-left pixel at (0, 0). Camera axes: x right, y down, z forward (metres).
"Disparity" without a unit is inverse depth (1/m), as in the relative-depth literature; with `factor` = focal length in
pixels times baseline in metres it is the stereo disparity in pixels.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from leadline.core.spec import Kind
from leadline.core.types import Depth

Alignment = Literal["none", "median", "lsq_depth", "lsq_disparity", "lsq_log"]

ALIGNMENTS: dict[Alignment, tuple[Kind, ...]] = {
    "none": ("metric",),
    "median": ("metric", "relative_depth"),
    "lsq_depth": ("metric", "relative_depth"),
    "lsq_disparity": ("metric", "relative_depth", "relative_disparity"),
    "lsq_log": ("metric", "relative_depth"),
}
"""Which kinds of prediction each alignment can turn into metres."""


def depth_to_disparity(depth: np.ndarray, *, factor: float = 1.0) -> np.ndarray:
    """`factor` / depth; 0 (infinitely far) where the depth is not a positive finite number."""
    good = np.isfinite(depth) & (depth > 0)
    return np.where(good, factor / np.where(good, depth, 1), 0)


def disparity_to_depth(disparity: np.ndarray, *, max_depth: float, factor: float = 1.0) -> np.ndarray:
    """`factor` / disparity, at most `max_depth`, which zero and negative disparities also become; NaN stays NaN."""
    return np.asarray(factor / np.maximum(disparity, factor / max_depth))


def merge_mirrored(disparity: np.ndarray, mirrored: np.ndarray) -> np.ndarray:
    """One disparity map [H,W] of two: the image's own, and that of its mirror image, mirrored back (Godard et al. 2017:
    "pp").

    The leftmost 5 % of the columns are the second's alone and the rightmost the first's, since a net that has learned
    from stereo pairs knows least of the left border, which the right view does not show. Over the next 5 % each turns
    into the mean of both, which is all between.
    """
    x = np.linspace(0, 1, disparity.shape[-1], dtype=disparity.dtype)
    second = 1 - (20 * (x - 0.05)).clip(0, 1)
    first = second[::-1]
    return np.asarray(first * disparity + second * mirrored + (1 - first - second) * (disparity + mirrored) / 2)


def scale_intrinsics(intrinsics: np.ndarray, size: tuple[int, int], new_size: tuple[int, int]) -> np.ndarray:
    """The camera matrix float64 [3,3] after an image of `size` (height, width) was resized to `new_size`."""
    y, x = new_size[0] / size[0], new_size[1] / size[1]
    resized = np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2], [0, 0, 1]], np.float64)
    return resized @ np.asarray(intrinsics, np.float64)


def crop_intrinsics(intrinsics: np.ndarray, top: float, left: float) -> np.ndarray:
    """The camera matrix float64 [3,3] after `top` rows and `left` columns were cut away."""
    cut = np.array([[1, 0, -left], [0, 1, -top], [0, 0, 1]], np.float64)
    return cut @ np.asarray(intrinsics, np.float64)


def unproject(depth: np.ndarray, intrinsics: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """The points float64 [N,3] (metres, camera axes) of the N valid pixels of `depth` [H,W], in row order.

    Without `valid`, every positive finite depth is a point.
    """
    use = np.isfinite(depth) & (depth > 0) if valid is None else valid
    rows, columns = np.nonzero(use)
    pixels = np.stack([columns, rows, np.ones_like(rows)]).astype(np.float64)  # [3,N]
    rays = np.linalg.solve(np.asarray(intrinsics, np.float64), pixels)
    return np.asarray((rays * depth[use].astype(np.float64)).T)


def project(points: np.ndarray, intrinsics: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixel positions float64 [N,2] (x, y) and depths [N] of points [N,3]; not in front of the camera they are NaN."""
    image = np.asarray(points, np.float64) @ np.asarray(intrinsics, np.float64).T
    z = image[:, 2]
    return image[:, :2] / np.where(z > 0, z, np.nan)[:, None], z


def extend(values: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """`values` [H,W] with every invalid pixel replaced by the nearest valid one of its row, rows without any by the
    nearest row that has one. So a prediction that leaves pixels out can still be judged on all of them.
    """
    if valid.all():
        return values
    if not valid.any():
        raise ValueError("no pixel is valid, so there is nothing to extend")
    height, width = values.shape
    column = np.arange(width)
    left = np.maximum.accumulate(np.where(valid, column, -1), axis=1)
    right = np.minimum.accumulate(np.where(valid, column, width)[:, ::-1], axis=1)[:, ::-1]
    take_left = (left >= 0) & ((right >= width) | (column - left <= right - column))
    filled = np.take_along_axis(values, np.where(take_left, left, right).clip(0, width - 1), axis=1)
    rows = np.flatnonzero(valid.any(axis=1))
    return np.asarray(filled[rows[np.abs(np.arange(height)[:, None] - rows).argmin(axis=1)]])


def align(
    pred: Depth,
    target: np.ndarray,
    valid: np.ndarray,
    how: Alignment,
    *,
    depth_range: tuple[float, float] = (1e-3, 100.0),
) -> Depth:
    """The prediction as metric depth, fitted to `target` (metres, [H,W]) on pixels valid in both; float64 inside.

    1. `none`: as it is; only metric depth passes.
    2. `median`: times median(target) / median(pred) (Zhou et al. 2017, monodepth2).
    3. `lsq_depth`: scale and shift by least squares in depth (Marigold).
    4. `lsq_disparity`: scale and shift by least squares in disparity (MiDaS); a predicted depth is inverted first.
    5. `lsq_log`: slope and offset by least squares between logarithms of depth.

    All but `none` clip the result into `depth_range`, so a disparity that the fit makes zero or negative is the
    farthest depth. In 4 and 5 a predicted depth <= 0 counts as the smallest positive one. Where no scale can be found
    (a constant prediction, a single pixel, no positive depth or median), the result is the best constant: the target's
    median in 2, otherwise its mean in the space of the fit. Without a pixel valid in both, no pixel of the result is.
    A negative scale is kept: that prediction is wrong and its numbers shall show it.
    A kind that `how` cannot turn into metres is a ValueError.
    """
    if how not in ALIGNMENTS:
        raise ValueError(f"alignment {how!r} is unknown; allowed: {', '.join(get_args(Alignment))}")
    if pred.kind not in ALIGNMENTS[how]:
        can = ", ".join(h for h, kinds in ALIGNMENTS.items() if pred.kind in kinds)
        raise ValueError(f"alignment {how!r} cannot turn {pred.kind} into metres; what fits it: {can}")
    if target.shape != pred.values.shape or valid.shape != target.shape:
        raise ValueError(
            f"prediction {pred.values.shape}, target {target.shape} and valid {valid.shape} differ in size"
        )
    seen = np.isfinite(pred.values) & (True if pred.valid is None else pred.valid)
    if how == "none":
        return Depth(pred.values, "metric", seen)
    good = np.isfinite(target) & (target > 0)
    use = valid & good & seen
    if not use.any():
        return Depth(np.zeros_like(pred.values), "metric", np.zeros_like(seen))
    x = np.where(seen, pred.values, 0).astype(np.float64)
    metres = _fit(x, np.where(good, target, 1).astype(np.float64), use, pred.kind, how, depth_range[1])
    return Depth(np.where(seen, metres.clip(*depth_range), 0).astype(np.float32), "metric", seen)


def robust_line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """(slope, offset) of a line through points [N] that a third of wrong ones does not move much; float64 inside.

    Twenty rounds of weighted least squares: in the first ten the weights are 1 / |error| (least absolute errors), then
    Tukey's biweight, (1 - (error / 4.685 s)^2)^2 with s = 1.4826 x the median error (Beaton and Tukey 1974). Where x
    does not vary the slope is 0 and the offset the median of y. Two points at least are needed, otherwise a ValueError.
    """
    if x.shape != y.shape or x.ndim != 1 or x.size < 2:
        raise ValueError(f"points of shapes {x.shape} and {y.shape}; two [N] of one length, N at least 2, are needed")
    x, y = x.astype(np.float64), y.astype(np.float64)
    weights = np.ones_like(x)
    spread = 1e-9 * max(float(np.abs(x).max()), np.finfo(np.float64).tiny)
    slope, offset = 0.0, float(np.median(y))
    for round_ in range(20):
        total = weights.sum()
        middle_x, middle_y = float(weights @ x / total), float(weights @ y / total)
        variance = float(weights @ (x - middle_x) ** 2 / total)
        if variance <= spread**2:
            return 0.0, float(np.median(y))
        slope = float(weights @ ((x - middle_x) * (y - middle_y)) / total / variance)
        offset = middle_y - slope * middle_x
        error = np.abs(y - slope * x - offset)
        scale = 1.4826 * float(np.median(error))
        if scale <= 1e-12 * float(np.abs(y).max()):
            break  # most points lie on the line
        weights = 1 / np.maximum(error, 0.01 * scale)
        if round_ >= 10:
            weights = np.clip(1 - (error / (4.685 * scale)) ** 2, 0, None) ** 2
    return slope, offset


def _fit(x: np.ndarray, t: np.ndarray, use: np.ndarray, kind: Kind, how: Alignment, max_depth: float) -> np.ndarray:
    if how == "median":
        middle, wanted = float(np.median(x[use])), float(np.median(t[use]))
        return x * (wanted / middle) if middle > 0 else np.full_like(x, wanted)
    if how == "lsq_depth":
        return _line(x, t, use)
    if kind != "relative_disparity":
        positive = use & (x > 0)
        x = np.maximum(x, x[positive].min()) if positive.any() else np.ones_like(x)
    if how == "lsq_log":
        with np.errstate(over="ignore"):
            return np.asarray(np.exp(_line(np.log(x), np.log(t), use)))
    return disparity_to_depth(_line(x if kind == "relative_disparity" else 1 / x, 1 / t, use), max_depth=max_depth)


def _line(x: np.ndarray, y: np.ndarray, use: np.ndarray) -> np.ndarray:
    """a x + b with the least squared distance from y on the pixels `use`; a = 0 where x does not vary there."""
    middle_x, middle_y = x[use].mean(), y[use].mean()
    dx, dy = x[use] - middle_x, y[use] - middle_y
    spread = float(dx @ dx)
    rounding = dx.size * (1e-12 * np.abs(x[use]).max()) ** 2  # variation below this is noise of the arithmetic
    slope = float(dx @ dy) / spread if spread > rounding else 0.0
    return np.asarray(middle_y + slope * (x - middle_x))
