"""What a user means by images: a file, a folder, a pattern or a list, as a list of files."""

from __future__ import annotations

import fnmatch
import glob
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from leadline.core.errors import BadImage
from leadline.core.formats import IMAGE_SUFFIXES, is_beside, passed_over, suffix
from leadline.core.own_results import without_results
from leadline.core.text import columns, decoded, split_lines

Say = Callable[[str], None]


def sources(source: str | Path, say: Say = lambda _: None) -> list[Path]:
    """The images that `source` names, in order:

    1. a folder: the files in it (not in folders below, not hidden ones) that end in IMAGE_SUFFIXES, by name, but
       leadline's own results;
    2. a `.txt` file: one path a line, relative to the list's own folder; blank lines and lines with # do not count;
    3. any other file: itself, also if its name looks like a pattern;
    4. a pattern such as `photos/**/*.jpg`: the files that match, by name, but leadline's own results among others. A
       part of it that exists is itself, such as the folder `photos[1]`; `**` enters each real folder once; a last part
       without an ending stands for images.

    `say` is told, in one line, what of a folder or of a pattern without an ending is passed over: files that are no
    photographs by their ending (but texts, tables and arrays), pipes, folders that may not be read.
    BadImage if it names nothing. A file that a list names but that does not exist is kept: its turn brings the error.
    """
    path = _home(str(source))
    if os.path.isdir(path):
        try:
            files = [os.path.join(path, name) for name in os.listdir(path) if not name.startswith(".")]
        except PermissionError:
            raise BadImage(f"the folder {path} may not be read: permission denied") from None
        found = sorted(map(Path, _photographs(path, [file for file in files if not os.path.isdir(file)], {}, say)))
        found = without_results(found)
        reason = (
            f"the folder {path} holds no image ({' '.join(IMAGE_SUFFIXES)}); for folders below it use '{path}/**/*.jpg'"
        )
    elif path.lower().endswith(".txt") and os.path.isfile(path):
        found = _listed(Path(path))
        reason = f"the list {path} names no image; one path a line is needed"
    elif os.path.lexists(path):
        return [Path(path)]
    else:
        found = _matching(path, say)
        found = without_results(found) or found  # a pattern may mean them
        what = "no file matches" if glob.has_magic(path) else "there is no"
        reason = f"{what} {path}; an image, a folder, a pattern in quotes or a .txt list of images is needed"
    if not found:
        raise BadImage(reason)
    return found


def _home(path: str) -> str:
    """With the user's own folder for `~`, unless something is called so."""
    return path if os.path.lexists(path) else os.path.expanduser(path)


def _photographs(where: str, files: Sequence[str], refused: Mapping[str, str], say: Say) -> list[str]:
    """Those that are photographs by their ending; a link to nothing too, so that its turn names it."""
    pipes = {
        file: "a pipe, a socket or a device" for file in files if os.path.exists(file) and not os.path.isfile(file)
    }
    found = [file for file in files if suffix(file) in IMAGE_SUFFIXES and file not in pipes]
    others = set(files).difference(found, pipes)
    if note := passed_over(where, [file for file in others if not is_beside(file)], {**refused, **pipes}):
        say(note)
    return found


def _listed(path: Path) -> list[Path]:
    try:
        content = path.read_bytes()
        # bytes that are no UTF-8 may be a name's, but with NUL bytes beside them it is no list
        text = decoded(content, "strict" if b"\0" in content else "surrogateescape")
    except ValueError as error:
        raise BadImage(f"{path} is not a text file: {error}") from None
    except OSError as error:
        raise BadImage(f"{path} cannot be read: {error.strerror}") from error
    return [file for line in split_lines(text) if (file := _entry(path.parent, line)) is not None]


def _entry(folder: Path, line: str) -> Path | None:
    """The file that a line names: the first reading of it that exists, else the plain one. None: it names none."""
    plain = line.strip()
    unquoted = plain[1:-1] if plain[:1] == plain[-1:] == '"' else plain
    for entry in dict.fromkeys([plain, line, unquoted, unquoted.replace("\\", "/"), *_columns(plain)]):
        place = os.path.join(folder, entry)
        if entry.strip() and os.path.isfile(place):
            return Path(place)
        if entry.startswith("~") and os.path.isfile(home := os.path.expanduser(entry)):
            return Path(home)
    return None if not plain or plain.startswith("#") else folder / plain


def _columns(line: str) -> list[str]:
    """The first column of a list that says more of each image; also as Windows writes it."""
    first, *more = columns(line) or [""]
    return [first, first.replace("\\", "/")] if more else []


def _matching(pattern: str, say: Say) -> list[Path]:
    """The files that match, by name, each once whatever the links on the way to it."""
    drive, rest = os.path.splitdrive(pattern)
    if os.sep == "\\":
        rest = rest.replace("\\", "/")
    start = drive + ("/" if rest.startswith("/") else "")
    parts = [part for part in rest.split("/") if part]
    if not parts or "\0" in pattern:
        return []
    found: dict[str, str] = {}
    refused: dict[str, str] = {}
    for file in _matches(start, parts, refused):
        if not os.path.isdir(file):
            folder, name = os.path.split(file)
            found.setdefault(os.path.join(os.path.realpath(folder), name), file)
    files = list(found.values())
    if parts[-1].endswith("*") and "." not in parts[-1]:
        return sorted(map(Path, _photographs(pattern, files, refused, say)))
    if note := passed_over(pattern, [], refused):
        say(note)
    return sorted(map(Path, files))


def _matches(folder: str, parts: Sequence[str], refused: dict[str, str]) -> Iterator[str]:
    """What below `folder` fits the parts of a pattern; real folders come before those behind links."""
    if not parts:
        yield folder
        return
    first, rest = parts[0], parts[1:]
    if first == "**":
        for below in _folders(folder, refused):
            yield from _matches(below, rest or ["*"], refused)
    elif os.path.lexists(itself := os.path.join(folder, first)):  # also one that looks like a pattern
        yield from _matches(itself, rest, refused)
    elif glob.has_magic(first):
        names = _names(folder, refused)
        # brackets that fit nothing are a part of the name
        fitting = _fitting(names, first) or _fitting(names, first.replace("[", "[[]"))
        for name in sorted(fitting, key=lambda name: os.path.islink(os.path.join(folder, name))):
            yield from _matches(os.path.join(folder, name), rest, refused)


def _fitting(names: Sequence[str], pattern: str) -> list[str]:
    hidden = pattern.startswith(".")
    return [name for name in names if fnmatch.fnmatch(name, pattern) and (hidden or not name.startswith("."))]


def _folders(folder: str, refused: dict[str, str]) -> Iterator[str]:
    """The folder and all below it but hidden ones, each real one once, those behind links last."""
    seen: set[str] = set()
    linked: list[str] = []
    here = [folder]
    while here or linked:
        place = here.pop() if here else linked.pop(0)
        real = os.path.realpath(place)
        if real in seen:
            continue
        seen.add(real)
        yield place
        below = [os.path.join(place, name) for name in _names(place, refused) if not name.startswith(".")]
        linked += [path for path in below if os.path.islink(path) and os.path.isdir(path)]
        here += [path for path in reversed(below) if os.path.isdir(path) and not os.path.islink(path)]


def _names(folder: str, refused: dict[str, str]) -> list[str]:
    try:
        return sorted(os.listdir(folder or "."))
    except PermissionError:
        refused[f"the folder {folder}"] = "it may not be read"
    except OSError:  # no folder
        pass
    return []
