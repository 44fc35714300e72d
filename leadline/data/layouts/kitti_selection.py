"""KITTI's `depth_selection`: the benchmark's validation and test frames, cut to 1216x352, with intrinsics for each.

val_selection_cropped/image/DRIVE_sync_image_NNNNNNNNNN_image_02.png
val_selection_cropped/groundtruth_depth/DRIVE_sync_groundtruth_depth_NNNNNNNNNN_image_02.png   (256 units per metre)
val_selection_cropped/velodyne_raw/...                                                         (LiDAR, not cleaned)
val_selection_cropped/intrinsics/DRIVE_sync_image_NNNNNNNNNN_image_02.txt                      (9 numbers)
test_depth_completion_anonymous/{image,velodyne_raw,intrinsics}, test_depth_prediction_anonymous/{image,intrinsics}
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from leadline.core.errors import BadData
from leadline.core.preprocess import IMAGE_SUFFIXES
from leadline.data.dataset import Dataset
from leadline.data.depth_io import DEPTH_SUFFIXES
from leadline.data.layouts.description import Description
from leadline.data.layouts.filelist import find_files, stem
from leadline.data.layouts.frame import Camera, Frame, Source
from leadline.data.layouts.kitti import SCALES
from leadline.data.layouts.pairs import pair
from leadline.data.layouts.parts import by_order, dataset, order_rule, part_in
from leadline.data.layouts.words import folders

_KINDS = ("groundtruth_depth", "velodyne_raw")


def selections(root: Path) -> list[str]:
    """The folders ("" is the root itself) that hold `image` beside `groundtruth_depth` or `velodyne_raw`."""
    places = {"": folders(root), **{name: folders(root / name) for name in folders(root)}}
    named = {place: {name.lower() for name in inside} for place, inside in places.items()}
    return [
        place
        for place, inside in named.items()
        if "image" in inside and inside & set(_KINDS) and not inside & {"depth", "depths"}
    ]


def open_selection(root: Path, description: Description, split: str) -> Dataset:
    """The frames of all selections below `root` with their own intrinsics; those with a depth map, or all by
    `description.items`.

    Depth is `groundtruth_depth` if any selection has it, else `velodyne_raw`; the data set's name says which. Split: by
    the words in the selections' names (`val_selection_cropped` is val), else in order.
    """
    found = selections(root)
    if not found:
        raise BadData(f"{root} holds no KITTI selection: looked for image/ beside groundtruth_depth/ or velodyne_raw/")
    inside = {place: {name.lower(): name for name in folders(root / place)} for place in found}
    kind = next(kind for kind in _KINDS if any(kind in names for names in inside.values()))
    cameras: dict[str, Camera] = {}
    parts: dict[str, list[Frame]] = {}
    for place in found:
        frames = _frames(root, place, inside[place], kind, cameras)
        wanted = frames if description.items == "images" else [frame for frame in frames if frame.depth]
        parts.setdefault(part_in(place or root.resolve().name) or "", []).extend(wanted)
    every = [frame for own in parts.values() for frame in own]
    if not any(frame.depth for frame in every):
        raise BadData(f"{root}: no image has a depth map in {kind}/; names differ by image and {kind} only")
    source = Source(root, description, cameras, SCALES)
    if set(parts) == {""}:
        return dataset(source, by_order(every, description), split, f"{kind} depth", rule=order_rule(description))
    named = {part: parts.get(part, []) for part in ("train", "val", "test")}
    named["train"] = named["train"] + parts.get("", [])
    return dataset(source, named, split, f"{kind} depth", rule="by the words in the selections' names")


def _frames(root: Path, place: str, inside: dict[str, str], kind: str, cameras: dict[str, Camera]) -> Sequence[Frame]:
    ahead = f"{place}/" if place else ""
    images = find_files(root / place / inside["image"], IMAGE_SUFFIXES)
    depths = find_files(root / place / inside[kind], DEPTH_SUFFIXES) if kind in inside else []
    depth_of = pair(images, depths, str(root / place))
    own = root / place / inside.get("intrinsics", "intrinsics")
    frames = []
    for image in images:
        file, depth = own / f"{stem(image)}.txt", depth_of.get(image)
        camera = ahead + stem(image) if file.is_file() else ""
        if camera:
            cameras[camera] = _camera(file)
        values = None if depth is None else f"{ahead}{inside[kind]}/{depth}"
        frames.append(Frame(ahead + stem(image), f"{ahead}{inside['image']}/{image}", values, camera=camera))
    return frames


def _camera(file: Path) -> Camera:
    """The Camera in a text file of nine numbers, row after row."""
    try:
        m = [float(word) for word in file.read_text("utf-8-sig").split()]
        if len(m) != 9 or not np.isfinite(m).all() or m[0] <= 0 or m[4] <= 0:
            raise ValueError(f"it holds {len(m)} numbers")
    except (OSError, ValueError) as error:
        raise BadData(f"{file} is not a 3x3 matrix with focal lengths above 0: {error}") from error
    return Camera(m[0], m[4], m[2], m[5])
