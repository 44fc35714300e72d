"""How far a depth map is from the truth: plain formulas in float64 numpy, one number for each image.

Pixel metrics take the predicted and true depths (metres) of the pixels that count, arrays of one shape. They do not
hide impossible values: a prediction that is not positive makes the logarithmic and inverse ones infinite or NaN, and
misses every delta. `measure` selects the pixels and computes many at once; evaluation protocols clamp first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf, isnan, log

import numpy as np


def abs_rel(pred: np.ndarray, target: np.ndarray) -> float:
    """Mean of |p - t| / t (no unit). Eigen et al., NIPS 2014."""
    return _mean(np.abs(pred - target) / target)


def sq_rel(pred: np.ndarray, target: np.ndarray) -> float:
    """Mean of (p - t)^2 / t, in metres. Eigen et al. 2014."""
    return _mean((pred - target) ** 2 / target)


def mae(pred: np.ndarray, target: np.ndarray) -> float:
    """Mean of |p - t|, in metres."""
    return _mean(np.abs(pred - target))


def rmse(pred: np.ndarray, target: np.ndarray) -> float:
    """Root of the mean of (p - t)^2, in metres."""
    return _root_mean((pred - target) ** 2)


def rmse_log(pred: np.ndarray, target: np.ndarray) -> float:
    """Root of the mean of (ln p - ln t)^2."""
    return _root_mean(_log_ratio(pred, target) ** 2)


def log10(pred: np.ndarray, target: np.ndarray) -> float:
    """Mean of |log10 p - log10 t|."""
    return _mean(np.abs(_log_ratio(pred, target))) / log(10)


def si_rmse(pred: np.ndarray, target: np.ndarray) -> float:
    """Standard deviation of d = ln p - ln t: sqrt(mean(d^2) - mean(d)^2); a common factor does not change it."""
    d = _log_ratio(pred, target)
    return _root_mean((d - d.mean()) ** 2)


def silog(pred: np.ndarray, target: np.ndarray) -> float:
    """100 times `si_rmse`, the form of the KITTI benchmark (others weigh mean(d)^2 by 0.5 or 0.85 and differ)."""
    return 100 * si_rmse(pred, target)


def irmse(pred: np.ndarray, target: np.ndarray) -> float:
    """Root of the mean of (1/p - 1/t)^2, in 1/km as KITTI prints it."""
    return 1000 * _root_mean((1 / pred - 1 / target) ** 2)


def imae(pred: np.ndarray, target: np.ndarray) -> float:
    """Mean of |1/p - 1/t|, in 1/km as KITTI prints it."""
    return 1000 * _mean(np.abs(1 / pred - 1 / target))


def delta1(pred: np.ndarray, target: np.ndarray) -> float:
    """Fraction of pixels with max(p/t, t/p) < 1.25."""
    return _delta(pred, target, 1.25)


def delta2(pred: np.ndarray, target: np.ndarray) -> float:
    """Fraction of pixels with max(p/t, t/p) < 1.25^2."""
    return _delta(pred, target, 1.25**2)


def delta3(pred: np.ndarray, target: np.ndarray) -> float:
    """Fraction of pixels with max(p/t, t/p) < 1.25^3."""
    return _delta(pred, target, 1.25**3)


def boundary_f1(pred: np.ndarray, target: np.ndarray, valid: np.ndarray) -> float:
    """How well depth edges match, 0 to 1, from depth maps [H,W]; a common factor does not change it.

    Scale-invariant boundary F1 of Depth Pro (Bochkovskii et al., arXiv 2410.02073): between two neighbouring pixels
    there is an edge at threshold r if one is more than r times as far as the other. For each of the four directions
    (which neighbour is nearer), precision and recall compare the predicted edges with the true ones; both are averaged
    over the directions and joined to an F1, which is averaged over ten r from 1.05 to 1.25, weighted by r. As in the
    authors' code the edges are not thinned, and without a common edge it is 0, even if neither map has one.
    Deviation: pairs with an invalid pixel do not count (the authors' truth is dense).
    """
    log_pred, log_target = (np.log(np.where(valid, x, 1).clip(1e-6)) for x in (pred, target))
    steps = []
    for axis in (0, 1):
        pair = np.minimum(*_neighbours(valid, axis))
        steps.append([np.diff(x, axis=axis)[pair] for x in (log_pred, log_target)])
    thresholds = np.linspace(1.05, 1.25, 10)
    scores = [_edge_f1([(s * p, s * t) for p, t in steps for s in (1, -1)], log(r)) for r in thresholds]
    return float(np.average(scores, weights=thresholds))


METRICS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "delta1": delta1,
    "delta2": delta2,
    "delta3": delta3,
    "abs_rel": abs_rel,
    "sq_rel": sq_rel,
    "rmse": rmse,
    "rmse_log": rmse_log,
    "log10": log10,
    "silog": silog,
    "si_rmse": si_rmse,
    "mae": mae,
    "irmse": irmse,
    "imae": imae,
}
"""Metrics of pixels, by name; `measure` computes all of them unless told which."""

MAP_METRICS: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], float]] = {"boundary_f1": boundary_f1}
"""Metrics that need whole maps (prediction, target, valid), by name; only computed when asked for."""

HIGHER_IS_BETTER = frozenset({"delta1", "delta2", "delta3", "boundary_f1", "top1", "top5", "miou", "pixel_accuracy"})
"""The metrics of which more is better; of all others less is."""


def worse_by(name: str, before: float, after: float) -> float:
    """How much worse `after` is than `before` in the metric `name`, in its unit: above 0 is worse, whatever its sense.

    A value that is NaN is infinitely worse, or where it was so before, as bad.
    """
    if isnan(after):
        return 0.0 if isnan(before) else inf
    return before - after if name in HIGHER_IS_BETTER else after - before


def measure(
    pred: np.ndarray, target: np.ndarray, valid: np.ndarray, names: Sequence[str] = tuple(METRICS)
) -> dict[str, float]:
    """The metrics `names` of one image: depths in metres [H,W] where `valid`. Without a valid pixel each is NaN."""
    unknown = [name for name in names if name not in METRICS and name not in MAP_METRICS]
    if unknown:
        raise ValueError(f"the metric {unknown[0]!r} is unknown; allowed: {', '.join([*METRICS, *MAP_METRICS])}")
    if not pred.shape == target.shape == valid.shape:
        raise ValueError(f"prediction {pred.shape}, target {target.shape} and valid {valid.shape} differ in size")
    if valid.dtype != bool:
        raise ValueError(f"valid is {valid.dtype}; bool is needed")
    if not valid.any():
        return dict.fromkeys(names, float("nan"))
    p, t = pred[valid].astype(np.float64), target[valid].astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return {n: METRICS[n](p, t) if n in METRICS else MAP_METRICS[n](pred, target, valid) for n in names}


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values))


def _root_mean(squares: np.ndarray) -> float:
    return float(np.sqrt(np.mean(squares)))


def _log_ratio(pred: np.ndarray, target: np.ndarray) -> np.ndarray:
    return np.asarray(np.log(pred / target))


def _delta(pred: np.ndarray, target: np.ndarray, factor: float) -> float:
    """Written without division, so that a depth that is not positive is a miss whatever its partner."""
    return _mean((pred < factor * target) & (target < factor * pred))


def _neighbours(x: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    return (x[:-1], x[1:]) if axis == 0 else (x[:, :-1], x[:, 1:])


def _edge_f1(directions: list[tuple[np.ndarray, np.ndarray]], threshold: float) -> float:
    precision = recall = 0.0
    for pred, target in directions:
        found, true = pred > threshold, target > threshold
        both = int((found & true).sum())
        precision += both / max(int(found.sum()), 1) / len(directions)
        recall += both / max(int(true.sum()), 1) / len(directions)
    return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0
