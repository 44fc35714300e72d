"""What the files of a data set show from outside: missing, empty or cut short ones, lone halves, and exact copies.

Every file is looked at (its size and its last bytes); none is decoded unless something is odd.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path, PurePosixPath

import numpy as np

from leadline.core.errors import LeadlineError
from leadline.core.preprocess import IMAGE_SUFFIXES, read_image
from leadline.core.text import some
from leadline.data.depth_io import DEPTH_SUFFIXES, read_values
from leadline.data.layouts.filelist import is_file, is_hidden
from leadline.data.layouts.frame import Frame
from leadline.data.layouts.masks import read_mask
from leadline.data.layouts.words import kind_of_file
from leadline.data.validate.finding import Finding, each

_TAIL = 4096
# What the end of a complete file holds. JPEG files may carry other things after it, so its lack only arouses suspicion.
_ENDS = {".png": b"IEND", ".jpg": b"\xff\xd9", ".jpeg": b"\xff\xd9", ".jfif": b"\xff\xd9", ".npz": b"PK\x05\x06"}
_AFTER_DIGITS = re.compile(r"^.*\d")
_COPY_AGAIN = "copy it again, or take it out of the data set"


def unreadable(root: Path, frames: Sequence[Frame]) -> Iterator[Finding]:
    """Each file of the frames that is missing, empty, cut short or of the wrong kind, one by one."""
    found = []
    for file, read in _files(frames).items():
        if _suspicious(root / file):
            try:
                read(root / file)
            except LeadlineError as error:
                found.append(Finding("error", str(error), file, _COPY_AGAIN))
    return each(found)


def lone_halves(root: Path, frames: Sequence[Frame], expected: bool) -> Iterator[Finding]:
    """Images without depth and depth maps without an image, in the folders that the frames come from.

    `expected`: the layout has them by design (lists that choose, sparse depth), so they are a note.
    """
    used = set(_files(frames))
    images = [frame.image for frame in frames if frame.depth is not None]
    depths = [frame.depth for frame in frames if frame.depth is not None]
    for partner, suffixes, files in (("depth map", IMAGE_SUFFIXES, images), ("image", DEPTH_SUFFIXES, depths)):
        shared = _folders(images) & _folders(depths)
        endings = {_ending(file) for file in files}
        for folder in sorted(_folders(files)):
            paths = [path for path in (root / folder).glob("*") if path.suffix.lower() in suffixes]
            names = sorted(path.name for path in paths if not is_hidden(path.name))
            here = [name for name in names if folder not in shared or _ending(name) in endings]
            if folder in shared:  # `a.png` and `a_depth.png` may end alike
                kind = "depth" if partner == "image" else "image"
                here = [name for name in here if kind_of_file(name) == kind]
            alone = [name for name in here if PurePosixPath(folder, name).as_posix() not in used]
            if alone:
                what = f"{len(alone)} of {len(here)} files have no {partner} in this data set: {some(alone)}"
                advice = (
                    "nothing to do: the layout chooses" if expected else f"compare their names with the {partner}s'"
                )
                yield Finding("note" if expected else "warning", what, str(root / folder), advice)


def copies(root: Path, parts: Mapping[str, Sequence[Frame]]) -> Iterator[Finding]:
    """Byte for byte equal files: images in two splits (error), images or depth maps used twice (warning)."""
    for first, second in combinations(parts, 2):
        twice = sorted({frame.image for frame in parts[first]} & {frame.image for frame in parts[second]})
        if twice:
            what = f"{len(twice)} images belong to {first} and to {second}: {some(twice)}"
            yield Finding("error", what, str(root), "take them out of one list")
    part_of = {frame.image: part for part, frames in parts.items() for frame in frames}
    leaks: dict[str, list[str]] = {}
    repeated: list[str] = []
    for group in _equal(root, list(part_of)):
        among = [part for part in parts if part in {part_of[file] for file in group}]
        (leaks.setdefault(" and in ".join(among), []) if len(among) > 1 else repeated).append(" = ".join(group[:3]))
    for own, found in leaks.items():
        what = f"{len(found)} images are in {own.replace('and in ', 'and, under another name, in ')}: {some(found)}"
        yield Finding("error", what, str(root), "keep each in one part; results on the others are too good")
    if repeated:
        what = f"{len(repeated)} images are there several times: {some(repeated)}"
        yield Finding("warning", what, str(root), "keep one of each, unless they should count more")
    depths = {frame.depth for frames in parts.values() for frame in frames if frame.depth}
    repeated = [" = ".join(group[:3]) for group in _equal(root, sorted(depths))]
    if repeated:
        what = f"depth maps of different images are equal: {some(repeated)}"
        yield Finding(
            "warning", what, str(root), "look at these frames: a depth map was probably copied to the wrong name"
        )


def _files(frames: Sequence[Frame]) -> dict[str, Callable[[Path], object]]:
    """Each file with the function that reads it."""
    files: dict[str, Callable[[Path], object]] = {}
    for frame in frames:
        files[frame.image] = read_image
        if frame.right is not None:
            files[frame.right] = read_image
        if frame.depth is not None:
            files[frame.depth] = read_values
        if frame.mask is not None:
            files[frame.mask] = read_mask
    return files


def _suspicious(path: Path) -> bool:
    try:
        size = path.stat().st_size
        if not size or not path.is_file():
            return True
        if path.suffix.lower() == ".npy":
            np.load(path, mmap_mode="r", allow_pickle=False)  # compares the size with the header, reads nothing else
        end = _ENDS.get(path.suffix.lower(), b"")
        with path.open("rb") as file:
            file.seek(max(0, size - _TAIL))
            return end not in file.read()
    except (OSError, ValueError):
        return True


def _folders(files: Sequence[str]) -> set[str]:
    return {PurePosixPath(file).parent.as_posix() for file in files}


def _ending(file: str) -> str:
    """What follows the last digit of a name: `.color.jpg`, `_depth.png`; it tells kinds apart that share a folder."""
    name = PurePosixPath(file).name
    return _AFTER_DIGITS.sub("", name) if any(c.isdigit() for c in name) else "".join(name.partition(".")[1:])


def _equal(root: Path, files: Sequence[str]) -> list[list[str]]:
    """Groups of files with equal bytes; only files of equal size are read."""
    return _groups(
        [group for group in _groups([list(files)], lambda file: _size(root / file)) if len(group) > 1],
        lambda file: _digest(root / file),
    )


def _groups(groups: Sequence[Sequence[str]], key: Callable[[str], object]) -> list[list[str]]:
    out: list[list[str]] = []
    for group in groups:
        together: dict[object, list[str]] = {}
        for file in group:
            mark = key(file)
            if mark:
                together.setdefault(mark, []).append(file)
        out += [same for same in together.values() if len(same) > 1]
    return out


def _size(path: Path) -> int:
    return path.stat().st_size if is_file(path) else 0


def _digest(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()
