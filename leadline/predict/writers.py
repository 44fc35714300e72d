"""Results on disk: a depth map as 16-bit PNG, array, picture or point cloud, under names that never collide."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from leadline.core import geometry, viz
from leadline.core.own_results import MARK, PLY_COMMENT, is_own
from leadline.core.spec import Kind
from leadline.core.types import Depth
from leadline.core.writing import may_be_written, place
from leadline.data.depth_io import write_depth
from leadline.predict.cameras import FIELD_OF_VIEW, Seen, by_view, camera_of, stated_camera

METRIC_ONLY = ("png16", "ply")


@dataclass(frozen=True)
class Saver:
    """Which formats to write and how they look; a choice that cannot be honoured is a ValueError at once.

    `formats` are keys of FORMATS, described at `predict.predict_files`. `model` and `kind` say what made the depth.
    With `own_range` each picture of metric depth is coloured over its own values, unless `vmin` or `vmax` is given.
    `fov` and `intrinsics` (for `cameras.stated_camera`) state the camera; `seen` is that of the frame that is written.
    """

    formats: tuple[str, ...]
    model: str
    kind: Kind
    colormap: str | None = None
    vmin: float | None = None
    vmax: float | None = None
    fov: float | None = None
    intrinsics: str | None = None
    seen: Seen | None = None
    own_range: bool = False

    def __post_init__(self) -> None:
        unknown = [name for name in self.formats if name not in FORMATS]
        if unknown or not self.formats:
            raise ValueError(f"save is {','.join(self.formats)!r}; one or more of {', '.join(FORMATS)} are needed")
        if self.kind != "metric":
            for name in set(METRIC_ONLY).intersection(self.formats):
                reason = f"{name} is in metres, and {self.model} gives {self.kind}, which has no unit"
                raise ValueError(f"{reason}: save npy, npz or vis")
        if self.fov is not None and self.intrinsics is not None:
            raise ValueError("fov and intrinsics both say what the camera sees; give one of them")
        by_view((1, 1), FIELD_OF_VIEW if self.fov is None else self.fov)
        if self.intrinsics is not None and "ply" not in self.formats:
            raise ValueError(f"intrinsics are for ply; save is {','.join(self.formats)}")
        if self.intrinsics is not None:
            stated_camera(self.intrinsics)
        trial = Depth(np.ones((1, 1), np.float32), self.kind)
        viz.colorize(trial, vmin=self.vmin, vmax=self.vmax, colormap=self.colormap)

    @property
    def endings(self) -> tuple[str, ...]:
        """What follows the name in each file written."""
        return tuple(FORMATS[name][0] for name in self.formats)

    def of(self, path: Path, size: tuple[int, int]) -> Saver:
        """The Saver that knows the camera of the photograph at `path`, of `size`, where a format needs it."""
        if "ply" not in self.formats:
            return self
        camera = None if self.intrinsics is None else stated_camera(self.intrinsics)
        return replace(self, seen=camera_of(path, size, camera, self.fov))

    def write(self, out: Path, name: str, frame: np.ndarray, depth: Depth) -> tuple[Path, ...]:
        """Write one frame's depth in all formats; the files, in the formats' order."""
        out.mkdir(parents=True, exist_ok=True)
        files = []
        for ending, writer in (FORMATS[each] for each in self.formats):
            files.append(may_be_written(out / f"{name}{ending}", inside=out))
            try:
                writer(files[-1], frame, depth, self)
            except BaseException:  # the disk is full, or the user has had enough: half a file would pass for a result
                files[-1].unlink(missing_ok=True)
                raise
        return tuple(files)


def output_names(paths: Sequence[Path], out: Path, endings: Sequence[str]) -> list[str]:
    """One name for each path: its stem, or else `stem_suffix`, or else that with a number.

    No two are the same, not even where case is ignored, and none with any of `endings` in `out` is one of `paths`, or
    a file there that leadline did not write. A .npy file does not say who wrote it: in a folder of the photographs it
    counts as another's, elsewhere as an earlier result.
    """
    inputs = {place(path) for path in paths}
    here = place(out) in {place(path.parent) for path in paths}
    taken: set[str] = set()
    names = []
    room = 240 - max(len(ending) for ending in endings)  # bytes of a file's name that most file systems allow, but 15
    for path in paths:
        stem = _cut(path.stem, room)
        full = f"{_cut(path.stem, room - len(path.suffix))}_{path.suffix[1:]}"
        for name in itertools.chain([stem, full], (f"{full}_{i}" for i in itertools.count(2))):
            targets = [out / f"{name}{ending}" for ending in endings]
            mine = any(_is_anothers(target, here) for target in targets)
            if name.casefold() not in taken and not inputs.intersection(map(place, targets)) and not mine:
                break
        names.append(name)
        taken.add(name.casefold())
    return names


def _cut(name: str, room: int) -> str:
    """The name, or its start of `room` bytes."""
    return os.fsdecode(os.fsencode(name)[:room]) if len(os.fsencode(name)) > room else name


def _is_anothers(target: Path, here: bool) -> bool:
    try:
        if target.is_symlink():  # what it leads to is not of this folder
            return True
        if not target.exists():
            return False
    except (OSError, ValueError):  # a name that no file can have; writing it says why
        return False
    return here if target.suffix == ".npy" else not is_own(target)


def write_ply(path: Path, frame: np.ndarray, depth: Depth, camera: Seen) -> None:
    """A binary PLY of the valid pixels: x right, y down, z forward in metres (float32), with the frame's colours."""
    intrinsics = camera.matrix
    use = np.asarray(depth.valid) & (depth.values > 0)
    points = np.empty(int(use.sum()), [*((axis, "<f4") for axis in "xyz"), *((c, "u1") for c in _COLOURS)])
    for axis, values in zip("xyz", geometry.unproject(depth.values, intrinsics, use).T, strict=True):
        points[axis] = values
    for colour, values in zip(_COLOURS, frame[use].T, strict=True):
        points[colour] = values
    header = [
        "ply",
        "format binary_little_endian 1.0",
        PLY_COMMENT,
        f"comment focal length {intrinsics[0, 0]:.6g} pixels",
        f"comment camera from {camera.source}",
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


def png_text(facts: Mapping[str, str]) -> PngInfo:
    """What a PNG of ours says of itself, by which `own_results` knows it."""
    text = PngInfo()
    for key, value in facts.items():
        text.add_text(f"{MARK}{key}", value)
    return text


def colour_range(depth: Depth, saver: Saver) -> tuple[float, float]:
    """(low, high) between which the Saver colours a depth map."""
    free = saver.own_range and saver.vmin is None and saver.vmax is None
    return viz.own_range(depth) if free else viz.value_range(depth, saver.vmin, saver.vmax)


def _write_vis(path: Path, frame: np.ndarray, depth: Depth, saver: Saver, beside: bool = False) -> None:
    low, high = colour_range(depth, saver)
    facts = png_text({"model": saver.model, "kind": depth.kind, "unit": depth.unit, "range": f"{low:g} {high:g}"})
    if beside:
        coloured = viz.side_by_side(frame, depth, vmin=low, vmax=high, colormap=saver.colormap)
    else:
        coloured = viz.picture(depth, vmin=low, vmax=high, colormap=saver.colormap)
    Image.fromarray(coloured).save(path, format="PNG", pnginfo=facts)


def _write_ply(path: Path, frame: np.ndarray, depth: Depth, saver: Saver) -> None:
    assumed = Seen(by_view((frame.shape[0], frame.shape[1]), saver.fov or FIELD_OF_VIEW), "an assumed field of view")
    write_ply(path, frame, depth, saver.seen or assumed)


FORMATS: dict[str, tuple[str, Callable[[Path, np.ndarray, Depth, Saver], None]]] = {
    "png16": ("_depth.png", _write_png16),
    "npy": ("_depth.npy", _write_npy),
    "npz": ("_depth.npz", _write_npz),
    "vis": ("_vis.png", _write_vis),
    "side": ("_side.png", partial(_write_vis, beside=True)),
    "ply": (".ply", _write_ply),
}
