"""NYU Depth v2 (Silberman et al., ECCV 2012) in the four spellings people have it in.

    nyu_h5      FastDepth: train/SCENE/NNNNN.h5, val/official/NNNNN.h5 with `rgb` [3,H,W] and `depth` [H,W] in metres
    nyu_mat     the labelled set: nyu_depth_v2_labeled.mat (`images` [N,3,W,H], `depths` [N,W,H]) and splits.mat
    nyu_txt     BTS, ZoeDepth: *train*files_with_gt.txt and *test*files_with_gt.txt, `image depth focal`, PNG in mm
    densedepth  DenseDepth: nyu2_train.csv and nyu2_test.csv, lines `image,depth`; 8-bit depth is 10 m / 255, 16-bit mm

Intrinsics are those of the data set's own toolbox for 640x480, scaled to the image.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from leadline.core.errors import BadData
from leadline.core.tasks import NYU40
from leadline.core.types import Item
from leadline.data.dataset import Dataset
from leadline.data.depth_arrays import dataset as read_dataset
from leadline.data.depth_arrays import mat_variable, opened_h5
from leadline.data.depth_names import Stored
from leadline.data.layouts.annotations import Annotated, with_annotations
from leadline.data.layouts.description import Description
from leadline.data.layouts.filelist import find_files, is_hidden, located, read_lines, stem
from leadline.data.layouts.frame import Camera, Frame, Source
from leadline.data.layouts.kitti import BY_LISTS, gt_lists, listed_parts
from leadline.data.layouts.parts import (
    BY_FOLDERS,
    OTHERS,
    SPLITS,
    by_order,
    dataset,
    divided,
    order_rule,
    part_in,
    part_of,
)
from leadline.data.layouts.words import folders

LABELS, VOID = "labels40", (39, 255)
"""Where annotations are, and their numbers without a class, if the description does not say it."""
KINECT = Camera(518.85790, 519.46961, 325.58245, 253.73617, size=(480, 640))
HOLD_OUT = ("00001.h5", "00201.h5")
_TXT_HOMES = ("", "sync", "official_splits/train", "official_splits/test", "train", "test")


def open_nyu(root: Path, description: Description, split: str) -> Dataset:
    """Whichever of the four spellings lies in `root`."""
    spellings = ((csv_files, open_densedepth), (mat_file, open_mat), (txt_files, open_txt), (h5_files, open_h5))
    for present, opener in spellings:
        if present(root):
            return opener(root, description, split)
    raise BadData(
        f"{root} holds no NYU Depth v2: looked for nyu2_train.csv or nyu2_test.csv, *labeled*.mat,"
        " *files_with_gt*.txt, and .h5 files"
    )


def open_h5(root: Path, description: Description, split: str) -> Dataset:
    """FastDepth's files. Splits: `train`, `val` and `test` by the folders of these names, and `holdout`. In FastDepth's
    own download the official test images lie in `val`, which stands in for the test part that is not there.

    As in FastDepth, the train part leaves out the files named 00001.h5 and 00201.h5: they are the hold-out, about two
    frames of each scene, made for validation. Without folders of parts the split is in order.
    """
    files = h5_files(root)
    if not files:
        raise BadData(f"{root} holds no .h5 files: looked for train/SCENE/NNNNN.h5 and val/SCENE/NNNNN.h5")
    of = {file: part_of(Path(file).parts[0]) if "/" in file else None for file in files}
    held = [file for file in files if file.endswith(HOLD_OUT) and of[file] in (None, "train")]
    rest = [file for file in files if file not in set(held)]
    parts: dict[str, list[str]] = {}
    rule = BY_FOLDERS
    if any(of.values()):
        for part in (*SPLITS[:3], OTHERS):
            parts[part] = [file for file in rest if (of[file] or OTHERS) == part]
    else:
        parts, rule = {part: list(own) for part, own in by_order(rest, description).items()}, order_rule(description)
    keyed = {part: [Place(stem(file), file) for file in own] for part, own in {**parts, "holdout": held}.items()}
    source = _source(root, description)
    return divided(root.resolve().name, keyed, split, description, root, partial(_read_h5, source), rule)


class Place(NamedTuple):
    """An item of HDF5 files: its name, and its file or its index in the one file."""

    name: str
    place: str | int


def open_mat(root: Path, description: Description, split: str) -> Dataset:
    """The 1449 labelled frames (`depths`: in-painted) by the official indices of `splits.mat` beside the file.

    `root` is the folder or the `.mat` file itself. Without `splits.mat` there is only the split `all`.
    """
    path = mat_file(root)
    if path is None:
        raise BadData(f"{root} holds no labelled NYU file: looked for *labeled*.mat")
    with _opened(path, ("images", "depths")) as file:
        shape = getattr(file["images"], "shape", None)
    if not shape:
        raise BadData(f"{path}: images is no array of pictures; get it again")
    count = int(shape[0])
    official = path.parent / "splits.mat"
    rule = "by splits.mat"
    if official.is_file():
        parts = {part: _official(official, f"{part}Ndxs", count) for part in ("train", "test")}
    elif description.split is not None or description.test_fraction is not None:
        parts = {name: list(part) for name, part in by_order(range(count), description).items()}
        rule = order_rule(description)
    elif split == "all":
        parts, rule = {OTHERS: list(range(count))}, "nothing: splits.mat is missing"
    else:
        raise BadData(f"{official} is missing: get the official split, or state test_fraction")
    keyed = {part: [Place(f"{i + 1:05d}", i) for i in own] for part, own in parts.items()}
    read = partial(_read_mat, _source(path.parent, description), path)
    return divided(path.stem, keyed, split, description, path, read, rule)


def open_txt(root: Path, description: Description, split: str) -> Dataset:
    """The frames that BTS's and ZoeDepth's lists name, below `root`, `sync/` or `official_splits/test/`."""

    def read(pairs: list[tuple[str, str]]) -> list[Frame]:
        return _frames(root, [image for image, _ in pairs], [depth for _, depth in pairs], _TXT_HOMES)

    parts = listed_parts(root, read)
    if not any(parts.values()):
        raise BadData(f"{root} has no *train*files_with_gt.txt or *test*files_with_gt.txt with a depth map in a line")
    return dataset(_source(root, description), parts, split, rule=BY_LISTS)


def open_densedepth(root: Path, description: Description, split: str) -> Dataset:
    """The frames that DenseDepth's csv files name, relative to the csv or (as in its download) to the folder above.

    With `items` "labels" or "joint" those that have an annotation of NYU's 40 classes in the folder `labels`.

    Unless the description states a scale, 8-bit depth (the train part) is 10 m / 255 and 16-bit depth millimetres.
    """
    files = csv_files(root)
    if not files:
        raise BadData(f"{root} holds no DenseDepth lists: looked for nyu2_train.csv and nyu2_test.csv, also in data/")
    parts: dict[str, list[Frame]] = {"train": [], "val": [], "test": []}
    for path in files:
        rows = list(csv.reader(read_lines(path)))
        wrong = next((row for row in rows if len(row) != 2), None)
        if wrong is not None:
            raise BadData(f"{path}: the line {','.join(wrong)!r} should be: image,depth")
        homes = [Path(os.path.relpath(folder, root)).as_posix() for folder in (path.parent, path.parent.parent)]
        part = part_in(path.stem) or "test"
        parts[part] = _frames(root, [row[0].strip() for row in rows], [row[1].strip() for row in rows], homes)
    source = _source(root, description)
    if description.items in ("labels", "joint"):
        return _annotated(source, parts, split)
    return dataset(source, parts, split, rule=BY_LISTS)


def _annotated(source: Source, parts: Mapping[str, Sequence[Frame]], split: str) -> Dataset:
    """The frames that have an annotation: NYU's 40 classes in each pixel, or depth and classes."""
    said, joint = source.description, source.description.items == "joint"
    found = {part: with_annotations(source.root, own, said.labels or LABELS) for part, own in parts.items()}
    if not any(found.values()):
        raise BadData(f"{source.root / (said.labels or LABELS)} has no NNNNN.png for any photograph that is listed")
    reader = Annotated(source, NYU40, VOID if said.label_void is None else said.label_void, joint)
    name, note = source.root.resolve().name, "depth and labels" if joint else "labels"
    data = divided(name, found, split, said, source.root, reader.read, BY_LISTS, note)
    return replace(data, classes=NYU40, joint=joint)


