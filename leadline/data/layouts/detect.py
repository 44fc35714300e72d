"""All layouts by name, and the one door to them: `open_dataset` reads any folder that somebody has."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from leadline.core.errors import BadData
from leadline.data.dataset import Dataset
from leadline.data.layouts import folder, homes, kitti, kitti_selection, nyu, scenes7, tum, unlabelled
from leadline.data.layouts.description import FILE_NAME, Description, read_description
from leadline.data.layouts.filelist import is_hidden
from leadline.data.layouts.parts import part_of

LAYOUTS: dict[str, Callable[[Path, Description, str], Dataset]] = {
    "densedepth": nyu.open_densedepth,
    "folder": folder.open_folder,
    "kitti": kitti.open_kitti,
    "kitti_eigen": kitti.open_eigen,
    "kitti_selection": kitti_selection.open_selection,
    "nyu": nyu.open_nyu,
    "nyu_h5": nyu.open_h5,
    "nyu_mat": nyu.open_mat,
    "nyu_txt": nyu.open_txt,
    "scenes7": scenes7.open_scenes7,
    "tum": tum.open_tum,
    "unlabelled": unlabelled.open_unlabelled,
}

Sign = Callable[[Path], bool]


def _any(*patterns: str) -> Sign:
    return lambda root: any(_visible(root, path) for pattern in patterns for path in root.glob(pattern))


def _visible(root: Path, path: Path) -> bool:
    return not any(map(is_hidden, path.relative_to(root).parts))


# What tells a layout by its files. The first that fits counts, so the special ones come first.
_SIGNS: tuple[tuple[str, str, Sign], ...] = (
    ("densedepth", "nyu2_train.csv or nyu2_test.csv", lambda root: bool(nyu.csv_files(root))),
    ("nyu_mat", "*labeled*.mat", lambda root: nyu.mat_file(root) is not None),
    (
        "kitti_eigen",
        "*eigen*files_with_gt*.txt",
        lambda root: any("eigen" in path.name.lower() for path in kitti.gt_lists(root)),
    ),
    ("nyu_txt", "*files_with_gt*.txt", lambda root: bool(nyu.txt_files(root))),
    ("nyu_h5", "train/SCENE/*.h5", lambda root: nyu.shows_h5(root) and not homes.homes(root)),
    ("kitti", "DATE/DRIVE/image_02/data", _any(*(f"{above}image_02/data" for above in ("", "*/", "*/*/", "*/*/*/")))),
    (
        "kitti_selection",
        "image/ and groundtruth_depth/ or velodyne_raw/",
        lambda root: bool(kitti_selection.selections(root)),
    ),
    (
        "scenes7",
        "seq-XX/frame-N.color.png",
        _any("frame-*.color.*", "seq-*/frame-*.color.*", "*/seq-*/frame-*.color.*"),
    ),
    ("tum", "rgb.txt and depth.txt", lambda root: _any("rgb.txt")(root) and _any("depth.txt")(root)),
    ("tum", "*/rgb.txt and */depth.txt", lambda root: _any("*/rgb.txt")(root) and _any("*/depth.txt")(root)),
    ("folder", "images/ and depth/, also in folders below; a.png and a_depth.png", folder.is_folder),
    ("unlabelled", "any images", unlabelled.has_photographs),
)


def open_dataset(path: str | Path, split: str = "train", **overrides: Any) -> Dataset:
    """The Dataset of one split (`train`, `val`, `test`, `all`) of the folder at `path`, whatever its layout.

    The layout and the meaning of the numbers come from `overrides` (the fields of `Description`), else from
    `dataset.toml` in the folder; else the layout is found out from the files, and the rest is as that layout's
    publication says.
    BadData if there is nothing to read; ValueError for an unknown override, layout or split.
    """
    root, description = described(path, **overrides)
    return LAYOUTS[description.layout or ""](root, description, part_of(split) or split)


def described(path: str | Path, **overrides: Any) -> tuple[Path, Description]:
    """(the path, what it holds), with `layout` always set. Errors as in `open_dataset`."""
    root = Path(path)
    if not root.exists():
        raise BadData(f"{root} does not exist; a folder of data is needed")
    if root.is_file() and nyu.mat_file(root) is None:
        raise BadData(f"{root} is a file; a folder of data is needed (or the labelled NYU .mat file)")
    description = read_description(root if root.is_dir() else root.parent, **overrides)
    name = description.layout or _detect(root)
    if name not in LAYOUTS:
        problem = f"layout is {name!r}; allowed: {', '.join(LAYOUTS)}"
        raise ValueError(problem) if "layout" in overrides else BadData(f"{root / FILE_NAME}: {problem}")
    return root, dataclasses.replace(description, layout=name)


def _detect(root: Path) -> str:
    """The layout that the files in `root` show."""
    if root.is_file():
        return "nyu_mat"
    found = next((name for name, _, sign in _SIGNS if sign(root)), None)
    if found is None and all(is_hidden(path.name) for path in root.iterdir()):
        raise BadData(f"{root} is empty; a folder of images or data is needed")
    if found is None:
        looked_for = ", ".join(f"{files} ({name})" for name, files, _ in _SIGNS)
        raise BadData(f"{root} shows no known layout; state one in {FILE_NAME} or as layout. Looked for: {looked_for}")
    return found
