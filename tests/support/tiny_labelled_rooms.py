"""Drawn rooms in DenseDepth's layout with NYU's 40 classes beside them, and a thin net that learns both."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from leadline.core.spec import Decoder, Encoder, Head, Spec
from leadline.core.tasks import NYU40

WALL, FLOOR, CHAIR, UNKNOWN = 0, 1, 4, 39
TINY_DEPTH = Spec(
    "tiny_depth",
    Encoder("mobilenet_v1", (8,) * 14),
    Decoder("nnconv5", (8,) * 5, kernel=3),
    Head(batch_statistics=False),
)
TINY_JOINT = Spec("tiny_joint", TINY_DEPTH.encoder, TINY_DEPTH.decoder, Head("joint", layer="joint", classes=NYU40))
SIZE = (48, 64)


def room(seed: int, size: tuple[int, int] = SIZE) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(image uint8 [H,W,3], depth uint8 [H,W], labels uint8 [H,W]): a wall, a floor that comes nearer, a chair, and a
    border without a label. Colours say the classes.
    """
    rng = np.random.default_rng(seed)
    labels = np.full(size, WALL, np.uint8)
    horizon, left = int(rng.integers(18, 28)), int(rng.integers(6, 40))
    labels[horizon:] = FLOOR
    labels[horizon - 6 : horizon + 8, left : left + 14] = CHAIR
    depth = np.full(size, 120.0)
    depth[horizon:] = np.linspace(120, 40, size[0] - horizon)[:, None]
    depth[labels == CHAIR] = 70
    colours = np.zeros((40, 3), np.int64)
    colours[[WALL, FLOOR, CHAIR]] = (210, 200, 180), (110, 70, 40), (30, 60, 160)
    image = (colours[labels] + rng.integers(-8, 9, (*size, 3))).clip(0, 255).astype(np.uint8)
    labels[:3], labels[:, -3:] = UNKNOWN, UNKNOWN
    return image, depth.round().astype(np.uint8), labels


def write(root: Path, train: int = 12, test: int = 4, annotations: str | None = "labels40") -> Path:
    """The folder, as NYU's files are passed around; without `annotations`, depth alone."""
    number = 0
    for part, n in (("train", train), ("test", test)):
        lines = []
        for _ in range(n):
            image, depth, labels = room(number)
            stem = f"data/nyu2_{part}/{number:05d}"
            files = {f"{stem}_colors.png": image, f"{stem}_depth.png": depth}
            if annotations is not None:
                files[f"{annotations}/{number:05d}.png"] = labels
            for name, values in files.items():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(values).save(root / name)
            lines.append(f"{stem}_colors.png,{stem}_depth.png")
            number += 1
        (root / f"nyu2_{part}.csv").write_text("\n".join(lines) + "\n")
    return root
