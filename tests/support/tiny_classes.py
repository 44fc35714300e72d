"""Small sets of classes in CIFAR's two spellings: pictures whose class is how bright they are."""

from __future__ import annotations

import io
import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image


def pictures(n: int, seed: int) -> tuple[np.ndarray, list[int]]:
    """Pictures whose class is how bright they are, of ten."""
    rng = np.random.default_rng(seed)
    labels = [i % 10 for i in range(n)]
    grey = np.array([25 * label + 12 for label in labels])[:, None, None, None]
    return (grey + rng.integers(-3, 4, (n, 32, 32, 3))).clip(0, 255).astype(np.uint8), labels


def write_batches(root: Path, name: str, n: int, seed: int) -> Path:
    """One of the authors' files."""
    images, labels = pictures(n, seed)
    root.mkdir(parents=True, exist_ok=True)
    flat = images.transpose(0, 3, 1, 2).reshape(n, 3072)
    (root / name).write_bytes(pickle.dumps({b"data": flat, b"labels": labels, b"batch_label": b"x"}, protocol=2))
    return root / name


def png(image: np.ndarray) -> bytes:
    """The picture as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "png")
    return file.getvalue()


def write_parquet(root: Path, part: str, stored: Sequence[bytes], labels: Sequence[int]) -> Path:
    """A parquet file of encoded pictures. It needs pyarrow."""
    import pyarrow as pa
    from pyarrow import parquet

    root.mkdir(parents=True, exist_ok=True)
    path = root / f"{part}-00000-of-00001.parquet"
    rows = [{"bytes": one, "path": "x.png"} for one in stored]
    parquet.write_table(pa.table({"img": rows, "label": list(labels)}), path)
    return path
