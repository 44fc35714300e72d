"""Drawn street scenes in CamVid's layout, and a thin net that learns from them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from leadline.core.spec import Encoder, Head, Spec
from leadline.core.tasks import CAMVID
from leadline.nn import zoo

VOID = 11
TINY = Spec(
    "tiny_labels",
    Encoder("resnet20", (8, 8, 8, 8)),
    replace(zoo.unet().decoder, widths=(8, 8)),
    Head("labels", "score", layer="labels", resize="corners", classes=CAMVID),
    replace(zoo.unet().preprocess, size=(36, 48)),
)


def street(seed: int, size: tuple[int, int] = (36, 48)) -> tuple[np.ndarray, np.ndarray]:
    """A picture whose colours say the classes: sky above, road below, a car, a border of void."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(size, np.uint8)
    horizon, left = int(rng.integers(12, 24)), int(rng.integers(4, 30))
    labels[horizon:] = CAMVID.index("road")
    labels[horizon - 4 : horizon + 6, left : left + 12] = CAMVID.index("car")
    colours = np.zeros((12, 3), np.int64)
    colours[[0, 3, 8]] = (200, 220, 250), (90, 90, 90), (200, 30, 30)
    image = (colours[labels] + rng.integers(-8, 9, (*size, 3))).clip(0, 255).astype(np.uint8)
    labels[:2] = VOID
    return image, labels


def write(root: Path, part: str, n: int, seed: int, lists: bool = True) -> None:
    lines = []
    for i in range(n):
        image, labels = street(seed + i)
        for folder, picture, ending in ((part, image, "jpg"), (f"{part}annot", labels, "png")):
            (root / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(root / folder / f"{i:03d}.{ending}", quality=95)
        lines.append(f"/SegNet/CamVid/{part}/{i:03d}.jpg /SegNet/CamVid/{part}annot/{i:03d}.png")
    if lists:
        (root / f"{part}.txt").write_text("\n".join(lines) + "\n")
