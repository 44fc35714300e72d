"""Damaged photographs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fuzz.case import Case, pick
from fuzz.chunks import hostile, largest, plain
from fuzz.damage import damaged
from fuzz.pictures import picture

_ENDINGS = ("jpg", "jpeg", "png", "webp", "bmp", "tif", "tiff", "gif", "ppm", "pgm", "avif", "JPG", "heic", "txt", "")


def make(rng: np.random.Generator, folder: Path, prepared: Path) -> Case:
    """One file, sometimes with another format's ending."""
    turn = rng.random()
    if turn < 0.01:
        what, ending, data = largest(rng)
    elif turn < 0.15:
        what, ending, data = hostile(rng)
    else:
        what, ending, data = plain(rng) if turn < 0.25 else picture(rng)
        done, data = damaged(rng, data)
        what += f": {done}"
    if rng.random() < 0.1:
        ending = pick(rng, _ENDINGS)
    path = folder / f"picture.{ending}".rstrip(".")
    path.write_bytes(data)
    if rng.random() < 0.1:
        return Case(f"{what} (predict)", lambda: predicted(path, folder / "out"))
    return Case(what, lambda: seen(path))


def seen(path: Path) -> None:
    """Read the photograph; what comes out is one."""
    from leadline.core.preprocess import MAX_PIXELS, read_image

    image = read_image(path)
    assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and 0 < image.size <= 3 * MAX_PIXELS


def predicted(path: Path, out: Path) -> Any:
    """Predict it with a net that gives 1 m, and keep the result: the file's error is an outcome, not raised."""
    from leadline.core.spec import Head, Preprocess
    from leadline.predict.files import predict_files
    from leadline.predict.predictor import Predictor

    one = Predictor("one", lambda x: np.ones((len(x), 1, *x.shape[-2:]), np.float32), Preprocess(size=(16, 16)), Head())
    [outcome] = predict_files(one, [path], out, save=("npy",))
    assert outcome.error is None or str(path) in outcome.error
