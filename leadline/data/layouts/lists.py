"""Lists that a plain folder carries: which frames are in which part, and which depth map belongs to which image.

    train.txt, valid.csv, test_files.txt    one frame a line: image, or image depth, or image depth focal; or one
                                            folder (a scene) a line, which stands for all frames in it
    split.csv, any .csv or .txt             a column of parts: image split, or image depth split

Columns are parted by blanks, tabs, commas or semicolons. Without a header the first column is the image, the second the
depth map (`None`: there is none, the line is left out) and the third a focal length, which is not used. A header may
name the columns. Lists lie in the root or in its folder `splits`, `split`, `lists` or `ImageSets`.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from leadline.core.errors import BadData
from leadline.core.own_results import is_own
from leadline.core.text import columns
from leadline.data.depth_io import DEPTH_SUFFIXES
from leadline.data.layouts.filelist import is_hidden, read_lines
from leadline.data.layouts.parts import part_in, part_of
from leadline.data.layouts.words import folders

MAX_BYTES = 64_000_000
_SUFFIXES = (".txt", ".csv", ".tsv", ".lst")
_PLACES = ("splits", "split", "lists", "imagesets", "filelists")
# Words that a list's name may have beside that of its part.
_BESIDE = {
    "list",
    "lists",
    "file",
    "files",
    "filelist",
    "split",
    "set",
    "images",
    "image",
    "pairs",
    "names",
    "ids",
    "data",
}
_COLUMNS = {
    "image": "image rgb color colour img left file filename name path frame",
    "depth": "depth gt groundtruth target",
    "part": "split part subset set partition fold",
    "mask": "mask confidence valid",
    "focal": "focal",
}
_NO_NAMES = {"id", "index", "width", "height", "size", "scale", "time", "timestamp"}


@dataclass(frozen=True)
class Row:
    """A line of a list: where it stands, and what it names. `part` is a word of the list, or of its file's name.

    `wrong` says what is wrong with its columns, unless the whole line is a name with blanks.
    """

    path: Path
    line: str
    image: str
    depth: str | None = None
    part: str | None = None
    mask: str | None = None
    left_out: bool = False
    wrong: str = ""


def part_lists(root: Path, is_list: Callable[[Path, str], bool]) -> dict[Path, str]:
    """The lists of parts and which part each is for, by their names.

    Where a name has other words too (`scannetv2_train.txt`, `train_log.txt`), `is_list` is asked whether it is one.
    """
    for place in (root, *(root / name for name in folders(root) if name.lower() in _PLACES)):
        found = {}
        for path in _files(place):
            part = _part_of_file(path.stem) or part_in(path.stem)
            if part and (_part_of_file(path.stem) or is_list(path, part)):
                found[path] = part
        if found:
            return found
    return {}


def tables(root: Path) -> list[Path]:
    """The lists that have a column of parts, or whose header names the images and depth maps."""
    return [path for path in _files(root) if not _part_of_file(path.stem) and _is_table(path)]


def rows(path: Path, part: str | None = None) -> Iterator[Row]:
    """The lines of a list. BadData if it cannot be read, or if a line has no image where the header says."""
    lines = read_lines(path)
    cells = [_cells(path, line) for line in lines]
    header = _header(cells[0]) if cells else None
    for line, row in list(zip(lines, cells, strict=True))[header is not None :]:
        if header is None:
            yield _row(path, line, row, part)
            continue
        named = {column: row[i] for i, column in header.items() if i < len(row) and row[i]}
        if "image" not in named:
            raise BadData(f"{path}: the line {line!r} names no image")
        left_out = _is_none(named.get("depth"))
        depth, own = None if left_out else named.get("depth"), named.get("part")
        yield Row(path, line, named["image"], depth, part or own, named.get("mask"), left_out)


def _row(path: Path, line: str, cells: list[str], part: str | None) -> Row:
    """A line without a header: image [depth [focal]], or with a part at the end if the file's name tells none."""
    if part is None and len(cells) > 1:
        *cells, part = cells
    image, *rest = cells
    numbers = [cell for cell in rest if _is_number(cell)]
    others = [cell for cell in rest if not _is_number(cell)]
    wrong = ""
    if len(others) > 1:
        wrong = f"names {others[1]} beside the depth map {others[0]}; keep the one that is to be learned from, as"
    elif len(numbers) > 1 or (others and numbers and rest[0] in numbers):
        wrong = "should be:"
    depth = others[0] if others else numbers[0] if numbers else None  # a depth map may be called 002
    fault = f"{path}: the line {line!r} {wrong} image depth focal" if wrong else ""
    return Row(path, line, image, None if _is_none(depth) else depth, part, None, _is_none(depth), fault)


def _files(place: Path) -> list[Path]:
    try:
        with os.scandir(place) as listing:
            names = [entry.name for entry in listing if entry.name.lower().endswith(_SUFFIXES) and entry.is_file()]
    except OSError:
        return []
    paths = [place / name for name in sorted(names) if not is_hidden(name)]
    return [path for path in paths if path.stat().st_size <= MAX_BYTES and not is_own(path)]  # a table of `val`


def _part_of_file(name: str) -> str | None:
    """The part that a list is for, if its name is that of a part and perhaps says that it is a list."""
    own = re.findall(r"[a-z]+", name.lower())
    found = {part for word in own if (part := part_of(word))}
    known = all(word in _BESIDE or part_of(word) for word in own)
    return found.pop() if len(found) == 1 and known else None


def _is_table(path: Path) -> bool:
    try:
        cells = [_cells(path, line) for line in read_lines(path)]
    except BadData:  # not a text, so not a list
        return False
    if not cells:
        return False
    header = _header(cells[0])
    if header is not None:
        return "image" in header.values() and ("part" in header.values() or "depth" in header.values())
    return all(len(row) in (2, 3, 4) and part_of(row[-1]) for row in cells)


def _header(cells: list[str]) -> dict[int, str] | None:
    """Column number -> what it holds, if the first line names its columns."""
    if len(cells) < 2 or any("." in cell or "/" in cell or part_of(cell) for cell in cells):
        return None
    found: dict[int, str] = {}
    of = [set(re.findall(r"[a-z]+", cell.lower())) for cell in cells]
    for column, names in _COLUMNS.items():
        fits = (i for name in names.split() for i, own in enumerate(of) if name in own and not own & _NO_NAMES)
        place = next((i for i in fits if i not in found), None)
        if place is not None:
            found[place] = column
    return found if "image" in found.values() and len(found) > 1 else None


def _cells(path: Path, line: str) -> list[str]:
    if path.suffix.lower() == ".tsv" or "\t" in line:
        return [cell.strip() for cell in line.split("\t")]
    for mark in (",", ";"):
        if mark in line:
            try:
                return [cell.strip() for cell in next(csv.reader([line], delimiter=mark, skipinitialspace=True))]
            except csv.Error as error:
                raise BadData(f"{path}: the line {line[:80]!r} cannot be read: {error}") from error
    return columns(line)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return not cell.lower().endswith(DEPTH_SUFFIXES)


def _is_none(cell: str | None) -> bool:
    return cell is not None and cell.lower() == "none"
