"""From a net's output to what it says of a picture, by the kind of its head."""

from __future__ import annotations

import numpy as np

from leadline.core.preprocess import restore
from leadline.core.spec import Head, Preprocess
from leadline.core.types import ClassScores, Depth, Labels


def answer(output: np.ndarray, size: tuple[int, int], head: Head, how: Preprocess) -> Depth | ClassScores | Labels:
    """What float32 `output` of one picture of `size` (height, width) says: [1,1,h,w] is depth, [1,K] scores of classes,
    [1,K,h,w] scores of each pixel's, of which the highest counts after bilinear enlarging.
    """
    if head.kind == "classes":
        return ClassScores(np.asarray(output[0], np.float32), head.classes)
    if head.kind != "labels":
        values, valid = restore(output[0, 0], size, how)
        return Depth(values, head.kind, valid)
    maps = [restore(scores, size, how) for scores in output[0]]
    best = np.argmax([scores for scores, _ in maps], axis=0)
    return Labels(best.astype(np.uint8 if len(maps) < 256 else np.int64), head.classes, maps[0][1])
