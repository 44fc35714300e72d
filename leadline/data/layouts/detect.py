"""All layouts by name, and the one door to them: `open_dataset` reads any folder that somebody has."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from leadline.core.errors import BadData
from leadline.core.text import nearest
from leadline.core.user_code import UserFunction, user_function
from leadline.data.dataset import Dataset
from leadline.data.layouts import camvid, cifar, folder, homes, kitti, kitti_selection, nyu, scenes7, tum, unlabelled
from leadline.data.layouts.description import FILE_NAME, Description, read_description
from leadline.data.layouts.filelist import is_hidden
from leadline.data.layouts.own import open_own
from leadline.data.layouts.parts import part_of

Opener = Callable[[Path, Description, str], Dataset]

LAYOUTS: dict[str, Opener] = {
    "camvid": camvid.open_camvid,
    "cifar": cifar.open_cifar,
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
    ("camvid", "train/ and trainannot/", camvid.is_camvid),
    ("cifar", "train-*.parquet with img and label, data_batch_1", cifar.is_cifar),
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

    A data set of your own is a function `(root, description, split) -> Dataset` in a file. `path` may be FILE.py:name,
    and root is then the file's folder; or `layout` may be that. A `dataset.toml` may name one, too, relative to
    itself, but looking at a folder runs no code: that is a BadData without `allow_code=True`.
    """
    root, description = described(path, **overrides)
    return opener(description)(root, description, part_of(split) or split)


def opener(description: Description) -> Opener:
    """What reads a folder of which `described` has said this."""
    layout = description.layout or ""
    own = None if layout in LAYOUTS else user_function(layout)
    return LAYOUTS[layout] if own is None else partial(open_own, function=own)


def described(path: str | Path, **overrides: Any) -> tuple[Path, Description]:
    """(the path, what it holds), with `layout` always set. Errors as in `open_dataset`."""
    given, allow_code = user_function(str(path)), overrides.pop("allow_code", None)
    if given is not None:
        if overrides.get("layout") is not None:
            raise ValueError(f"the data set is {path}, and a layout is given, too: leave one of the two out")
        overrides["layout"] = str(given)
    root = Path(path) if given is None else given.file.parent
    if not root.exists():
        raise BadData(f"{root} does not exist; a folder of data is needed")
    if root.is_file() and nyu.mat_file(root) is None:
        raise BadData(f"{root} is a file; a folder of data is needed (or the labelled NYU .mat file)")
    description = read_description(root if root.is_dir() else root.parent, **overrides)
    name = description.layout or _detect(root)
    stated = overrides.get("layout") is not None
    if (own := user_function(name, None if stated else root)) is not None:
        if not stated and not allow_code:
            raise BadData(_refused(root, own))
        return root, dataclasses.replace(description, layout=str(own))
    if name not in LAYOUTS:
        problem = f"layout is {name!r}; {nearest(name, LAYOUTS)}"
        raise ValueError(problem) if "layout" in overrides else BadData(f"{root / FILE_NAME}: {problem}")
    return root, dataclasses.replace(description, layout=name)


def _refused(root: Path, own: UserFunction) -> str:
    return (
        f"{root / FILE_NAME} names code, {own}, which runs only if you say so: read that file, and if you trust it "
        "give --allow-code (train, distill: --reading.allow-code; Python: allow_code=True)"
    )


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
