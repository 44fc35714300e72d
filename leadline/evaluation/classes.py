"""Classification, measured: is the right class the first, or among the first five?"""

from __future__ import annotations

import numpy as np


def measure_class(scores: np.ndarray, label: int) -> dict[str, float]:
    """`top1` and `top5` of one image, 0 or 1; their mean over images is the accuracy. Of equal scores the first counts.

    `scores` [K], larger is likelier. A label outside 0 to K - 1 is a ValueError.
    """
    if not 0 <= label < len(scores):
        raise ValueError(f"the label is {label}; the net has the classes 0 to {len(scores) - 1}")
    order = np.argsort(-scores, kind="stable")
    return {"top1": float(order[0] == label), "top5": float(label in order[:5])}
