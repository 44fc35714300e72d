"""How far a file in lower precision is from its float32 net, in the words in which depth is judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from leadline.core.spec import Kind


def agreement(found: np.ndarray, expected: np.ndarray, valid: np.ndarray | None = None) -> dict[str, float]:
    """How near `found` is to `expected`, maps of one shape, where `valid` (None: everywhere) and both are finite.

    - `within_125`: the share of pixels whose values differ by a factor below 1.25 (delta1 with the net as the truth);
      a value of another sign, or 0, does not count as near
    - `mean_difference`: the mean absolute difference, in the maps' unit
    - `mean_value`: the mean of `expected`

    Nothing is aligned, also for relative nets: the file has to compute the net's own numbers. NaN where no pixel
    counts.
    """
    counts = np.isfinite(found) & np.isfinite(expected) & (True if valid is None else valid)
    a, b = found[counts].astype(np.float64), expected[counts].astype(np.float64)
    if not a.size:
        return {"within_125": float("nan"), "mean_difference": float("nan"), "mean_value": float("nan")}
    near = (a * b > 0) & (np.maximum(np.abs(a), np.abs(b)) < 1.25 * np.minimum(np.abs(a), np.abs(b)))
    near |= a == b
    return {
        "within_125": float(near.mean()),
        "mean_difference": float(np.abs(a - b).mean()),
        "mean_value": float(b.mean()),
    }


def same_class(found: np.ndarray, expected: np.ndarray) -> dict[str, float]:
    """`same_class`: the share of pictures, or of pixels, whose class of the highest score is that of `expected`, both
    [B,K] or [B,K,h,w].
    """
    return {"same_class": float(np.mean(found.argmax(axis=1) == expected.argmax(axis=1)))}


def agreement_of(kind: Kind) -> Callable[[np.ndarray, np.ndarray], dict[str, float]]:
    """What compares two outputs of a net of that kind: `agreement` of depth, `same_class` of scores, or both."""
    table = {"classes": same_class, "labels": same_class, "joint": _of_both}
    return table.get(kind, agreement)


def _of_both(found: np.ndarray, expected: np.ndarray) -> dict[str, float]:
    """Of depth in channel 0 and scores behind it, [B,1+K,h,w]."""
    return agreement(found[:, :1], expected[:, :1]) | same_class(found[:, 1:], expected[:, 1:])


def mean_agreement(each: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean over images, each counting alike."""
    return {key: float(np.mean([one[key] for one in each])) for key in each[0]}


def in_words(near: Mapping[str, float], metric: bool) -> str:
    """`98.2 % of the pixels within 1.25 of the float32 net, 0.031 m apart on average`; of a relative net, whose numbers
    have no unit, the second as part of its mean value.
    """
    classes = ""
    if "same_class" in near:
        classes = f"{100 * near['same_class']:.1f} % of the classes are those of the float32 net"
    if "within_125" not in near:
        return classes
    apart = f"{near['mean_difference']:.3f} m"
    if not metric:
        apart = f"{100 * near['mean_difference'] / (abs(near['mean_value']) or 1.0):.1f} % of the mean value"
    depth = f"{100 * near['within_125']:.1f} % of the pixels within 1.25 of the float32 net, {apart} apart on average"
    return f"{depth}; {classes}" if classes else depth
