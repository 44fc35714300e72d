"""Description: what a folder of data means where its files cannot say it. Read from its `dataset.toml`, strictly."""

from __future__ import annotations

import dataclasses
import math
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from leadline.core.allowed import require
from leadline.core.errors import BadData
from leadline.core.spec import from_json
from leadline.core.text import read_text, split_lines

FILE_NAME = "dataset.toml"
Items = Literal["depth", "pairs", "images", "labels", "joint"]
_ALIASES = {"depth_max": "max_depth", "depth_min": "min_depth"}


@dataclass(frozen=True)
class Description:
    """Every key is optional; None means what the layout's own publication says.

    key            meaning
    layout         a name of `leadline.data.layouts.detect.LAYOUTS`, or FILE.py:name, a function of your own (runs only
                   if it is allowed, see `open_dataset`); None: found out from the files
    depth_key      of files that hold several arrays, channels, datasets or pages: the name of the one that is depth
    depth_scale    stored units per metre: metres = (value + depth_offset) / depth_scale
    depth_offset   added to the stored value before dividing
    depth_rotated  16-bit values were rotated left by so many bits (SUN RGB-D: 3), and are rotated back first
    ray_distance   true: the numbers are distances along each pixel's ray; intrinsics turn them into depth (z)
    invalid        the stored value, or a list of those, that mean "no depth"; -1: there is none; None: 0, and in
                   16-bit files that do not state their scale 65535, too
    split          "train", "val" or "test": the whole folder is that part; None: by the layout's folders and lists,
                   else by test_fraction
    test_fraction  without lists: the last share of the frames, in order, is the test part
    min_depth      metres; nearer values do not count (`depth_min` is the same key)
    max_depth      metres; farther values do not count (`depth_max` is the same key)
    intrinsics     fx, fy, cx, cy in pixels of the images as they are on disk
    masks          whether folders of masks and confidence say where depth counts: 0 does not (`folder` only)
    orientation    how depth and intrinsics lie beside photographs that EXIF turns: "stored", as the file's pixels;
                   "upright", as it is shown; "ignored": the tag is wrong, nothing is turned; None: stored, unless
                   only upright fits
    items          "depth", frames with a depth map; "pairs", all stereo pairs (`kitti` only); "images", all that
                   no published list leaves out, for a teacher or to learn from one; "labels", those with a class in
                   each pixel, and "joint", those with depth and classes (`densedepth` only; CamVid always has labels)
    labels         the folder of those classes; None: labels40
    label_void     the numbers in it that mean no class, one or a list; None: 39 and 255, since 39 is "other prop" and
                   in files that are passed around also whatever has no label
    """

    layout: str | None = None
    depth_key: str | None = None
    depth_scale: float | None = None
    depth_offset: float = 0.0
    depth_rotated: int = 0
    ray_distance: bool = False
    invalid: tuple[float, ...] | None = None
    split: Literal["train", "val", "test"] | None = None
    test_fraction: float | None = None
    min_depth: float | None = None
    max_depth: float | None = None
    intrinsics: tuple[float, float, float, float] | None = None
    masks: bool = True
    orientation: Literal["stored", "upright", "ignored"] | None = None
    items: Items = "depth"
    labels: str | None = None
    label_void: tuple[int, ...] | None = None


def read_description(root: str | Path, **overrides: Any) -> Description:
    """The Description in `root/dataset.toml` (defaults, if there is no such file), with `overrides` on top.

    An unknown key, a wrong type or an impossible value is BadData in the file, ValueError in an override.
    """
    path = Path(root) / FILE_NAME
    described = Description()
    if path.is_file():
        try:
            plain = tomllib.loads("\n".join(split_lines(read_text(path))))
            described = _checked(plain)
        except (tomllib.TOMLDecodeError, ValueError, OSError) as error:
            raise BadData(f"{path}: {error}") from error
    given = _by_one_name({key: value for key, value in overrides.items() if value is not None})
    return _checked({**_stated(described), **given})


def _stated(description: Description) -> dict[str, Any]:
    values = {field.name: getattr(description, field.name) for field in dataclasses.fields(description)}
    return {key: value for key, value in values.items() if value is not None}


def _by_one_name(values: dict[str, Any]) -> dict[str, Any]:
    """`values` without the second names that some keys have."""
    named = dict(values)
    for alias, key in _ALIASES.items():
        if alias in named and named[alias] != named.setdefault(key, named[alias]):
            raise ValueError(f"{alias} is {named[alias]!r} and {key} {named[key]!r}; they are one key: state it once")
        named.pop(alias, None)
    return named


def _checked(values: dict[str, Any]) -> Description:
    values = _by_one_name(values)
    if isinstance(values.get("invalid"), int | float):
        values["invalid"] = [values["invalid"]]
    if isinstance(values.get("label_void"), int):
        values["label_void"] = [values["label_void"]]
    made = from_json(Description, values)
    camera = made.intrinsics
    require(
        (
            0 <= made.depth_rotated < 16,
            f"depth_rotated is {made.depth_rotated}; 0 to 15 bits of 16-bit values, SUN RGB-D has 3",
        ),
        (
            made.depth_scale is None or 0 < made.depth_scale < math.inf,
            f"depth_scale is {made.depth_scale}; units per metre, above 0, are needed",
        ),
        (
            abs(made.depth_offset) < math.inf,
            f"depth_offset is {made.depth_offset}; a finite number is needed",
        ),
        (
            made.test_fraction is None or 0 <= made.test_fraction <= 1,
            f"test_fraction is {made.test_fraction}; 0 to 1 is allowed",
        ),
        (
            (made.min_depth or 0) < (math.inf if made.max_depth is None else made.max_depth),
            f"min_depth is {made.min_depth} and max_depth {made.max_depth}; the first must be smaller",
        ),
        (
            camera is None or (all(abs(n) < math.inf for n in camera) and camera[0] > 0 and camera[1] > 0),
            f"intrinsics are {camera}; fx and fy above 0 are needed, then cx and cy, in pixels",
        ),
        (
            all(0 <= number <= 255 for number in made.label_void or ()),
            f"label_void is {made.label_void}; numbers of 8 bits, 0 to 255, are needed",
        ),
    )
    return made
