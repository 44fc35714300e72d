"""The plain layout: images and depth maps whose files have the same names but for the suffix and words such as `rgb`.

    images/a.jpg depth/a.png                     (or `rgb/`, `RGB/`, `color/`, `left/`; `depths/`, `gt_depth/`, ...)
    scene1/color/a.jpg scene1/depth/a.png        (scenes, up to four folders down)
    train/images/a.jpg train/depth/a.png         (parts outside; see `parts` for the words)
    images/train/a.jpg depth/train/a.png         (parts inside)
    a.png a_depth.npy a_depth_mask.npy           (side by side in any folder)
    train.txt, val.txt, test.txt; split.csv      (parts by lists; a second column is the depth map: see `lists`)

Depth is in any format of `depth_io`. `mask/`, `valid/` or `confidence/` beside it say by 0 which depth does not count.
Without parts, the split is by whole scenes, else in order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from leadline.core.errors import BadData
from leadline.core.preprocess import IMAGE_SUFFIXES
from leadline.data.dataset import Dataset
from leadline.data.depth_io import DEPTH_SUFFIXES
from leadline.data.layouts.description import Description
from leadline.data.layouts.filelist import find_files
from leadline.data.layouts.frame import Camera, Frame, Source
from leadline.data.layouts.homes import Home, frames_of, homes, named, side_by_side
from leadline.data.layouts.listed import Listed, listed, names_pairs
from leadline.data.layouts.parts import BY_FOLDERS, by_folders, by_scenes, dataset, part_by_folder, with_rest
from leadline.data.layouts.scenes7 import read_intrinsics

_INTRINSICS = ("camera-intrinsics.txt", "intrinsic/intrinsic_color.txt")  # the second is ScanNet's


def is_folder(root: Path) -> bool:
    """Whether `root` shows images with depth maps by the names of its folders, files or lists."""
    return bool(homes(root)) or names_pairs(root) or any(frame.depth for frame in side_by_side(root))


def open_folder(root: Path, description: Description, split: str) -> Dataset:
    """The images that have a depth map, or all, by `description.items`; none of them with one is a BadData.

    Intrinsics: `camera-intrinsics.txt` (3x3), or ScanNet's `intrinsic/intrinsic_color.txt` (4x4), beside the folder of
    images or in the root, else none.
    """
    found = homes(root)
    shown = [frame for home in found for frame in frames_of(root, home)] or side_by_side(root)
    by_lists = listed(root, shown)
    parts, every, rule = _parts(shown, description, by_lists)
    if not any(frame.depth for frame in every):
        raise BadData(f"{root}: {_why_nothing(root, found)}")
    if not description.masks:
        parts = {part: [frame._replace(mask=None) for frame in own] for part, own in parts.items()}
    cameras = _cameras(root, {frame.camera for frame in every})
    data = dataset(Source(root, description, cameras), parts, split, rule=rule)
    return data if by_lists is None else replace(data, note="; ".join(filter(None, (data.note, by_lists.note))))


def _parts(
    every: Sequence[Frame], description: Description, by_lists: Listed | None
) -> tuple[Mapping[str, Sequence[Frame]], Sequence[Frame], str]:
    """(the parts, all frames, the rule that made the parts)."""
    if by_lists is not None:
        every = by_lists.frames
    frames = [frame for frame in every if frame.depth]
    wanted = every if description.items == "images" else frames
    if by_lists is not None and by_lists.parts is not None:
        parts, rule = by_lists.parts, by_lists.rule
    elif (by_folder := by_folders(frames)) is not None:
        part_of = {frame: part for part, own in by_folder.items() for frame in own}
        made: dict[str, list[Frame]] = {part: [] for part in by_folder}
        for frame in wanted:
            made.setdefault(part_of.get(frame) or part_by_folder(frame.name) or "train", []).append(frame)
        return made, every, BY_FOLDERS
    else:
        parts, rule = by_scenes(frames, description)
    return (with_rest(parts, every) if description.items == "images" else parts), every, rule


def _cameras(root: Path, folders: set[str]) -> dict[str, Camera]:
    files = {folder: [path / name for path in (root / folder, root) for name in _INTRINSICS] for folder in folders}
    found = {folder: next((file for file in places if file.is_file()), None) for folder, places in files.items()}
    return {folder: read_intrinsics(file) for folder, file in found.items() if file is not None}


def _why_nothing(root: Path, found: Sequence[Home]) -> str:
    if not found:
        return (
            "a folder of images (images, rgb, image, color, left ...) beside one of depth maps (depth, depths, gt_depth"
            " ...) is needed, here or up to four folders down, or depth maps beside their images (a.png, a_depth.png)"
        )
    places = [root / home.folder for home in found]
    a = [
        file
        for place, home in zip(places, found, strict=True)
        for file in find_files(place / home.images, IMAGE_SUFFIXES)
    ]
    b = [
        file
        for place, home in zip(places, found, strict=True)
        for file in find_files(place / home.depth, DEPTH_SUFFIXES)
    ]
    example = f", such as {a[0]} and {b[0]}" if a and b else ""
    return f"none of {len(a)} images has one of the {len(b)} depth maps with the same name{example}, in {named(found)}"
