"""What the numbers of depth maps show: too few bits, clipping, holes, constants, disparity for depth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from leadline.core.text import some
from leadline.core.types import Item
from leadline.data.validate.finding import Finding


@dataclass(frozen=True)
class Look:
    """What is kept of a frame: depth and valid thinned to about 160 columns.

    `stored` are the numbers as they are in the file, thinned alike; None if they were not read. `stated`: whether the
    file or somebody says which scale they have.
    """

    name: str
    depth: np.ndarray
    valid: np.ndarray
    stored: np.ndarray | None = None
    stated: bool = False


def look(sample: Item, stored: np.ndarray | None = None, stated: bool = False) -> Look:
    """A Look at an Item."""
    thin = _thin(sample.target.shape)
    kept = None if stored is None else stored[_thin(stored.shape)]
    return Look(sample.name, sample.target[thin], sample.valid[thin], kept, stated)


def _thin(shape: tuple[int, ...]) -> tuple[slice, slice]:
    step = max(1, round(shape[1] / 160))
    return slice(step // 2, None, step), slice(step // 2, None, step)


def resolution(looks: Sequence[Look], where: str) -> Iterator[Finding]:
    """8-bit maps, and maps that were each stretched to the full range of their number type."""
    stored = [one for one in looks if one.stored is not None and one.stored.dtype.kind in "iu"]
    if not stored:
        return
    arrays = [np.asarray(one.stored) for one in stored]
    eight = [a for a in arrays if a.dtype.itemsize == 1]
    if eight:
        steps = [_step(one) for one in stored if np.asarray(one.stored).dtype.itemsize == 1]
        what = (
            f"depth has 8 bits: {len(eight)} of {len(arrays)} maps looked at, steps of {np.median(steps) * 100:.2g} cm"
        )
        yield Finding(
            "warning", what, where, "use 16 bits or floating point if the source has them; else know the step"
        )
    full = [np.iinfo(a.dtype).max if a.dtype.itemsize <= 2 else 65535 for a in arrays]
    at_top = [int(a.max()) == top for a, top in zip(arrays, full, strict=True)]
    tops = [np.mean(a == a.max()) for a in arrays]
    if len(arrays) >= 4 and np.mean(at_top) > 0.8 and np.median(tops) < 0.01:
        what = "nearly every map reaches exactly the largest number of its type: each was stretched to its own range"
        yield Finding("error", what, where, "metres are lost in these files; export depth again with one fixed scale")


def holes(looks: Sequence[Look], where: str, sparse: bool) -> Iterator[Finding]:
    """Maps without any depth, little depth in general, and numbers that are NaN or infinite."""
    empty = [one.name for one in looks if not one.valid.any()]
    if empty:
        what = f"{len(empty)} of {len(looks)} maps looked at have no valid depth: {some(empty)}"
        advice = "check invalid, depth_scale, min_depth and max_depth, or take these frames out"
        yield Finding("error" if len(empty) * 2 > len(looks) else "warning", what, where, advice)
    share = float(np.mean([one.valid.mean() for one in looks if one.valid.any()] or [1.0]))
    if share < 0.5:
        what = f"only {share:.0%} of the pixels have depth"
        advice = "fine for LiDAR; a loss must then use valid pixels only, and gradients of depth say little"
        yield Finding("note" if sparse else "warning", what, where, advice)
    broken = [one.name for one in looks if one.stored is not None and not np.isfinite(one.stored).all()]
    if broken:
        what = f"{len(broken)} maps hold NaN or infinity: {some(broken)}"
        yield Finding("warning", what, where, "they count as invalid here; other programs may not treat them so")


def flatness(looks: Sequence[Look], where: str) -> Iterator[Finding]:
    """Maps with one value only, and many pixels at exactly the largest or smallest depth of the whole set."""
    valid_looks = [one for one in looks if one.valid.sum() > 16]
    constant = [one.name for one in valid_looks if np.ptp(one.depth[one.valid]) == 0]
    if constant:
        what = f"{len(constant)} of {len(valid_looks)} maps have the same depth everywhere: {some(constant)}"
        yield Finding("error" if len(constant) * 2 > len(valid_looks) else "warning", what, where, "export these again")
    varied = [one for one in valid_looks if np.ptp(one.depth[one.valid]) > 0]
    values = _values(varied)
    if not values.size:
        return
    for end, extreme in (("largest", values.max()), ("smallest", values.min())):
        share = float(np.mean(values == extreme))
        frames = np.mean([bool((one.depth[one.valid] == extreme).any()) for one in varied])
        if share > 0.01 and frames > 0.2:
            what = (
                f"{share:.1%} of the depth is exactly the {end} value, {extreme:.4g} m: clipped, or a mark for no depth"
            )
            advice = "state it as invalid, or set max_depth below it" if end == "largest" else "state it as invalid"
            yield Finding("warning", what, where, advice)


def direction(looks: Sequence[Look], where: str) -> Iterator[Finding]:
    """Values that grow towards the viewer: disparity stored as depth; or pictures upside down.

    Two cues. Far things are at the top of most pictures: the rank correlation of rows' median depth with their place
    from the top is negative. And most surfaces are planes, whose *inverse* depth is affine in the pixel: along three
    equally spaced pixels of a slanted surface 1/a + 1/c = 2/b holds better than a + c = 2b; for disparity it is
    the other way round.
    """
    valid_looks = [one for one in looks if one.valid.mean() > 0.02]
    slopes = [slope for one in valid_looks if (slope := _row_correlation(one)) is not None]
    agree, total = np.sum([_planarity(one) for one in valid_looks] or [(0, 0)], axis=0)
    if len(slopes) < 3:
        return
    slope, planar = float(np.mean(slopes)), agree / total if total >= 500 else None
    words = f"depth grows towards the bottom of the picture (rank correlation {slope:+.2f}; usual is -0.9 to 0)"
    if planar is not None:
        words += f", and {planar:.0%} of slanted surfaces are flat as depth (usual is 53 % to 85 %)"
    if planar is not None and ((slope > 0.3 and planar < 0.48) or (slope > -0.2 and planar < 0.35)):
        advice = "depth = focal length * baseline / disparity; relative disparity cannot become metres"
        yield Finding("error", f"these look like disparity, not depth: {words}", where, advice)
    elif slope > 0.5:
        advice = "look at a few frames: are they upside down, is it disparity, or was the camera looking up?"
        yield Finding("warning", words, where, advice)


def _values(looks: Sequence[Look]) -> np.ndarray:
    return np.concatenate([one.depth[one.valid] for one in looks]) if looks else np.zeros(0, np.float32)


def _step(one: Look) -> float:
    """Metres between neighbouring stored numbers."""
    levels = np.unique(one.depth[one.valid])
    return float(np.min(np.diff(levels))) if levels.size > 1 else 0.0


def _row_correlation(one: Look) -> float | None:
    rows = [np.median(depth[valid]) for depth, valid in zip(one.depth, one.valid, strict=True) if valid.mean() > 0.05]
    if len(rows) < 8 or np.ptp(rows) == 0:
        return None
    ranks = np.argsort(np.argsort(rows, kind="stable"), kind="stable")
    return float(np.corrcoef(ranks, np.arange(len(rows)))[0, 1])


def _planarity(one: Look) -> tuple[int, int]:
    """(places where inverse depth is straighter than depth, all places on slanted surfaces)."""
    agree = total = 0
    for depth, valid in ((one.depth, one.valid), (one.depth.T, one.valid.T)):
        step = max(1, depth.shape[0] // 12)
        use = valid[: -2 * step] & valid[step:-step] & valid[2 * step :]
        a, b, c = (part[use].astype(np.float64) for part in (depth[: -2 * step], depth[step:-step], depth[2 * step :]))
        slant = np.abs(np.log(a / c))
        slanted = (slant > 0.2) & (slant < 0.7) & ((a - b) * (b - c) > 0)
        a, b, c = a[slanted], b[slanted], c[slanted]
        agree += int(np.sum(np.abs(1 / a + 1 / c - 2 / b) * b < np.abs(a + c - 2 * b) / b))
        total += a.size
    return agree, total