def csv_files(root: Path) -> list[Path]:
    """DenseDepth's lists in `root` or in `root/data`."""
    found: dict[str, Path] = {}
    for folder in (root, root / "data"):
        for path in sorted(folder.glob("nyu2_*.csv")):
            part = part_in(path.stem)
            if part is not None:
                found.setdefault(part, path)
    return [found[part] for part in SPLITS if part in found]


def txt_files(root: Path) -> list[Path]:
    """BTS's and ZoeDepth's lists in `root`."""
    return gt_lists(root)


def mat_file(root: Path) -> Path | None:
    """The labelled set's file: `root` itself, or in it."""
    if root.suffix == ".mat" and root.is_file():
        return root
    return next((path for path in sorted(root.glob("*labeled*.mat")) if not is_hidden(path.name)), None)


def h5_files(root: Path) -> list[str]:
    """FastDepth's files below `root`, relative to it."""
    return find_files(root, (".h5",)) if root.is_dir() else []


def shows_h5(root: Path) -> bool:
    """Whether `root` holds .h5 files, itself or in folders of parts."""
    places = [
        root,
        *(root / name / below for name in folders(root) if part_of(name) for below in ("", *folders(root / name))),
    ]
    return any(not is_hidden(path.name) for place in places for path in place.glob("*.h5"))


