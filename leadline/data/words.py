"""What names tell: which folders and files hold photographs, depth, masks, or something else measured or drawn.

A name is cut into its words: `Gt_depth2` is gt and depth, `RGB` is rgb, `groundtruth_depth` is groundtruth and depth.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal

Kind = Literal["image", "depth", "mask"]

# A folder is of a kind if one of its words is of the first set, and all others are of the second.
_IMAGE = {"images", "image", "imgs", "img", "rgb", "rgbs", "color", "colors", "colour", "colours", "left", "photos"}
_IMAGE |= {"photo", "pictures", "frames", "wide", "colored"} - {"colored"}
_DEPTH = {"depth", "depths", "depthmap", "depthmaps", "groundtruth"}
_MASK = {"mask", "masks", "confidence", "confidences", "conf", "valid", "validity"}
_WITH_IMAGE = {"raw", "data", "files", "undistorted", "rectified", "aligned", "lowres", "highres", "jpg", "jpeg", "png"}
_WITH_DEPTH = {"gt", "ground", "truth", "map", "maps", "image", "images", "img", "imgs", "png", "npy", "npz", "exr"}
_WITH_DEPTH |= {"raw", "sensor", "left", "lowres", "highres", "mm", "meters", "metres", "metric", "filled", "complete"}
_WITH_DEPTH |= {"dense", "sparse", "aligned", "registered", "data", "files", "lidar", "z", "tif", "tiff"}
_WITH_MASK = {"depth", "map", "maps", "image", "images", "png", "npy", "pixels", "gt", "lowres", "highres", "data"}
# The plainest name counts first where several folders fit.
_FIRST = ("images", "rgb", "image", "color", "depth", "depths", "gtdepth", "groundtruthdepth")

# Pictures in folders with one of these words are measurements or labels, not photographs.
_NO_PHOTOGRAPHS = re.compile(
    r"(?<![a-z])(depths?|depth_?maps?|disparity|disparities|disp|labels?|masks?|semantics?|instances?|seg|segmentations?"
    r"|groundtruth|ground_truth|velodyne(_raw)?|lidar|normals?|geometry|confidences?|conf|optical_?flow)(?![a-z])"
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
_SYSTEM = ("__macosx", "@eadir", "#recycle", "@recycle", "$recycle.bin", "system volume information", "lost+found")


def words(name: str) -> list[str]:
    """The words of a name in lower case, without its numbers."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]


def kind_of_folder(name: str) -> Kind | None:
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


def is_hidden(name: str) -> bool:
    """Whether a file or folder of that name is hidden, or of an operating system and not the user's."""
    return name.startswith(".") or name.lower() in _SYSTEM


def kind_of_file(file: str) -> Kind:
    """What the words in a file's name say it is; an image if they say nothing."""
    own = set(bits(file))
    if own & _MASK_WORDS:
        return "mask"
    return "depth" if own & _DEPTH_WORDS else "image"


def bits(file: str) -> list[str]:
    """The words and numbers of a file's name, in lower case and without its suffix."""
    name = PurePosixPath(file).with_suffix("").name.lower()
    return [bit for bit in re.split(r"[_\-. ]+|(?<=[a-z])(?=\d)", name) if bit]


def in_measured_folder(file: str) -> bool:
    """Whether a picture lies in a folder of measurements or labels, by the folder's name."""
    return any(_NO_PHOTOGRAPHS.search(folder.lower()) for folder in PurePosixPath(file).parts[:-1])


def about_others(files: Sequence[str]) -> set[str]:
    """Those of `files` that are about another one beside them: `a_depth.png`, if there is `a.jpg` or `a_rgb.jpg`."""
    known = {_plain(file) for file in files} | {_plain(file, _IMAGE_WORDS) for file in files}
    return {file for file in files if (own := _plain(file, _ABOUT)) != _plain(file) and own in known}


def _plain(file: str, without: Collection[str] = ()) -> tuple[str, str]:
    """(folder, name without suffix), and if its last word, or its first, is one of `without`, without that."""
    path = PurePosixPath(file)
    folder, name = path.parent.as_posix(), path.with_suffix("").name.lower()
    last, first = re.match(r"(.+)[_\-. ]([a-z]+)$", name), re.match(r"([a-z]+)[_\-. ](.+)$", name)
    if last and last.group(2) in without:
        return folder, last.group(1)
    if first and first.group(1) in without:
        return folder, first.group(2)
    return folder, name


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False
