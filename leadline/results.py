"""Results on disk: a depth map as 16-bit PNG, array, picture or point cloud, under names that never collide."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from leadline import geometry, viz
from leadline.data.depth_io import write_depth
from leadline.spec import Kind
from leadline.types import Depth

METRIC_ONLY = ("png16", "ply")


@dataclass(frozen=True)
class Saver:
    """Which formats to write and how they look; a choice that cannot be honoured is a ValueError at once.

    `formats` are keys of FORMATS, described at `predict.predict_files`. `model` and `kind` say what made the depth.
    """

    formats: tuple[str, ...]
    model: str
    kind: Kind
    colormap: str | None = None
    vmin: float | None = None
    vmax: float | None = None
    fov: float = 58.0

    def __post_init__(self) -> None:
        unknown = [name for name in self.formats if name not in FORMATS]
        if unknown or not self.formats:
            raise ValueError(f"save is {','.join(self.formats)!r}; one or more of {', '.join(FORMATS)} are needed")
        if self.kind != "metric":
            for name in set(METRIC_ONLY).intersection(self.formats):
                reason = f"{name} is in metres, and {self.model} gives {self.kind}, which has no unit"
                raise ValueError(f"{reason}: save npy, npz or vis")
        if not 0 < self.fov < 180:
            raise ValueError(f"fov is {self.fov}; degrees between 0 and 180 are needed")
        trial = Depth(np.ones((1, 1), np.float32), self.kind)
        viz.colorize(trial, vmin=self.vmin, vmax=self.vmax, colormap=self.colormap)

    @property
    def endings(self) -> tuple[str, ...]:
        """What follows the name in each file written."""
        return tuple(FORMATS[name][0] for name in self.formats)

    def write(self, out: Path, name: str, frame: np.ndarray, depth: Depth) -> tuple[Path, ...]:
        """Write one frame's depth in all formats; the files, in the formats' order."""
        out.mkdir(parents=True, exist_ok=True)
        files = []
        for ending, writer in (FORMATS[each] for each in self.formats):
            files.append(out / f"{name}{ending}")
            writer(files[-1], frame, depth, self)
        return tuple(files)


def output_names(paths: Sequence[Path], out: Path, endings: Sequence[str]) -> list[str]:
    """One name for each path: its stem, or else `stem_suffix`, or else that with a number.

    No two are the same, not even where case is ignored, and none with any of `endings` in `out` is one of `paths`.
    """
    inputs = {_real(path).casefold() for path in paths}
    folder = Path(_real(out))
    taken: set[str] = set()
    names = []
    room = 240 - max(len(ending) for ending in endings)  # bytes of a file's name that most file systems allow, but 15
    for path in paths:
        stem = _cut(path.stem, room)
        full = f"{_cut(path.stem, room - len(path.suffix))}_{path.suffix[1:]}"
        for name in itertools.chain([stem, full], (f"{full}_{i}" for i in itertools.count(2))):
            results = {_real(folder / f"{name}{ending}").casefold() for ending in endings}
            if name.casefold() not in taken and not results & inputs:
                break
        names.append(name)
        taken.add(name.casefold())
    return names


def _cut(name: str, room: int) -> str:
    """The name, or its start of `room` bytes."""
    return os.fsdecode(os.fsencode(name)[:room]) if len(os.fsencode(name)) > room else name


def _real(path: Path) -> str:
    """Where the path leads; a name that no file can have, as with a NUL byte, leads nowhere."""
    try:
        return os.path.realpath(path)
    except ValueError:
        return str(path)


def camera(size: tuple[int, int], fov: float) -> np.ndarray:
    """The matrix float64 [3,3] of a camera whose image of `size` (height, width) spans `fov` degrees across.

    Square pixels, the optical axis in the image's middle: the usual assumption where nobody has calibrated.
    """
    focal = size[1] / 2 / math.tan(math.radians(fov) / 2)
    return np.array([[focal, 0, (size[1] - 1) / 2], [0, focal, (size[0] - 1) / 2], [0, 0, 1]])


def write_ply(path: Path, frame: np.ndarray, depth: Depth, intrinsics: np.ndarray) -> None:
    """A binary PLY of the valid pixels: x right, y down, z forward in metres (float32), with the frame's colours."""
    use = np.asarray(depth.valid) & (depth.values > 0)
    points = np.empty(int(use.sum()), [*((axis, "<f4") for axis in "xyz"), *((c, "u1") for c in _COLOURS)])
    for axis, values in zip("xyz", geometry.unproject(depth.values, intrinsics, use).T, strict=True):
        points[axis] = values
    for colour, values in zip(_COLOURS, frame[use].T, strict=True):
        points[colour] = values
    header = [
        "ply",
        "format binary_little_endian 1.0",
        "comment metres; x right, y down, z forward",
        f"comment focal length {intrinsics[0, 0]:.6g} pixels",
        f"element vertex {len(points)}",
        *(f"property float {axis}" for axis in "xyz"),
        *(f"property uchar {colour}" for colour in _COLOURS),
        "end_header\n",
    ]
    with path.open("wb") as file:
        file.write("\n".join(header).encode("ascii"))
        file.write(points.tobytes())


_COLOURS = ("red", "green", "blue")


def _write_png16(path: Path, frame: np.ndarray, depth: Depth, saver: Saver) -> None:
    write_depth(path, depth.values, depth.valid)


def _write_npy(path: Path, frame: np.ndarray, depth: Depth, saver: Saver) -> None:
    with path.open("wb") as file:
        np.save(file, _stored(depth))


def _write_npz(path: Path, frame: np.ndarray, depth: Depth, saver: Saver) -> None:
    name = "depth" if depth.kind == "metric" else depth.kind
    arrays: dict[str, Any] = {name: _stored(depth), "valid": np.asarray(depth.valid)}
    arrays |= {"kind": np.array(depth.kind), "unit": np.array(depth.unit)}
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)


def _stored(depth: Depth) -> np.ndarray:
    """Zero is "no depth" in metres, but a value like any other in the relative kinds, where NaN takes its place."""
    return np.where(np.asarray(depth.valid), depth.values, 0 if depth.kind == "metric" else np.nan).astype(np.float32)


def _write_vis(path: Path, frame: np.ndarray, depth: Depth, saver: Saver, beside: bool = False) -> None:
    low, high = viz.value_range(depth, saver.vmin, saver.vmax)
    facts = PngInfo()
    for key, text in {
        "model": saver.model,
        "kind": depth.kind,
        "unit": depth.unit,
        "range": f"{low:g} {high:g}",
    }.items():
        facts.add_text(f"leadline:{key}", text)
    if beside:
        coloured = viz.side_by_side(frame, depth, vmin=low, vmax=high, colormap=saver.colormap)
    else:
        coloured = viz.picture(depth, vmin=low, vmax=high, colormap=saver.colormap)
    Image.fromarray(coloured).save(path, format="PNG", pnginfo=facts)


def _write_ply(path: Path, frame: np.ndarray, depth: Depth, saver: Saver) -> None:
    write_ply(path, frame, depth, camera((frame.shape[0], frame.shape[1]), saver.fov))


FORMATS: dict[str, tuple[str, Callable[[Path, np.ndarray, Depth, Saver], None]]] = {
    "png16": ("_depth.png", _write_png16),
    "npy": ("_depth.npy", _write_npy),
    "npz": ("_depth.npz", _write_npz),
    "vis": ("_vis.png", _write_vis),
    "side": ("_side.png", partial(_write_vis, beside=True)),
    "ply": (".ply", _write_ply),
}
