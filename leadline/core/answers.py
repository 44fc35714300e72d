"""From a net's output to what it says of a picture, by the kind of its head."""

from __future__ import annotations

import numpy as np

from leadline.core.preprocess import restore
from leadline.core.spec import Head, Preprocess
from leadline.core.types import ClassScores, Depth, Joint, Labels

Answer = Depth | ClassScores | Labels | Joint


def answer(output: np.ndarray, size: tuple[int, int], head: Head, how: Preprocess) -> Answer:
    """What float32 `output` of one picture of `size` (height, width) says: [1,1,h,w] is depth, [1,K] scores of classes,
    [1,K,h,w] scores of each pixel's, of which the highest counts after bilinear enlarging, [1,1+K,h,w] depth and such
    scores.
    """
    if head.kind == "classes":
        return ClassScores(np.asarray(output[0], np.float32), head.classes)
    if head.kind == "labels":
        return _labels(output[0], size, head, how)
    values, valid = restore(output[0, 0], size, how)
    if head.kind == "joint":
        return Joint(Depth(values, "metric", valid), _labels(output[0, 1:], size, head, how))
    return Depth(values, head.kind, valid)


def n_channels(head: Head) -> int:
    """How many channels the output of a net with that head has; of a classifier, how many scores."""
    return len(head.classes) + (head.kind == "joint") if head.classes else 1


def _labels(scores: np.ndarray, size: tuple[int, int], head: Head, how: Preprocess) -> Labels:
    best, valid = restore(scores[0], size, how)
    found = np.zeros(size, np.uint8 if len(scores) < 256 else np.int64)
    for i, one in enumerate(scores[1:], 1):  # one map at a time: 40 of them at 480x640 are 49 MB
        values, _ = restore(one, size, how)
        np.putmask(found, values > best, i)
        np.maximum(best, values, out=best)
    return Labels(found, head.classes, valid)
