"""What names tell: which folders and files hold photographs, depth, masks, or something else measured or drawn.

A name is cut into its words: `Gt_depth2` is gt and depth, `RGB` is rgb, `groundtruth_depth` is groundtruth and depth.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal

from leadline.data.layouts.filelist import is_hidden

FileKind = Literal["image", "depth", "mask"]

# A folder is of a kind if one of its words is of the first set, and all others are of the second.
_IMAGE = {"images", "image", "imgs", "img", "rgb", "rgbs", "color", "colors", "colour", "colours", "left", "photos"}
_IMAGE |= {"photo", "pictures", "frames", "wide", "colored"} - {"colored"}
_DEPTH = {"depth", "depths", "depthmap", "depthmaps", "groundtruth"}
_MASK = {"mask", "masks", "confidence", "confidences", "conf", "valid", "validity"}
_WITH_IMAGE = {"raw", "data", "files", "undistorted", "rectified", "aligned", "lowres", "highres", "jpg", "jpeg", "png"}
_WITH_DEPTH = {"gt", "ground", "truth", "map", "maps", "image", "images", "img", "imgs", "png", "npy", "npz", "exr"}
_WITH_DEPTH |= {"raw", "sensor", "left", "lowres", "highres", "mm", "meters", "metres", "metric", "filled", "complete"}
_WITH_DEPTH |= {"dense", "sparse", "aligned", "registered", "data", "files", "lidar", "z", "tif", "tiff"}
# Folders of these words hold depth beside a folder of images if their files are measurements.
_MAY_BE_DEPTH = {
    "gt",
    "gts",
    "ground",
    "truth",
    "target",
    "targets",
    "d",
    "z",
    "distance",
    "range",
    "lidar",
    "tof",
    "sensor",
}
_WITH_MASK = {"depth", "map", "maps", "image", "images", "png", "npy", "pixels", "gt", "lowres", "highres", "data"}
# The plainest name counts first where several folders fit.
_FIRST = ("images", "rgb", "image", "color", "depth", "depths", "gtdepth", "groundtruthdepth")

# Pictures in folders with one of these words are measurements or labels, not photographs.
_NO_PHOTOGRAPHS = re.compile(
    r"(?<![a-z])(depths?|depth_?maps?|disparity|disparities|disp|labels?|masks?|semantics?|instances?|seg|segmentations?"
    r"|groundtruth|ground_truth|velodyne(_raw)?|lidar|normals?|geometry|confidences?|conf|flow|ids|albedo|heat_?maps?)(?![a-z])"
    r"|annot(ation)?s?(?![a-z])"
)
# A file is no photograph if the word at its end is one of these and the picture that it is about lies beside it.
_ABOUT = {"depth", "depths", "depthmap", "disparity", "disp", "label", "labels", "mask", "masks", "semantic", "seg"}
_ABOUT |= {"instance", "normal", "normals", "confidence", "conf", "vis", "flow", "ids", "groundtruth", "valid"}
# Words that tell what a file is and not of which frame it is.
_IMAGE_WORDS = {
    "images",
    "image",
    "imgs",
    "img",
    "rgb",
    "rgbs",
    "color",
    "colors",
    "colour",
    "colours",
    "left",
    "photo",
}
_DEPTH_WORDS = {"depth", "depths", "depthmap", "groundtruth"}
_MASK_WORDS = {"mask", "masks", "confidence", "conf", "valid", "validity"}
_MORE = {"gt", "ground", "truth", "sync", "meters", "metres", "velodyne", "map", "raw", "filled", "sparse", "dense"}
TELLING = _IMAGE_WORDS | _DEPTH_WORDS | _MASK_WORDS | _MORE
_LAST, _FIRST_WORD = re.compile(r"(.+)[_\-. ]([a-z]+)$"), re.compile(r"([a-z]+)[_\-. ](.+)$")


def words(name: str) -> list[str]:
    """The words of a name in lower case, without its numbers."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]


def kind_of_folder(name: str) -> FileKind | None:
    """What a folder of that name holds, if its name tells."""
    own = set(words(name))
    for kind, core, beside in (
        ("mask", _MASK, _WITH_MASK),
        ("depth", _DEPTH, _WITH_DEPTH),
        ("image", _IMAGE, _WITH_IMAGE),
    ):
        if own & core and own <= core | beside:
            return kind  # type: ignore[return-value]
    return None


def may_be_depth(name: str) -> bool:
    """Whether a folder of that name may hold depth, or class maps, or photographs: its files tell."""
    own = set(words(name))
    return bool(own) and own <= _MAY_BE_DEPTH | _WITH_DEPTH


def rank(name: str) -> tuple[int, int, str]:
    """A sort key: the plain names first, then the short ones."""
    plain = "".join(words(name))
    return (_FIRST.index(plain) if plain in _FIRST else len(_FIRST), len(name), name)


def folders(place: Path) -> list[str]:
    """The folders in a folder, by name, without hidden ones and those of operating systems."""
    try:
        with os.scandir(place) as listing:
            found = [entry.name for entry in listing if not is_hidden(entry.name) and _is_folder(entry)]
    except OSError:  # it may not be read, or is gone
        return []
    return sorted(found)


def kind_of_file(file: str) -> FileKind:
    """What the words in a file's name say it is; an image if they say nothing."""
    own = set(bits(file))
    if own & _MASK_WORDS:
        return "mask"
    return "depth" if own & _DEPTH_WORDS else "image"


def bits(file: str) -> list[str]:
    """The words and numbers of a file's name, in lower case and without its suffix."""
    return [bit for bit in re.split(r"[_\-. ]+|(?<=[a-z])(?=\d)", _split(file)[1]) if bit]


def in_measured_folder(file: str) -> bool:
    """Whether a picture lies in a folder of measurements or labels, by the folder's name."""
    return _measured(file.rpartition("/")[0])


def about_others(files: Sequence[str]) -> set[str]:
    """Those of `files` that are about another one beside them: `a_depth.png`, if there is `a.jpg` or `a_rgb.jpg`."""
    about = {file: own for file in files if (own := _without(file, _ABOUT)) is not None}
    if not about:
        return set()
    known = {name for file in files for name in (_split(file), _without(file, _IMAGE_WORDS))}
    return {file for file, own in about.items() if own in known}


def _without(file: str, some: Collection[str]) -> tuple[str, str] | None:
    """(folder, name without suffix) without its last word, or its first, if that is one of `some`."""
    folder, name = _split(file)
    last, first = _LAST.match(name), _FIRST_WORD.match(name)
    if last and last.group(2) in some:
        return folder, last.group(1)
    if first and first.group(1) in some:
        return folder, first.group(2)
    return None


def _split(file: str) -> tuple[str, str]:
    """(folder, name without suffix in lower case)."""
    folder, _, name = file.rpartition("/")
    return folder, (name.rpartition(".")[0] or name).lower()


@lru_cache(maxsize=4096)
def _measured(folder: str) -> bool:
    return any(_NO_PHOTOGRAPHS.search(name.lower()) for name in folder.split("/"))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False
