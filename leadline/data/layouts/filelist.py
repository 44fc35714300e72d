"""Names of files: found in folders in their natural order, or read from the lists that data sets carry."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from leadline.core.errors import BadData
from leadline.core.text import decoded, split_lines

# What operating systems and disks keep beside a user's files, in folders that are not hidden everywhere.
_SYSTEM = ("__macosx", "@eadir", "#recycle", "@recycle", "$recycle.bin", "system volume information", "lost+found")


def natural(name: str) -> tuple[tuple[bool, int, str], ...]:
    """A sort key that counts as people do: 2 before 10."""
    return tuple((not bit.isdecimal(), int(bit) if bit.isdecimal() else 0, bit) for bit in re.split(r"(\d+)", name))


def find_files(root: Path, suffixes: Sequence[str]) -> list[str]:
    """All files below `root` that end in one of `suffixes`, relative to it, in natural order; hidden ones are left out.

    Linked folders are entered, each real folder once, by its own place if that is below `root`. A folder below that may
    not be read is left out (`data.unread` names it); of `root` itself that is a BadData. Blanks and dots after a suffix
    do not count.
    """
    ends = tuple(suffixes)
    return sorted((file for file in walk(root) if file.rstrip(" .").lower().endswith(ends)), key=natural)


def stem(file: str) -> str:
    """`a/b.c.png` -> `a/b.c`"""
    path = PurePosixPath(file)
    return path.with_suffix("").as_posix() if path.name else file


def is_file(path: Path) -> bool:
    """Whether there is such a file; False for names that no file can have (NUL bytes, too long) and out of reach."""
    return os.path.isfile(path)


def each_once(folders: Iterable[Path]) -> list[Path]:
    """The folders without those that are another one behind links."""
    return list({os.path.realpath(folder): folder for folder in reversed(list(folders))}.values())[::-1]


def is_hidden(name: str) -> bool:
    """Whether a file or folder of that name is hidden, or of the operating system and not the user's."""
    return name.startswith(".") or name.lower() in _SYSTEM


def read_lines(path: Path) -> list[str]:
    """The lines of a text file without blank ones and comments (#); BadData if it is not text.

    UTF-8 or UTF-16, with or without a byte order mark, lines that end in LF, CR LF or CR. Bytes that are no UTF-8 are
    kept, as a file's name may have them, unless there are NUL bytes too: that is no list.
    """
    if not is_file(path):  # a pipe would be waited for
        raise BadData(f"{path} is no file; a list in plain text is needed")
    try:
        content = path.read_bytes()
        text = decoded(content, "strict" if b"\0" in content else "surrogateescape")
    except (OSError, ValueError) as error:
        raise BadData(f"{path} cannot be read as a list in plain text: {error}") from error
    lines = [line.strip() for line in split_lines(text)]
    return [line for line in lines if line and not line.startswith("#")]


def located(root: Path, names: Iterable[str], prefixes: Sequence[str]) -> list[str]:
    """Where each name lies, relative to `root`: below one of `prefixes`, the last one that fitted first.

    A leading `/` is not the file system's: the published lists write it before relative names. A list written on
    Windows has `\\` where the file has `/`. Names found nowhere come back as they are: reading says what is missing.
    """
    order, places = list(prefixes), []
    for name in names:
        name = name.lstrip("/")
        tried = [(prefix, way) for way in spellings(name) for prefix in order]
        found = next(((prefix, way) for prefix, way in tried if is_file(root / prefix / way)), None)
        if found is not None and found[0] != order[0]:
            order.remove(found[0])
            order.insert(0, found[0])
        places.append(name if found is None else (PurePosixPath(found[0]) / found[1]).as_posix())
    return places


def spellings(name: str) -> list[str]:
    """The name as a list has it, and as it reads where the list was written on Windows."""
    return list(dict.fromkeys([name, name.replace("\\", "/").lstrip("/")]))


def walk(root: Path, refused: list[str] | None = None) -> Iterator[str]:
    """All files below `root` as `find_files` finds them, with any ending, folder by folder; links to nothing, too.

    Pipes, sockets and devices are left out. A folder that may not be read joins `refused`.
    """
    seen: set[str] = set()
    linked: list[str] = []
    try:
        os.scandir(root).close()
    except PermissionError as error:
        raise BadData(f"{root} may not be read: permission denied") from error
    except OSError:
        return
    yield from _below(root, "", seen, linked, refused)
    while linked:  # after all real folders, whose own places are the better names
        yield from _below(root, linked.pop(0), seen, linked, refused)


def _below(root: Path, folder: str, seen: set[str], linked: list[str], refused: list[str] | None) -> Iterator[str]:
    here = [folder]
    while here:
        folder = here.pop()
        real = os.path.realpath(root / folder)
        if real in seen:
            continue
        seen.add(real)
        try:
            with os.scandir(root / folder) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError:  # it may not be read, or is gone
            if refused is not None:
                refused.append(folder)
            continue
        for entry in entries:
            name = f"{folder}/{entry.name}" if folder else entry.name
            if is_hidden(entry.name):
                continue
            if (kind := _kind(entry)) == "folder":
                (linked if entry.is_symlink() else here).append(name)
            elif kind == "file":
                yield name


def _kind(entry: os.DirEntry[str]) -> str:
    """`folder`, `file` or `other`; what a link to nothing would be is a file, so that reading it says what is wrong."""
    try:
        if entry.is_dir():
            return "folder"
        return "file" if entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path)) else "other"
    except OSError:  # a link that leads to itself
        return "file"


def depth_stem(file: str) -> str:
    """The picture that a depth map is of, by its name: `a/b_depth.png`, as `leadline predict` writes it -> `a/b`; other
    names: their `stem`.
    """
    name = stem(file)
    return name.removesuffix("_depth") if PurePosixPath(name).name != "_depth" else name
