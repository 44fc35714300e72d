"""The unit of a data set's depth: a wrong one, others that are as likely, and marks and rotated bits in the numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from leadline.core.text import some
from leadline.data.layouts.metres import FARTHEST_M
from leadline.data.validate.depth import Look
from leadline.data.validate.finding import Finding

USUAL_SCALES = {
    "uint8": (25.5,),
    "uint16": (1.0, 100.0, 256.0, 1000.0, 4000.0, 5000.0, 6553.5, 8000.0, 10000.0),
    "int": (1.0, 100.0, 256.0, 1000.0, 4000.0, 5000.0, 10000.0),
    "uint32": (1.0, 100.0, 256.0, 1000.0, 5000.0, 10000.0),
    "float": (1.0, 100.0, 1000.0),
}
"""Units per metre that data sets have, by the beginning of their number type's name."""

# Where the median depth of a data set lies, in metres: of Kinect-like sensors indoors, of KITTI's LiDAR, of anything.
_KINECT, _LIDAR, _ANY = (0.5, 5.0), (4.0, 35.0), (0.4, 20.0)
_MEDIANS = dict.fromkeys(("scenes7", "tum", "nyu", "nyu_h5", "nyu_mat", "nyu_txt", "densedepth"), _KINECT)
_MEDIANS |= dict.fromkeys(("kitti", "kitti_eigen", "kitti_selection"), _LIDAR)
_SURELY_WRONG = 2.5  # so many times outside that range
_NEAR_ROOM_M = 2.0
# Metres: (least, most) of the median, (least, most) of what 99 % of the pixels are nearer than.
_SCENES = {"rooms": ((0.9, 5.0), (1.8, 14.0)), "streets": ((4.0, 40.0), (15.0, 400.0))}
_TOP = 65535


def usual_scales(dtype: np.dtype) -> tuple[float, ...]:
    """The units per metre that data sets of this number type have."""
    return next((scales for kind, scales in USUAL_SCALES.items() if dtype.name.startswith(kind)), (1.0, 1000.0))


def numbers(looks: Sequence[Look]) -> tuple[np.ndarray, np.ndarray]:
    """(the stored numbers that are depth, the metres of the same maps) of the number type that most maps have; both
    empty where no numbers were kept.
    """
    kept = [one for one in looks if one.stored is not None and one.valid.any()]
    if not kept:
        return np.zeros(0), np.zeros(0)
    types = [np.asarray(one.stored).dtype for one in kept]
    kept = [one for one, dtype in zip(kept, types, strict=True) if dtype == max(types, key=types.count)]
    return np.concatenate([_counted(one) for one in kept]), np.concatenate([one.depth[one.valid] for one in kept])


def _counted(one: Look) -> np.ndarray:
    stored = np.asarray(one.stored)
    if stored.shape == one.valid.shape:
        return np.asarray(stored[one.valid])
    counts = np.isfinite(stored) & (stored > 0)  # of another size than the image
    return np.asarray(stored[counts & (stored != _TOP) if stored.dtype.name == "uint16" else counts])


def likely(looks: Sequence[Look]) -> dict[str, list[float]]:
    """For rooms and for streets the usual scales with which the stored numbers would be such a scene's, if any."""
    stored, _ = numbers(looks)
    if not stored.size:
        return {}
    middle, far = (float(v) for v in np.percentile(stored.astype(np.float64), [50, 99]))

    def fits(scene: str, scale: float) -> bool:
        (near, mid), (end, farthest) = _SCENES[scene]
        return near <= middle / scale <= mid and end <= far / scale <= farthest

    found = {scene: [scale for scale in usual_scales(stored.dtype) if fits(scene, scale)] for scene in _SCENES}
    return {scene: scales for scene, scales in found.items() if scales}


def used(looks: Sequence[Look]) -> float | None:
    """The units per metre that the looked-at maps were read with; None where nothing tells."""
    stored, metres = numbers(looks)
    median = float(np.median(metres)) if metres.size else 0.0
    return float(np.median(stored.astype(np.float64))) / median if median > 0 else None


def unit(looks: Sequence[Look], where: str, layout: str) -> Iterator[Finding]:
    """A median depth that no scene of this kind has, or nothing beyond 2 m, with the scales that would be plausible."""
    values = np.concatenate([one.depth[one.valid] for one in looks] or [np.zeros(0)])
    if not values.size:
        return
    median, far = (float(v) for v in np.percentile(values, [50, 99]))
    low, high = _MEDIANS.get(layout, _ANY)
    surely = not low / _SURELY_WRONG <= median <= high * _SURELY_WRONG
    if not low <= median <= high:
        what = f"the median depth is {median:.3g} m; {low:g} to {high:g} m is usual"
        yield Finding("error" if surely else "warning", what, where, _other_scales(looks, low, high))
    elif far < _NEAR_ROOM_M:
        what = f"99 % of the depth is nearer than {far:.3g} m; rooms and streets reach farther than {_NEAR_ROOM_M:g} m"
        yield Finding("warning", what, where, _other_scales(looks, max(low, median * 1.5), high))


