"""What classifiers of small images learn from: CIFAR's usual augmentation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from leadline.core.types import Item

PAD = 4


def crop_flip(item: Item, rng: np.random.Generator) -> Item:
    """A random cut-out of the image's own size after PAD black pixels were put around it; mirrored in half of all cases
    (He et al. 2016, section 4.2).
    """
    height, width = item.image.shape[:2]
    top, left = rng.integers(0, 2 * PAD + 1, 2)
    wide = np.pad(item.image, ((PAD, PAD), (PAD, PAD), (0, 0)))
    image = wide[top : top + height, left : left + width]
    if rng.random() < 0.5:
        image = image[:, ::-1]
    return replace(item, image=np.ascontiguousarray(image))
