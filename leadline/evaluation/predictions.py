"""Saved depth maps of any program as predictions: paired with the frames of a data set by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np

from leadline.core.errors import BadData, LeadlineError
from leadline.core.text import some
from leadline.core.types import Depth, Item
from leadline.data.dataset import Dataset, subset
from leadline.data.layouts.filelist import stem
from leadline.data.map_folder import MapFolder, refuse_shape


@dataclass(frozen=True)
class Paired:
    """The frames of a data set that have a map: `frames`. `missing` are the names of those without, `unused` the files
    that no frame asks for.
    """

    maps: MapFolder
    frames: Dataset
    missing: tuple[str, ...]
    unused: tuple[str, ...]
    allow_missing: bool = False

    def __call__(self, sample: Item) -> Depth:
        """The saved map of the frame `sample`, of its own size.

        ValueError if it is of another shape than the frame, or, unless `allow_missing`, if it cannot be read or holds
        no value; with `allow_missing` that is BadData.
        """
        path = self.maps.root / str(self.maps.file_of(str(sample.name)))
        try:
            values = self.maps.read(path)
            if not np.isfinite(values).any():
                raise BadData(f"{path} holds no value: all its pixels are 0, NaN or infinite")
        except BadData as error:
            if self.allow_missing:
                raise
            raise ValueError(f"{error}. Repair it, or give --allow-missing to leave such frames out") from error
        refuse_shape(path, (values.shape[0], values.shape[1]), str(sample.name), sample.image.shape[:2])
        return Depth(values, self.maps.kind)

    def facts(self) -> dict[str, Any]:
        """What a report says of them."""
        kind = {"kind": self.maps.kind, "depth_scale": self.maps.depth_scale}
        return {"predictions": str(self.maps.root), **kind, "missing": list(self.missing)}


def pair(maps: MapFolder, frames: Dataset, *, allow_missing: bool = False, of: Dataset | None = None) -> Paired:
    """The frames with their maps: a map in a folder is for the frame of the same path, one that lies in `maps.root` for
    a frame whose name ends so. `of` is the whole set of which `frames` are a part: maps of its frames are not unused.

    BadData if frames have no map (unless `allow_missing`, or if none has one), or if one map is for two frames.
    """
    names = _names(frames)
    found = [maps.file_of(name) for name in names]
    missing = [name for name, file in zip(names, found, strict=True) if file is None]
    if missing and (not allow_missing or len(missing) == len(names)):
        way = "" if len(missing) == len(names) else "; --allow-missing judges the others alone"
        raise BadData(
            f"{maps.root} has no depth map for {len(missing)} of {len(names)} frames: {some(missing)}. It holds "
            f"{some(maps.files)}; a map is called as its frame is{way}"
        )
    _refuse_twice(names, found)
    wanted = found if of is None else [*found, *(maps.file_of(name) for name in _names(of))]
    used = {stem(file) for file in wanted if file is not None}  # and so are its twins of other formats
    others = tuple(file for file in maps.files if stem(file) not in used)
    there = subset(frames, [i for i, file in enumerate(found) if file is not None])
    return Paired(maps, there, tuple(missing), others, allow_missing)


def _names(data: Dataset) -> list[str]:
    """The name of each frame; a frame whose key does not hold it is read."""
    return [_name(data, i) for i in range(len(data))]


def _name(data: Dataset, index: int) -> str:
    key = data.keys[index]
    name = None if isinstance(key, PurePath) else getattr(key, "name", None)
    if isinstance(name, str):
        return name
    try:
        return str(data[index].name)
    except (LeadlineError, OSError):  # it is left out when it is its turn
        return f"item {index}"


def _refuse_twice(names: Sequence[str], found: Sequence[str | None]) -> None:
    first: dict[str, str] = {}
    for name, file in zip(names, found, strict=True):
        if file is not None and first.setdefault(file, name) != name:
            raise BadData(
                f"{file} would be for several frames, {first[file]} and {name}: put maps into folders as the frames are"
            )