def _other_scales(looks: Sequence[Look], low: float, high: float) -> str:
    """Advice: the scales with which the median of the stored numbers becomes `low` to `high` metres."""
    advice = "state the right depth_scale (units per metre)"
    stored, now = numbers(looks)[0], used(looks)
    if now is None:
        return advice
    units = float(np.median(stored))
    scales = sorted(
        {*usual_scales(stored.dtype), *(round(now) * factor for factor in (0.001, 0.01, 0.1, 10, 100, 1000))}
    )
    fitting = [scale for scale in scales if scale > 0 and low <= units / scale <= high and abs(scale / now - 1) > 0.05]
    options = " or ".join(f"{scale:g} (median {units / scale:.3g} m)" for scale in fitting)
    return f"depth_scale may be {options}, instead of {now:.4g}" if options else advice


def unstated(looks: Sequence[Look], where: str, layout: str) -> Iterator[Finding]:
    """Plain folders that nobody has stated the scale of, where another usual scale explains the numbers as well."""
    now, scales = used(looks), likely(looks)
    if layout != "folder" or now is None or any(one.stated for one in looks):
        return
    stored, metres = numbers(looks)
    median, far = (float(v) for v in np.percentile(metres, [50, 99]))
    fits = [scene for scene, found in scales.items() if any(abs(scale / now - 1) < 0.05 for scale in found)]
    if "rooms" in fits or not scales:
        return
    what = f"nobody states depth_scale; {now:.4g} units per metre give a median depth of {median:.3g} m, 99 % within"
    what += f" {far:.3g} m, " + (f"which {fits[0]} have" if fits else "which neither rooms nor streets have")
    middle = float(np.median(stored.astype(np.float64)))
    others = {scene: [s for s in found if abs(s / now - 1) > 0.05] for scene, found in scales.items()}
    lines = [
        f"if these are {scene}, it is likely {' or '.join(f'{s:g} (median {middle / s:.3g} m)' for s in found)}"
        for scene, found in others.items()
        if found
    ]
    yield Finding("note" if fits else "warning", what, where, "; ".join([*lines, "state depth_scale in dataset.toml"]))


def rotation(looks: Sequence[Look], where: str) -> Iterator[Finding]:
    """16-bit millimetres that were rotated left by three bits (SUN RGB-D).

    Of what is nearer than 8.192 m the lowest three bits are then 0, and up to 16.384 m they are 1; of numbers that are
    as they were measured each of the eight patterns is as frequent. Where 256 units are a metre and depth is as far as
    a LiDAR's, the numbers are KITTI's, and some programs round them to multiples of 8.
    """
    stored = [np.asarray(one.stored) for one in looks if one.stored is not None]
    sixteen = [values[values > 0] for values in stored if values.dtype.kind == "u" and values.dtype.itemsize == 2]
    values = np.concatenate(sixteen) if sixteen else np.zeros(0, np.uint16)
    levels = np.unique(values)
    now = used(looks) or 1000.0
    if len(levels) < 32 or abs(now / 8000 - 1) < 0.05:
        return
    if abs(now / 256 - 1) < 0.05 and _LIDAR[0] <= float(np.median(values)) / 256 <= _LIDAR[1]:
        return
    low, even = [float(np.mean((each & 7) < 2)) for each in (values, levels)], float(np.mean(levels & 15 == 0))
    if min(low) < 0.8 or even > 0.7:  # the second: four bits and more are 0, as in 8-bit maps that were made longer
        return
    median = float(np.median((values >> 3) | (values << 13))) / 1000
    what = (
        "the lowest 3 bits of the stored numbers are hardly used: they were rotated left, and depth is 8 times too far"
    )
    advice = (
        f"state depth_rotated = 3 as in SUN RGB-D, which gives millimetres and a median of {median:.3g} m"
        " (depth_scale = 8000 does the same for what is nearer than 8.192 m)"
    )
    yield Finding("error", what, where, advice)


def impossible(looks: Sequence[Look], where: str) -> Iterator[Finding]:
    """Depth that training refuses, and the largest 16-bit number, which is taken for "no depth"."""
    far = [one.name for one in looks if one.valid.any() and one.depth[one.valid].max() > FARTHEST_M]
    if far:
        farthest = max(float(one.depth[one.valid].max()) for one in looks if one.valid.any())
        what = (
            f"{len(far)} of {len(looks)} maps have depth farther than {FARTHEST_M:g} m, up to {farthest:.4g} m:"
            f" {some(far)}; training and validation refuse them"
        )
        advice = "state what it is: invalid (the stored values that mean no depth), max_depth, or depth_scale"
        yield Finding("error", what, where, advice)
    sixteen = [one for one in looks if one.stored is not None and np.asarray(one.stored).dtype.name == "uint16"]
    tops = [
        float(np.mean(top & ~one.valid)) if top.shape == one.valid.shape else 0.0
        for one in sixteen
        if (top := np.asarray(one.stored) == _TOP).any()
    ]
    if tops and max(tops) > 0:
        what = f"{len(tops)} of {len(sixteen)} maps hold {_TOP}, the largest number of 16 bits; it counts as no depth"
        yield Finding("note", what, where, "state invalid in dataset.toml, as 0 if it is a distance")
