"""What may be written: nothing outside the folder that was given, and nothing over a file that is read."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

_OTHER = "give another --out"


def may_be_written(
    path: Path,
    *,
    reads: Iterable[str | Path] = (),
    inside: Path | None = None,
    apart: Iterable[str | Path] = (),
    advice: str = _OTHER,
) -> Path:
    """`path` itself, if a file may be written there; ValueError with the `advice` if it is

    - one of the files `reads`: by links of either sort, or by a name that differs in case only, which is one file on
      many disks;
    - not `inside` that folder, once links are followed;
    - in, or below, one of the folders `apart`, from which files are read.
    """
    for file in reads:
        if is_same(path, file):
            raise ValueError(f"{path} would be written over a file that is read, {file}: {advice}")
    if inside is not None and not _is_below(path, inside):
        raise ValueError(f"{path} lies outside of {inside}, where results go: {advice}")
    for folder in apart:
        if _is_below(path, Path(folder)):
            raise ValueError(f"{path} would be written into {folder}, whose files are read: {advice}")
    return path


def is_same(a: str | Path, b: str | Path) -> bool:
    """Whether two paths are one file, or would be on a disk that does not tell upper case from lower."""
    try:
        if os.path.samefile(a, b):
            return True
    except (OSError, ValueError):  # one of them is not there
        pass
    return place(a) == place(b)


def place(path: str | Path) -> str:
    """Where a path leads, in one spelling."""
    try:
        real = os.path.realpath(path)
    except (OSError, ValueError):  # a name that no file can have
        real = os.path.abspath(path)
    return unicodedata.normalize("NFC", real).casefold()


def safe_names(names: Sequence[str]) -> list[str]:
    """The names as paths below any folder: without `..`, drives and leading slashes, and no two the same, not even
    where case is ignored. A name that is safe stays as it is.
    """
    taken: set[str] = set()
    safe = []
    for name in names:
        plain = name.replace("\\", "/") if os.sep == "\\" else name
        words = [word for word in plain.replace("\0", "_").split("/") if word not in ("", ".", "..")]
        if words and os.sep == "\\":
            words = [word.replace(":", "_") for word in words]
        first = made = PurePosixPath(*words).as_posix() if words else "frame"
        number = 2
        while made.casefold() in taken:
            made, number = f"{first}_{number}", number + 1
        taken.add(made.casefold())
        safe.append(made)
    return safe


def _is_below(path: Path, folder: Path) -> bool:
    try:
        return os.path.commonpath([place(path), place(folder)]) == place(folder)
    except ValueError:  # on another drive
        return False
