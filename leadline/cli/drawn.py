"""How `leadline data show` draws an item."""

from __future__ import annotations

import numpy as np

from leadline.core import viz
from leadline.core.types import Depth, Item, Labels, joint_truth
from leadline.core.viz_labels import joint_picture, labels_picture, named_picture


def drawn_item(sample: Item, classes: tuple[str, ...], vmin: float | None, vmax: float | None) -> np.ndarray:
    """uint8 RGB: image | truth | label | difference, or of image | truth, image | label and image what there is. Of a
    data set of classes the truth is a colour for each pixel's, or the name of the image's; a label stands alone.
    """
    truth = None if classes or not sample.valid.any() else Depth(sample.target, "metric", sample.valid)
    if sample.pseudo_depth is not None:
        label = Depth(sample.pseudo_depth, sample.pseudo_kind, sample.pseudo_depth > 0)
        if truth is not None and sample.pseudo_kind == "metric":
            return viz.panel(sample.image, truth, label, vmin=vmin, vmax=vmax, captions=("truth", "label"))
        return viz.side_by_side(sample.image, label, vmin=vmin, vmax=vmax)
    if classes:
        return _drawn_classes(sample, classes)
    return sample.image if truth is None else viz.side_by_side(sample.image, truth, vmin=vmin, vmax=vmax)


def _drawn_classes(sample: Item, classes: tuple[str, ...]) -> np.ndarray:
    """uint8 RGB: the image under the name of its class, or beside the colours of its pixels', their depth if there
    is any, and legends.
    """
    if not sample.target.ndim:
        return named_picture(sample.image, classes[int(sample.target)])
    if sample.target.ndim == 3:
        return joint_picture(sample.image, joint_truth(sample, classes))
    truth = labels_picture(Labels(sample.target, classes, sample.valid))
    return np.concatenate([sample.image, truth], axis=1)
