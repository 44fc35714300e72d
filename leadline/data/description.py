"""Description: what a folder of data means where its files cannot say it. Read from its `dataset.toml`, strictly."""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from leadline.errors import BadData
from leadline.spec import from_json

FILE_NAME = "dataset.toml"
Items = Literal["depth", "pairs", "images"]


@dataclass(frozen=True)
class Description:
    """Every key is optional; None means what the layout's own publication says.

    key            meaning
    layout         a name of `leadline.data.layouts.LAYOUTS`; None: found out from the files
    depth_scale    stored units per metre: metres = (value + depth_offset) / depth_scale
    depth_offset   added to the stored value before dividing
    invalid        the stored value that means "no depth"; -1: there is none
    split          "train" or "test": the whole folder is that part; None: by the layout's lists, else by test_fraction
    test_fraction  without lists: the last share of the frames, in order, is the test part
    min_depth      metres; nearer values do not count
    max_depth      metres; farther values do not count
    intrinsics     fx, fy, cx, cy in pixels of the images as they are on disk
    labels         a folder of class ids beside the depth, same stem
    orientation    how depth and intrinsics lie beside photographs that EXIF turns: "stored", as the file's pixels;
                   "upright", as it is shown; "ignored": the tag is wrong, nothing is turned; None: stored, unless
                   only upright fits
    items          "depth", frames with a depth map; "pairs", all stereo pairs (`kitti` only); "images", all that
                   no published list leaves out, for a teacher or to learn from one
    """

    layout: str | None = None
    depth_scale: float | None = None
    depth_offset: float = 0.0
    invalid: int = 0
    split: Literal["train", "test"] | None = None
    test_fraction: float | None = None
    min_depth: float | None = None
    max_depth: float | None = None
    intrinsics: tuple[float, float, float, float] | None = None
    labels: str | None = None
    orientation: Literal["stored", "upright", "ignored"] | None = None
    items: Items = "depth"


def read_description(root: str | Path, **overrides: Any) -> Description:
    """The Description in `root/dataset.toml` (defaults, if there is no such file), with `overrides` on top.

    An unknown key, a wrong type or an impossible value is BadData in the file, ValueError in an override.
    """
    path = Path(root) / FILE_NAME
    described = Description()
    if path.is_file():
        try:
            described = _checked(tomllib.loads(path.read_text(encoding="utf-8")))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, ValueError) as error:
            raise BadData(f"{path}: {error}") from error
    given = {key: value for key, value in overrides.items() if value is not None}
    return _checked({**_said(described), **given})


def _said(description: Description) -> dict[str, Any]:
    values = {field.name: getattr(description, field.name) for field in dataclasses.fields(description)}
    return {key: value for key, value in values.items() if value is not None}


def _checked(values: dict[str, Any]) -> Description:
    made = from_json(Description, values)
    if made.depth_scale is not None and not 0 < made.depth_scale < float("inf"):
        raise ValueError(f"depth_scale is {made.depth_scale}; units per metre, above 0, are needed")
    if not abs(made.depth_offset) < float("inf"):
        raise ValueError(f"depth_offset is {made.depth_offset}; a finite number is needed")
    if made.test_fraction is not None and not 0 <= made.test_fraction <= 1:
        raise ValueError(f"test_fraction is {made.test_fraction}; 0 to 1 is allowed")
    if not (made.min_depth or 0) < (float("inf") if made.max_depth is None else made.max_depth):
        raise ValueError(f"min_depth is {made.min_depth} and max_depth {made.max_depth}; the first must be smaller")
    if made.intrinsics is not None and not (made.intrinsics[0] > 0 and made.intrinsics[1] > 0):
        raise ValueError(f"intrinsics are {made.intrinsics}; fx and fy above 0 are needed, then cx and cy, in pixels")
    return made
