"""Segmentation, measured: how well the regions of each class overlap."""

from __future__ import annotations

import numpy as np


def confusion(predicted: np.ndarray, target: np.ndarray, valid: np.ndarray, n: int) -> np.ndarray:
    """int64 [n,n]: how many valid pixels of class i (rows) were called j. ValueError for a class outside 0 to n - 1."""
    found, truth = predicted[valid].astype(np.int64), target[valid].astype(np.int64)
    for what, values in (("the prediction", found), ("the target", truth)):
        if values.size and not (int(values.min()) >= 0 and int(values.max()) < n):
            raise ValueError(f"{what} holds classes {values.min()} to {values.max()}; 0 to {n - 1} are known")
    counts: np.ndarray = np.bincount(truth * n + found, minlength=n * n).reshape(n, n)
    return counts


def intersection_over_union(counts: np.ndarray) -> np.ndarray:
    """float64 [n], of each class: pixels that are and were called so, over those that are or were; NaN if there are
    none.
    """
    right = np.diag(counts).astype(np.float64)
    union = counts.sum(axis=0) + counts.sum(axis=1) - right
    found: np.ndarray = np.divide(right, union, out=np.full(len(right), np.nan), where=union > 0)
    return found


def measure_labels(counts: np.ndarray) -> dict[str, float]:
    """`miou`, the mean over classes that occur in target or prediction, and `pixel_accuracy`; NaN without pixels."""
    ious = intersection_over_union(counts)
    total = counts.sum()
    return {
        "miou": float(np.nanmean(ious)) if np.isfinite(ious).any() else float("nan"),
        "pixel_accuracy": float(np.diag(counts).sum() / total) if total else float("nan"),
    }