def _source(root: Path, description: Description) -> Source:
    return Source(root, description, {"": KINECT}, scales={"uint8": 25.5})


def _frames(root: Path, images: Sequence[str], depths: Sequence[str], homes: Sequence[str]) -> list[Frame]:
    pairs = zip(located(root, images, homes), located(root, depths, homes), strict=True)
    return [Frame(stem(image), image, depth) for image, depth in pairs]


def _read_h5(source: Source, key: Place) -> Item:
    path = source.root / str(key.place)
    depth = source.description.depth_key or "depth"
    with _opened(path, ("rgb", depth)) as file:
        image, values = _array(path, file["rgb"], ()), _array(path, file[depth], ())
    if image.ndim != 3 or image.shape[0] != 3:
        raise BadData(f"{path}: rgb has the shape {image.shape}; [3,H,W] is needed")
    return _sample(source, path, key.name, image.transpose(1, 2, 0), values)


def _read_mat(source: Source, path: Path, key: Place) -> Item:
    index = int(key.place)
    depth = source.description.depth_key or "depths"
    with _opened(path, ("images", depth)) as file:  # MATLAB's arrays are [H,W,3,N]; HDF5 shows their axes reversed
        image, values = _array(path, file["images"], index), _array(path, file[depth], index)
    return _sample(source, path, key.name, image.T, values.T)


def _sample(source: Source, path: Path, name: str, image: np.ndarray, values: np.ndarray) -> Item:
    is_image = image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
    if not is_image or values.ndim != 2 or values.dtype.kind not in "iuf":
        raise BadData(
            f"{path}: the image of {name} is {image.dtype} {image.shape} and its depth {values.dtype} {values.shape};"
            " uint8 [H,W,3] and numbers [H,W] are needed"
        )
    return source.sample(name, np.ascontiguousarray(image), Stored(values, path=path))


def _opened(path: Path, needed: tuple[str, ...]) -> Any:
    """An HDF5 file for reading that has the arrays `needed`; a context manager."""
    file = opened_h5(path)
    missing = [name for name in needed if not _leads_somewhere(file, name)]
    if missing:
        try:
            have = ", ".join(file) or "nothing"
        except RuntimeError:  # its list of names is damaged
            have = "nothing that can be read"
        file.close()
        raise BadData(f"{path} lacks {' and '.join(missing)}; it holds {have}")
    return file


def _leads_somewhere(file: Any, name: str) -> bool:
    """Whether the name is in an open HDF5 file, and no link to what is not there."""
    try:
        return name in file and file[name] is not None
    except (KeyError, OSError, RuntimeError):
        return False


def _array(path: Path, stored: Any, at: Any) -> np.ndarray:
    """A dataset, or its item `at`; of images that hold three numbers for each pixel, pixels count to the limit."""
    shape = getattr(stored, "shape", ())[0 if at == () else 1 :]
    return read_dataset(path, stored, at, limit_of=shape[1:] if len(shape) == 3 and shape[0] == 3 else shape)


def _official(path: Path, name: str, count: int) -> list[int]:
    """0-based indices out of `splits.mat`, which counts from 1."""
    numbers = mat_variable(path, name).ravel()
    if not numbers.size or numbers.dtype.kind not in "iu" or not 1 <= numbers.min() <= numbers.max() <= count:
        raise BadData(f"{path}: {name} should count images from 1 to {count}")
    return [int(number) - 1 for number in numbers]
