"""What a depth file says of itself: which of its arrays, layers, channels or pages is the depth, and in which unit."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from leadline.core.errors import BadData
from leadline.core.preprocess import MAX_PIXELS
from leadline.core.spec import Kind
from leadline.core.types import KINDS

# Names are compared in lower case, without what is neither letter nor digit. The first of these that is there counts.
DEPTH_NAMES = (
    "depth", "depthmap", "depthmeters", "depthmetres", "depthm", "metricdepth", "depthmm", "depthmillimeters",
    "depthmillimetres", "depthcm", "zdepth", "depthz", "z", "depths", "depthimage", "depthimg", "depthgt", "gtdepth",
    "groundtruthdepth", "depthgroundtruth", "preddepth", "depthpred", "predicteddepth", "distance", "distances",
    "distancemap", "range", "rawdepth", "depthraw", "rawdepths",
)  # fmt: skip
RELATIVE_NAMES: Mapping[str, Kind] = {
    **dict.fromkeys(
        ("relativedisparity", "disparity", "disparities", "disparitymap", "disp", "inversedepth", "depthinverse"),
        "relative_disparity",
    ),
    **dict.fromkeys(("invdepth", "depthinv", "idepth", "inversedepthmap"), "relative_disparity"),
    "relativedepth": "relative_depth",
}
OTHER_NAMES = {
    "confidence", "conf", "mask", "masks", "valid", "validmask", "validity", "uncertainty", "variance", "std", "sigma",
    "image", "images", "rgb", "color", "colour", "rgba", "alpha", "normal", "normals", "position", "points", "vector",
    "mist", "uv", "flow", "k", "intrinsics", "camera", "pose", "extrinsics", "labels", "label", "segmentation",
    "semantic", "instance", "instances", "ids", "albedo", "kind", "unit", "scale", "shift",
}  # fmt: skip
"""What is never depth, even where it is all that a file holds."""

UNITS = {"m": 1.0, "metre": 1.0, "metres": 1.0, "meter": 1.0, "meters": 1.0, "cm": 100.0, "mm": 1000.0}
UNITS |= dict.fromkeys(("millimetre", "millimetres", "millimeter", "millimeters"), 1000.0)
_UNIT_IN_NAME = re.compile(r"^depth(m|cm|mm|meters|metres|millimeters|millimetres)$")


@dataclass(frozen=True)
class Stored:
    """The numbers of a depth file, [H,W] as stored, and what it says of them.

    `scale` is in units per metre, `kind` what they are; None: the file does not say.
    """

    values: np.ndarray
    scale: float | None = None
    kind: Kind | None = None
    path: Path | None = None


def plain(name: str) -> str:
    """A name as it is compared: `/data/Depth Map` is `depthmap`."""
    return re.sub(r"[^a-z0-9]", "", name.rpartition("/")[2].lower())


def kind_of(name: str) -> Kind | None:
    """What an array of this name holds, where the name alone tells that it is no metres."""
    return RELATIVE_NAMES.get(plain(name))


def unit_of(name: str) -> float | None:
    """Units per metre, where the name tells: `depth_mm` is 1000."""
    found = _UNIT_IN_NAME.match(plain(name))
    return UNITS[found[1]] if found else None


def choose(path: Path, found: Mapping[str, str], kind: Kind | None, key: str | None, what: str = "array") -> str:
    """The name of the depth among those `found` in a file (name -> what is said of it in an error, such as its shape).

    `key`, which the user stated, counts; else a name that says depth; else the only one there is, unless its name says
    that it is something else. BadData, with all names, where nothing tells, and where it is not of the `kind` wanted.
    """
    listed = ", ".join(f"{name} ({text})" if text else name for name, text in list(found.items())[:20]) or "nothing"
    if key is not None:
        if key not in found:
            raise BadData(f"{path} has no {what} called {key!r} (depth_key); it holds {listed}")
        return agreeing(path, key, kind_of(key), kind)
    wanted = _wanted(kind)
    ranks = {name: wanted.index(plain(name)) for name in found if plain(name) in wanted}
    best = [name for name, rank in ranks.items() if rank == min(ranks.values())]
    if not best and len(found) == 1:
        best = [name for name in found if plain(name) not in OTHER_NAMES]
    if not best and kind == "metric":
        for name in found:
            agreeing(path, name, kind_of(name), kind)
    if len(best) != 1:
        why = f"{' and '.join(best)} may both be" if best else f"no {what} is called"
        raise BadData(f"{path} holds {listed}; {why} depth: state which one as depth_key in dataset.toml")
    return agreeing(path, best[0], kind_of(best[0]), kind)


def agreeing(path: Path, name: str, says: Kind | None, kind: Kind | None) -> str:
    """`name`, unless what the file says of it is not what is wanted; None agrees with anything, and metres may be taken
    for relative depth.
    """
    if says is None or kind is None or says == kind or (says, kind) == ("metric", "relative_depth"):
        return name
    called = f" ({name})" if name else ""
    if kind == "metric":
        raise BadData(f"{path} holds {says}{called}, not depth in metres; a relative map cannot become metres")
    raise BadData(f"{path} holds {says}{called}, and {kind} is asked for; state what the file says")


def few_enough(path: Path, *shape: int) -> None:
    """BadData if an array of this shape has more than MAX_PIXELS numbers."""
    if math.prod(shape) > MAX_PIXELS:
        raise BadData(f"{path} claims {' x '.join(map(str, shape))} pixels; more than {MAX_PIXELS} pixels are not read")


def allowed(path: Path, name: str, shape: tuple[int, ...], dtype: np.dtype) -> None:
    """BadData if an array that a header describes is no depth map, or larger than MAX_PIXELS: before it is read."""
    few_enough(path, *shape)
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise BadData(f"{path} holds {dtype} in {name}; depth is integer or floating point, of at most 64 bits")


def stated_scale(path: Path, text: object) -> float:
    """The units per metre that a file states of itself, as a number; BadData if that is none."""
    try:
        scale = float(str(text))
    except ValueError:
        scale = math.nan
    if not 0 < scale < math.inf:
        raise BadData(f"{path} says that it has {str(text)[:40]!r} units per metre; a number above 0 is needed")
    return scale


def stated_kind(path: Path, text: object) -> Kind:
    """The kind that a file states of itself; BadData if there is no such kind."""
    for kind in KINDS:
        if str(text) == kind:
            return kind
    raise BadData(f"{path} says that its kind is {str(text)[:40]!r}; {', '.join(KINDS)} are known")


def _wanted(kind: Kind | None) -> tuple[str, ...]:
    if kind == "relative_disparity":
        return tuple(name for name, says in RELATIVE_NAMES.items() if says == kind)
    return DEPTH_NAMES if kind == "metric" else ("relativedepth", *DEPTH_NAMES, *RELATIVE_NAMES)
