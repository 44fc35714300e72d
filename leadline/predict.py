"""Photographs in, depth out: `Predictor` for one, `predict_files` for what a file, folder, glob or list names.

Loads no torch by itself, so a device that only has another runtime can use it.
"""

from __future__ import annotations

import glob
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from leadline.errors import BadImage, LeadlineError
from leadline.preprocess import IMAGE_SUFFIXES, Runner, from_pillow, prepare, read_image, restore
from leadline.spec import Head, Preprocess
from leadline.types import Depth

Picture = str | Path | Image.Image | np.ndarray
"""A file, a pillow image, uint8 RGB [H,W,3] or uint8 grey [H,W]."""


@dataclass(frozen=True)
class Predictor:
    """A model that takes any photograph: its runner, how a frame becomes its input, and what its numbers mean."""

    name: str
    runner: Runner
    preprocess: Preprocess
    head: Head

    def __call__(self, image: Picture) -> Depth:
        """The depth of one photograph, at the photograph's size."""
        return self.timed(image)[0]

    def timed(self, image: Picture) -> tuple[Depth, dict[str, float]]:
        """The depth, and the milliseconds of each part: read_ms, preprocess_ms, inference_ms, postprocess_ms."""
        times = [time.perf_counter()]
        frame = image_array(image)
        times.append(time.perf_counter())
        batch = prepare(frame, self.preprocess)
        times.append(time.perf_counter())
        output = self.runner(batch)
        times.append(time.perf_counter())
        values, valid = restore(output[0, 0], (frame.shape[0], frame.shape[1]), self.preprocess)
        times.append(time.perf_counter())
        parts = ("read_ms", "preprocess_ms", "inference_ms", "postprocess_ms")
        latency_ms = {part: (b - a) * 1000 for part, (a, b) in zip(parts, pairwise(times), strict=True)}
        return Depth(values, self.head.kind, valid), latency_ms


@dataclass(frozen=True)
class Outcome:
    """What became of one file: either `error`, or the depth's facts and the files written.

    `low`, `median` and `high` are of the valid pixels, in `unit`, and None where there are none; `valid` is their part.
    """

    source: Path
    error: str | None = None
    kind: str | None = None
    unit: str | None = None
    size: tuple[int, int] | None = None
    low: float | None = None
    median: float | None = None
    high: float | None = None
    valid: float | None = None
    latency_ms: dict[str, float] = field(default_factory=dict)
    files: tuple[Path, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values: `source` and `error`, or `source` and the rest, `low` and `high` named `min` and `max`."""
        if self.error is not None:
            return {"source": str(self.source), "error": self.error}
        facts = {key: value for key, value in vars(self).items() if key not in ("error", "low", "high")}
        files = [str(path) for path in self.files]
        return facts | {"source": str(self.source), "min": self.low, "max": self.high, "files": files}


def load_predictor(model: str | Path, *, threads: int | None = None) -> Predictor:
    """The Predictor of a shipped model's name or of a checkpoint file, run by PyTorch.

    It has already run once, on a grey picture, so that no photograph's time contains the set-up.
    BadCheckpoint if the file cannot be used.
    """
    from leadline.checkpoint import load
    from leadline.runtime import eager

    net = load(model)
    predictor = Predictor(net.spec.name, eager.runner(net, threads), net.spec.preprocess, net.spec.head)
    predictor(np.full((*net.spec.preprocess.size, 3), 128, np.uint8))
    return predictor


def image_array(image: Picture) -> np.ndarray:
    """The picture's pixels, uint8 RGB [H,W,3]; BadImage for an unusable file, ValueError for an unusable array."""
    if isinstance(image, str | Path):
        return read_image(image)
    if isinstance(image, Image.Image):
        try:
            return from_pillow(image)
        except (OSError, SyntaxError) as error:  # pillow reads the pixels only now
            raise BadImage(
                f"{getattr(image, 'filename', '') or 'the pillow image'} cannot be decoded: {error}"
            ) from error
    if (
        image.dtype != np.uint8
        or 0 in image.shape
        or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3))
    ):
        raise ValueError(f"the image is {image.dtype} {image.shape}; uint8 [H,W,3] (RGB) or [H,W] (grey) is needed")
    return image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)


