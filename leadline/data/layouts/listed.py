"""The frames of a plain folder as its lists say: which are in which part, and with which depth map."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from leadline.core.errors import BadData
from leadline.core.preprocess import IMAGE_SUFFIXES
from leadline.data.depth_io import DEPTH_SUFFIXES
from leadline.data.layouts.filelist import stem
from leadline.data.layouts.frame import Frame
from leadline.data.layouts.lists import Row, part_lists, rows, tables
from leadline.data.layouts.parts import OTHERS, SPLITS, part_of
from leadline.data.layouts.words import in_measured_folder, kind_of_folder


@dataclass(frozen=True)
class Listed:
    """All frames, with the depth maps that lists give them; the parts, or None if the lists name none; the rule; and
    what has to be said of lines that are left out.
    """

    frames: tuple[Frame, ...]
    parts: Mapping[str, Sequence[Frame]] | None
    rule: str
    note: str = ""


class _NoImage(BadData):
    """A line names an image that is not there, or has no depth map."""


def listed(root: Path, frames: Sequence[Frame]) -> Listed | None:
    """The parts of `frames` by the lists in `root`; None if there is no list.

    A frame that a list names by two paths is theirs even if the folders' names told nothing. Where lists name only the
    train part, the rest is test; where they name others only, the rest is train; else what no list names is left out.
    A line whose image does not exist, or has no depth map, is left out, and `note` counts these. Where they are more
    than half of a list, it is not about this folder: that is a BadData, as is a line that names a depth map
    which does not exist.
    """
    known = _Known(frames)
    files = part_lists(root, lambda path, part: _names_something(root, path, part, known))
    every = [row for path, part in files.items() for row in rows(path, part)]
    if not files:
        files = dict.fromkeys(tables(root), "")
        every = [row for path in files for row in rows(path)]
    if not every:
        return None
    parts: dict[str, list[Frame]] = {}
    named, changed = set(), {}
    lost: dict[Path, list[_NoImage]] = {}
    for row in every:
        part = part_of(row.part) or row.part if row.part else None
        own = parts.setdefault(OTHERS if part in (None, "all") else part or OTHERS, [])
        old = known.image(root, row)
        if old is None and (scene := known.scene(root, row)):
            named |= {frame.image for frame in scene}
            own += [frame for frame in scene if frame.depth]
            continue
        if old is not None:
            named.add(old.image)
        if row.left_out:
            continue
        try:
            frame = _frame(root, row, old, known)
        except _NoImage as error:
            lost.setdefault(row.path, []).append(error)
            continue
        changed[frame.image] = frame
        own.append(frame)
    note = _lost_lines(lost, every)
    _refuse_two_depths(root, parts)
    all_frames = tuple(changed.pop(frame.image, frame) for frame in frames) + tuple(changed.values())
    if not any(row.part for row in every):
        return Listed(all_frames, None, "", note)
    rule = f"by {', '.join(path.relative_to(root).as_posix() for path in files)}"
    rest = [
        frame
        for frame in all_frames
        if frame.depth and frame.image not in named | {f.image for own in parts.values() for f in own}
    ]
    if set(parts) == {"train"}:
        parts["test"], rule = rest, f"{rule}; the rest is the test part"
    elif "train" not in parts:
        parts["train"], rule = rest, f"{rule}; the rest is the train part"
    elif rest:
        rule = f"{rule}; {len(rest)} frames are in no list and left out"
    order = (*SPLITS[:3], *(part for part in parts if part not in SPLITS))
    return Listed(all_frames, {part: parts[part] for part in order if part in parts}, rule, note)


def _lost_lines(lost: Mapping[Path, Sequence[_NoImage]], every: Sequence[Row]) -> str:
    """What is said of the lines that are left out; BadData where they are more than half of a list."""
    for path, errors in lost.items():
        n = sum(row.path == path for row in every)
        if 2 * len(errors) > n:
            also = "" if n == 1 else f"; so it is with {len(errors)} of its {n} lines: the list is of another folder"
            raise BadData(f"{errors[0]}{also}")
    found = [error for errors in lost.values() for error in errors]
    return f"{len(found)} of {len(every)} lines of lists are left out: {found[0]}" if found else ""


def names_pairs(root: Path) -> bool:
    """Whether a list names an image and a depth map that both exist, and that no folder calls a label."""
    files = part_lists(root, lambda path, part: True) or dict.fromkeys(tables(root), "")
    for path, part in files.items():
        try:
            row = next(rows(path, part or None), None)
        except BadData:
            continue
        if row is None or row.depth is None:
            continue
        image, depth = _below(root, path, row.image), _below(root, path, row.depth)
        if image and depth and image.lower().endswith(IMAGE_SUFFIXES) and depth.lower().endswith(DEPTH_SUFFIXES):
            kinds = [kind_of_folder(folder) for folder in PurePosixPath(depth).parts[:-1]]
            return "depth" in kinds or not in_measured_folder(depth)
    return False


def _names_something(root: Path, path: Path, part: str, known: _Known) -> bool:
    """Whether the first line of a list names a frame, a scene or two files."""
    try:
        row = next(rows(path, part), None)
    except BadData:
        return False
    if row is None:
        return False
    pair = row.depth is not None and _below(root, path, row.image) and _below(root, path, row.depth)
    return bool(known.image(root, row) or known.scene(root, row) or pair)


class _Known:
    """The frames that folders have shown, by all names that a list may use."""

    def __init__(self, frames: Sequence[Frame]) -> None:
        self.all = frames
        self.frames: dict[str, Frame] = {}
        self.depths: dict[str, tuple[str, str | None]] = {}
        for frame in frames:
            for name in (stem(frame.image), frame.image, frame.name):
                self.frames[name] = frame
            if frame.depth:
                self.depths |= dict.fromkeys((frame.depth, stem(frame.depth), frame.name), (frame.depth, frame.mask))

    def image(self, root: Path, row: Row) -> Frame | None:
        """The frame that a line names; a whole line, if that is a name, since names may have blanks."""
        words = [word for cell in (row.line, row.image) for word in _spelled(root, row.path, cell)]
        found = (self.frames[name] for word in words for name in (word, stem(word)) if name in self.frames)
        return next(found, None) or self._moved(row.image)

    def scene(self, root: Path, row: Row) -> list[Frame]:
        """The frames of the folder that a whole line names."""
        words = [f"{word.rstrip('/')}/" for word in _spelled(root, row.path, row.line) if word.strip("./")]
        found = (
            [frame for frame in self.all if frame.name.startswith(word) or frame.image.startswith(word)]
            for word in words
        )
        return next(filter(None, found), [])

    def _moved(self, word: str) -> Frame | None:
        """The frame of an absolute path that was written where the data lay before."""
        bits = PurePosixPath(word.replace("\\", "/")).parts
        ends = ("/".join(bits[i:]) for i in range(1, len(bits) - 1)) if word.startswith("/") or word[1:2] == ":" else ()
        return next((self.frames[end] for end in ends if end in self.frames), None)


def _frame(root: Path, row: Row, old: Frame | None, known: _Known) -> Frame:
    whole = old is not None and any(
        name in known.frames for word in _spelled(root, row.path, row.line) for name in (word, stem(word))
    )
    if row.wrong and not whole:
        raise BadData(row.wrong)
    if old is None:
        image = _below(root, row.path, row.image)
        if image is None:
            raise _NoImage(f"{row.path} lists {row.line!r}, but there is no such image with a depth map")
        if row.depth is None or not image.lower().endswith(IMAGE_SUFFIXES):
            raise BadData(f"{row.path} lists {row.line!r}, but there is no such image with a depth map")
        old = Frame(stem(image), image)
    if row.depth is not None and not whole:
        old = _with_depth(root, row, old, known)
    if row.mask is not None:
        mask = _below(root, row.path, row.mask)
        if mask is None:
            raise BadData(f"{row.path} lists {row.line!r}, but there is no mask {row.mask}")
        old = old._replace(mask=mask)
    if old.depth is None:
        raise _NoImage(f"{row.path} lists {row.line!r}, but there is no such image with a depth map")
    return old


def _with_depth(root: Path, row: Row, frame: Frame, known: _Known) -> Frame:
    """`frame` with the depth map that the line names."""
    word = row.depth or ""
    depth = _below(root, row.path, word)
    if depth is not None and depth.lower().endswith(DEPTH_SUFFIXES):
        mask = known.depths.get(depth, (depth, None))[1]
        return frame._replace(depth=depth, mask=mask)
    for name in _spelled(root, row.path, word):
        if name in known.depths or stem(name) in known.depths:
            depth, mask = known.depths.get(name) or known.depths[stem(name)]
            return frame._replace(depth=depth, mask=mask)
    if word.replace(".", "", 1).isdecimal():  # a focal length, and no depth map of that name
        return frame
    raise BadData(f"{row.path} lists {row.line!r}, but there is no depth map {word}: its second column names one")


def _refuse_two_depths(root: Path, parts: Mapping[str, Sequence[Frame]]) -> None:
    seen: dict[str, str | None] = {}
    for frame in (frame for own in parts.values() for frame in own):
        if seen.setdefault(frame.image, frame.depth) != frame.depth:
            two = f"{seen[frame.image]} and {frame.depth}"
            raise BadData(f"{root}: lists give {frame.image} two depth maps, {two}; keep one")


def _below(root: Path, path: Path, word: str) -> str | None:
    """The file that a list names, relative to the root or to the list, as a path below the root; None if it is not."""
    for name in _spelled(root, path, word):
        for home in (root, path.parent):
            file = home / name
            if os.path.isfile(file) and ".." not in PurePosixPath(name).parts and file.is_relative_to(root):
                return file.relative_to(root).as_posix()
    return None


def _spelled(root: Path, path: Path, word: str) -> list[str]:
    """A name as it stands, as it reads from the root if it is a path, and as it reads if it was written on Windows."""
    found = []
    for name in (word, word.replace("\\", "/")):
        found += [name, name.removeprefix("./").lstrip("/")]
        for home in (root, path.parent):
            whole = os.path.normpath(os.path.abspath(home / name)) if "\0" not in name else ""
            if whole.startswith(os.path.abspath(root) + os.sep):
                found.append(Path(os.path.relpath(whole, os.path.abspath(root))).as_posix())
    return [name for name in dict.fromkeys(found) if PurePosixPath(name).name]  # `.` and `/` are no names
