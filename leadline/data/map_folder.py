"""A folder of depth maps of any program: which map is for which picture, and what its numbers are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import log
from pathlib import Path, PurePosixPath

import numpy as np

from leadline.core.errors import BadData
from leadline.core.own_results import is_own_picture
from leadline.core.spec import Kind
from leadline.data.depth_io import DEPTH_SUFFIXES, read_stored
from leadline.data.layouts.description import Description
from leadline.data.layouts.filelist import depth_stem, find_files, stem
from leadline.data.layouts.metres import refuse_far, stored_to_metres

MAX_STRETCH = 0.05
"""So much may the shape (height : width) of a map differ from its picture's."""


@dataclass(frozen=True)
class MapFolder:
    """The maps below `root`, all of one `kind`. `places` leads from a picture's name to its file, relative to `root`.

    `depth_scale` is in stored units per metre, where it is stated; `key` names the array that is depth.
    """

    root: Path
    kind: Kind
    files: tuple[str, ...]
    places: Mapping[str, str]
    depth_scale: float | None = None
    key: str | None = None

    def file_of(self, name: str) -> str | None:
        """The file about the picture `name`: the one of its path, else one of its last part that lies in the folder."""
        return self.places.get(name, self.places.get(PurePosixPath(name).name))

    def read(self, path: Path) -> np.ndarray:
        """One map float32 [H,W]: metres or relative numbers, NaN where there is none. BadData for an unusable file.

        Metric and relative depth is above 0. Of disparities only an integer 0 is no value.
        """
        stored = read_stored(path, key=self.key, kind=self.kind)
        if self.kind == "relative_disparity":
            values = stored.values
            return np.where((values != 0) | (values.dtype.kind == "f"), values, np.nan).astype(np.float32)
        if self.kind == "metric" and self.depth_scale is None and stored.scale is None:
            raise BadData(
                f"{path} does not say its units per metre, as others in its folder do (--external.depth-scale)"
            )
        depth, valid = stored_to_metres(stored, Description(depth_scale=self.depth_scale), scale=1.0)
        if self.kind == "metric":
            refuse_far(depth, stored, str(path), "save what has no depth as 0, or as NaN in floating point")
        return np.where(valid, depth, np.float32(np.nan))


def map_files(root: Path) -> list[str]:
    """The depth maps below `root`, relative to it; pictures of `leadline predict` for the eye are passed over."""
    return [file for file in find_files(root, DEPTH_SUFFIXES) if not _for_the_eye(root / file)]


def open_map_folder(
    root: Path, kind: Kind | None = None, depth_scale: float | None = None, key: str | None = None
) -> MapFolder:
    """The maps below `root`. `kind` and `depth_scale` None: what the files say of themselves.

    ValueError where neither somebody nor a file says the kind, or the units per metre of metric maps; BadData if there
    are no maps, or two for one picture.
    """
    files = map_files(root)
    if not files:
        raise BadData(f"{root} holds no depth maps: files that end in {', '.join(DEPTH_SUFFIXES)} are needed")
    own, scaled = _said_by(root / files[0], key)
    if own is not None and kind not in (None, own):
        raise BadData(f"{root / files[0]} holds {own}, and {kind} is asked for (--external.kind): leave that out")
    kind = kind or own
    if kind is None:
        raise ValueError(
            f"{root} holds {len(files)} depth maps, and nothing says what their numbers are: give their kind "
            "(--external.kind), metric, relative_depth (farther is larger) or relative_disparity (nearer is larger)"
        )
    if kind == "metric" and depth_scale is None and not scaled:
        raise ValueError(
            f"{root} holds metric depth maps: give their units per metre, 1 for metres, 1000 for millimetres, or 256 "
            "(--external.depth-scale)"
        )
    return MapFolder(root, kind, tuple(files), _by_name(root, files), depth_scale, key)


def refuse_shape(file: Path, given: tuple[int, int], name: str, size: tuple[int, int]) -> None:
    """ValueError if a map, `given` its height and width, is not of the shape of the picture `name` of `size`."""
    if abs(log(given[1] / given[0] * size[0] / size[1])) <= MAX_STRETCH:
        return
    lies = " (turned by 90 degrees: made of the picture as stored, without its EXIF orientation?)"
    hint = lies if abs(log(given[0] / given[1] * size[0] / size[1])) <= MAX_STRETCH else ""
    raise ValueError(f"{file} is {given}, the picture {name} {size}: not one shape{hint}")


def _said_by(path: Path, key: str | None) -> tuple[Kind | None, bool]:
    """(the kind that the file states of itself, whether it states its scale)."""
    try:
        stored = read_stored(path, key=key, kind=None)
    except BadData:  # the error is raised when this picture is read
        return None, False
    return stored.kind, stored.scale is not None


def _by_name(root: Path, files: list[str]) -> Mapping[str, str]:
    """Picture -> its file; one called `_depth` is known by its whole name, too."""
    places: dict[str, str] = {}
    for file in sorted(files, key=_exactness):
        name = stem(file)
        if name in places and depth_stem(file) == name:
            raise BadData(f"{root}: {places[name]} and {file} are for one picture, {name!r}; give a folder of one")
        places.setdefault(name, file)
    return places | {depth_stem(file): file for name, file in places.items() if depth_stem(file) != name}


def _exactness(file: str) -> int:
    """The order of the formats in which `leadline predict` may have written one depth."""
    return next((i for i, suffix in enumerate((".npz", ".npy")) if file.lower().endswith(suffix)), 2)


def _for_the_eye(path: Path) -> bool:
    return is_own_picture(path) and not path.name.lower().endswith("_depth.png")
