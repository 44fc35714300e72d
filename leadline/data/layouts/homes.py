"""Homes: the folders below a root that hold a folder of images beside one of depth maps, and perhaps one of masks."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from leadline.core.preprocess import IMAGE_SUFFIXES
from leadline.data.depth_io import DEPTH_SUFFIXES
from leadline.data.layouts.filelist import find_files, is_hidden, stem
from leadline.data.layouts.frame import Frame
from leadline.data.layouts.headers import channels_and_bits, is_measurement
from leadline.data.layouts.masks import MASK_SUFFIXES
from leadline.data.layouts.pairs import pair, refuse_twins
from leadline.data.layouts.parts import part_of
from leadline.data.layouts.words import about_others, folders, kind_of_file, kind_of_folder, may_be_depth, rank, words

LEVELS = 4
"""Homes are looked for so many folders below the root."""


_FLOATS = (".exr", ".npy", ".npz")


@dataclass(frozen=True)
class Home:
    """Folders that belong together: `folder` is relative to the root, the others to `folder`.

    `part` is theirs if their own names tell it (`train_images`, `train_depth`). `unread` are further folders of depth.
    """

    folder: str
    images: str
    depth: str
    mask: str | None = None
    part: str | None = None
    unread: tuple[str, ...] = ()


def homes(root: Path) -> list[Home]:
    """All homes below `root`, by name. Where the root itself is one, of the others only those in folders of parts."""
    found = _homes_in(root, "")
    if found:
        return found + [home for name in folders(root) if part_of(name) for home in _homes_in(root, name)]
    return _below(root, "", LEVELS, set())


def frames_of(root: Path, home: Home) -> list[Frame]:
    """The images of a home, in natural order, with their depth maps and masks, where they have some."""
    place = root / home.folder
    ahead = "/".join(filter(None, (home.folder, home.part)))
    images = find_files(place / home.images, IMAGE_SUFFIXES)
    about = about_others(images)
    images = [image for image in images if image not in about]
    refuse_twins(images, str(place / home.images))
    named = set(map(stem, images))
    files = find_files(place / home.depth, DEPTH_SUFFIXES)
    depths = [file for file in files if stem(file) in named or kind_of_file(file) != "mask"]
    depth_of = pair(images, depths, str(place / home.depth))
    if not depth_of and home.folder and len(images) == len(depths) == 1:  # SUN RGB-D: a folder for each frame
        depth_of = {images[0]: depths[0]}
    within = home.mask or home.depth  # a_depth.npy and a_depth_mask.npy may lie in one folder
    masks = [file for file in find_files(place / within, MASK_SUFFIXES) if home.mask or file not in set(depths)]
    masks = [file for file in masks if home.mask or kind_of_file(file) == "mask"]
    mask_of = pair(list(depth_of.values()), masks, str(place / within))
    frames = []
    for image in images:
        depth = depth_of.get(image)
        mask = None if depth is None else mask_of.get(depth)
        frames.append(
            Frame(
                "/".join(filter(None, (ahead, stem(image)))),
                _joined(home.folder, home.images, image),
                depth and _joined(home.folder, home.depth, depth),
                camera=home.folder,
                mask=mask and _joined(home.folder, within, mask),
            )
        )
    return frames


def side_by_side(root: Path) -> list[Frame]:
    """The images that lie beside their depth map in one folder, told by a word in its name: `a.png` and `a_depth.npy`.

    A mask is `a_mask` or `a_depth_mask`. Images of those folders that have no depth map are there without one. Of one
    map in several formats (`a_depth.npy`, `a_depth.png`) that which holds floats is read.
    """
    named = (
        file for file in find_files(root, DEPTH_SUFFIXES) if "depth" in file.lower() or "groundtruth" in file.lower()
    )
    depths = [file for file in named if kind_of_file(file) == "depth"]
    pictures = {file for file in depths if file.lower().endswith(IMAGE_SUFFIXES)}
    depths = [file for file in depths if file not in pictures or channels_and_bits(root / file)[0] == 1]
    depths = list({stem(file): file for file in sorted(depths, key=_holds_floats)}.values())
    if not depths:
        return []
    every = find_files(root, IMAGE_SUFFIXES)
    here = {_folder(file) for file in depths}
    images = [file for file in every if kind_of_file(file) == "image"]
    about = about_others(every)
    images = [file for file in images if _folder(file) in here and file not in about]
    depth_of = pair(images, depths, str(root))
    times = Counter(map(stem, images))
    masks = [file for file in find_files(root, MASK_SUFFIXES) if kind_of_file(file) == "mask"]
    mask_of = pair(list(depth_of.values()), masks, str(root))
    if not depth_of:
        return []
    names = {image: stem(image) if times[stem(image)] == 1 else image for image in images}
    return [Frame(names[i], i, depth_of.get(i), mask=mask_of.get(depth_of.get(i, ""))) for i in images]


def _homes_in(root: Path, folder: str) -> list[Home]:
    """The homes whose folders lie right in `folder`: one, or one for each part that their names tell."""
    kinds: dict[str | None, dict[str, list[str]]] = {}
    for name in folders(root / folder):
        part = next((part for word in words(name) if (part := part_of(word))), None) if len(words(name)) > 1 else None
        plain = name if part is None else "_".join(word for word in words(name) if part_of(word) is None)
        kind = kind_of_folder(name) or kind_of_folder(plain)
        if kind is not None:
            part = part if kind_of_folder(name) is None else None
            kinds.setdefault(part, {}).setdefault(kind, []).append(name)
    if "image" in kinds.get(None, {}) and "depth" not in kinds[None]:
        found_depth = [
            name for name in folders(root / folder) if may_be_depth(name) and _is_measured(root / folder / name)
        ]
        kinds[None] |= {"depth": found_depth} if found_depth else {}
    found = []
    for part, own in kinds.items():
        if "image" in own and "depth" in own:
            depth, *unread = sorted(own["depth"], key=rank)
            masks = [name for name in own.get("mask", []) if not part_of(name) or _holds_masks(root / folder / name)]
            mask = min(masks, key=rank) if masks else None
            found.append(Home(folder, min(own["image"], key=rank), depth, mask, part, tuple(unread)))
    return found


def _is_measured(place: Path) -> bool:
    """Whether the first file in a folder is an array or a picture of one channel and many bits."""
    try:
        names = sorted(entry.name for entry in os.scandir(place) if not is_hidden(entry.name))
    except OSError:
        return False
    first = next((name for name in names if name.lower().endswith(DEPTH_SUFFIXES)), None)
    return first is not None and (not first.lower().endswith(IMAGE_SUFFIXES) or is_measurement(place / first))


def _holds_masks(place: Path) -> bool:
    """Whether a folder called `valid` holds masks and is not the part of that name."""
    return not any(kind_of_folder(name) for name in folders(place))


def _below(root: Path, folder: str, levels: int, seen: set[str]) -> list[Home]:
    real = os.path.realpath(root / folder)
    if levels == 0 or real in seen:
        return []
    seen.add(real)
    found: list[Home] = []
    for name in folders(root / folder):
        inner = f"{folder}/{name}" if folder else name
        found += _homes_in(root, inner) or _below(root, inner, levels - 1, seen)
    return found


def _joined(*names: str) -> str:
    return "/".join(filter(None, names))


def _holds_floats(file: str) -> int:
    return _FLOATS.index(suffix) if (suffix := PurePosixPath(file).suffix.lower()) in _FLOATS else -1


def _folder(file: str) -> str:
    return file.rpartition("/")[0]


def named(found: Sequence[Home]) -> str:
    """The folders of some homes, for a message."""
    return ", ".join(
        f"{_joined(home.folder, home.images)} and {_joined(home.folder, home.depth)}" for home in found[:3]
    )
