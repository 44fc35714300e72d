"""Pictures of nothing that exists, for a teacher to look at: two photographs blended, or one with a part of another.

    python -m recipes.blend_images --data DATA --out runs/mixtures

Their makers are NYU's frames for learning and raw NYU frames. Nobody has learned such pictures by heart, neither the
teacher nor its student, and there are as many as one likes (Beyer et al. 2022, arXiv 2106.05237: a consistent teacher
and mixed pictures; Zhang et al. 2018, arXiv 1710.09412: mixup; Yun et al. 2019, arXiv 1905.04899: CutMix).
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import tyro
from PIL import Image

from leadline.core.storage import write_atomically
from leadline.data.dataset import Dataset, hold_out
from leadline.data.layouts.detect import open_dataset
from leadline.data.options import View
from leadline.data.transforms.augment import augment
from recipes.precompute_views import cut

LOOK = View(size=(240, 320), zoom=(1.0, 1.35), rotate=0, jitter=0)
"""How each of the two is seen before they are mixed."""


def mixture(one: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Of two pictures uint8 [H,W,3] one: blended, weights U(0.15, 0.85), or `one` with a rectangle of `other` where it
    lies there, sides U(0.3, 0.8) of the picture's; each as often.
    """
    if rng.random() < 0.5:
        weight = rng.uniform(0.15, 0.85)
        return np.rint(weight * one + (1 - weight) * other).astype(np.uint8)
    (tall, wide), (y, x), made = rng.uniform(0.3, 0.8, 2), rng.random(2), one.copy()
    rows, columns = cut(one.shape[:2], (y * (1 - tall), x * (1 - wide), tall, wide))
    made[rows, columns] = other[rows, columns]
    return made


def _look(learned: Dataset, raw: Dataset, rng: np.random.Generator) -> np.ndarray:
    which = int(rng.integers(len(learned) + len(raw)))
    image: np.ndarray = augment(learned[which] if which < len(learned) else raw[which - len(learned)], rng, LOOK).image
    return image


def main(*, data: Path, out: Path, n: int = 8000, seed: int = 0) -> None:
    """Write `n` pictures of 320x240 to `out`, as JPEG.

    Args:
        data: the folder that holds nyu and nyu_raw
        out: a folder; pictures that are there are kept
        n: how many
        seed: of what is mixed, and how
    """
    learned, raw = hold_out(open_dataset(data / "nyu", "train"))[0], open_dataset(data / "nyu_raw", "train")
    out.mkdir(parents=True, exist_ok=True)
    for i in range(n):
        path = out / f"{i:05}.jpg"
        if path.exists():
            continue
        rng = np.random.default_rng([seed, i])
        one, other = _look(learned, raw, rng), _look(learned, raw, rng)
        picture = io.BytesIO()
        Image.fromarray(mixture(one, other, rng)).save(picture, "JPEG", quality=92)
        write_atomically(path, picture.getvalue())


if __name__ == "__main__":
    tyro.cli(main)