def sources(source: str | Path) -> list[Path]:
    """The images that `source` names, in order:

    1. a folder: the files in it (not in folders below) that end in IMAGE_SUFFIXES, by name;
    2. a `.txt` file: one path a line, relative to the list's own folder; blank lines and lines with # do not count;
    3. any other file: itself;
    4. a pattern such as `photos/**/*.jpg`: the files that match, by name.

    BadImage if it names nothing. A file that a list names but that does not exist is kept: its turn brings the error.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        found = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
        reason = (
            f"the folder {path} holds no image ({' '.join(IMAGE_SUFFIXES)}); for folders below it use '{path}/**/*.jpg'"
        )
    elif path.suffix.lower() == ".txt" and path.is_file():
        found = _listed(path)
        reason = f"the list {path} names no image; one path a line is needed"
    elif path.exists():
        return [path]
    else:
        found = sorted(p for p in map(Path, glob.glob(str(path), recursive=True)) if p.is_file())
        what = "no file matches" if glob.has_magic(str(path)) else "there is no"
        reason = f"{what} {path}; an image, a folder, a pattern in quotes or a .txt list of images is needed"
    if not found:
        raise BadImage(reason)
    return found


def predict_files(
    predictor: Predictor,
    paths: Sequence[Path],
    out: Path,
    *,
    save: Sequence[str] = ("vis",),
    colormap: str | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
    fov: float = 58.0,
    keep_going: bool = True,
) -> Iterator[Outcome]:
    """One Outcome for each of `paths`, as each is done, its depth saved in the folder `out` in every format of `save`:

    - `png16` NAME_depth.png, 16 bits, millimetres, 0 = none; only for metric depth
    - `npy`   NAME_depth.npy, float32; metric: metres and 0 = none, otherwise the kind's own scale and NaN = none
    - `npz`   NAME_depth.npz, the same in an array named `depth` (or by its kind), with `valid` and `kind`
    - `vis`   NAME_vis.png, coloured, for the eye; see `viz.picture` for `colormap`, `vmin`, `vmax`
    - `side`  NAME_side.png, the photograph and `vis` next to each other
    - `ply`   NAME.ply, a coloured point cloud in metres (x right, y down, z forward), for a camera that sees `fov`
      degrees from left to right; only for metric depth

    NAME is the file's name without its suffix, made different where two files share it; no file of `paths` is ever
    overwritten. A file that cannot be used is an Outcome with its error, or with `keep_going=False` the error itself.
    """
    from leadline.results import Saver, output_names

    saver = Saver(
        tuple(save), predictor.name, predictor.head.kind, colormap, vmin, vmax, fov
    )  # refuses before any work
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file; the results need a folder")
    names = output_names(paths, out, saver.endings)
    return _each(predictor, list(zip(paths, names, strict=True)), out, saver.write, keep_going)


def _each(
    predictor: Predictor,
    work: Sequence[tuple[Path, str]],
    out: Path,
    write: Callable[[Path, str, np.ndarray, Depth], tuple[Path, ...]],
    keep_going: bool,
) -> Iterator[Outcome]:
    for path, name in work:
        start = time.perf_counter()
        try:
            frame = read_image(path)
            read_ms = (time.perf_counter() - start) * 1000
            depth, latency_ms = predictor.timed(frame)
            files = write(out, name, frame, depth)
        except (LeadlineError, OSError) as error:
            if not keep_going:
                raise
            yield Outcome(path, error=str(error))
            continue
        seen = depth.values[depth.valid]
        low, median, high = (float(f(seen)) for f in (np.min, np.median, np.max)) if seen.size else (None, None, None)
        size = (frame.shape[0], frame.shape[1])
        valid = seen.size / depth.values.size
        latency_ms = latency_ms | {"read_ms": read_ms}
        yield Outcome(path, None, depth.kind, depth.unit, size, low, median, high, valid, latency_ms, files)


def _listed(path: Path) -> list[Path]:
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise BadImage(f"{path} is not a text file (UTF-8)") from None
    entries = [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]
    return [path.parent / Path(entry).expanduser() for entry in entries]
