"""Names of files: found in folders in their natural order, or read from the lists that data sets carry."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from leadline.errors import BadData


def natural(name: str) -> tuple[tuple[bool, int, str], ...]:
    """A sort key that counts as people do: 2 before 10."""
    return tuple((not bit.isdecimal(), int(bit) if bit.isdecimal() else 0, bit) for bit in re.split(r"(\d+)", name))


def find_files(root: Path, suffixes: Sequence[str]) -> list[str]:
    """All files below `root` that end in one of `suffixes`, relative to it, in natural order; hidden ones are left out.

    Linked folders are entered, each real folder once.
    """
    return sorted((file for file in _walk(root) if file.lower().endswith(tuple(suffixes))), key=natural)


def stem(file: str) -> str:
    """`a/b.c.png` -> `a/b.c`"""
    return PurePosixPath(file).with_suffix("").as_posix()


def read_lines(path: Path) -> list[str]:
    """The lines of a text file without blank ones and comments (#); BadData if it is not text."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise BadData(f"{path} cannot be read as a list in plain text: {error}") from error
    return [line for line in lines if line and not line.startswith("#")]


def located(root: Path, names: Iterable[str], prefixes: Sequence[str]) -> list[str]:
    """Where each name lies, relative to `root`: below one of `prefixes`, the last one that fitted first.

    A leading `/` is not the file system's: the published lists write it before relative names. Names found nowhere come
    back as they are, so that reading them says what is missing.
    """
    order, places = list(prefixes), []
    for name in names:
        name = name.lstrip("/")
        fits = next((prefix for prefix in order if (root / prefix / name).is_file()), None)
        if fits is not None and fits != order[0]:
            order.remove(fits)
            order.insert(0, fits)
        places.append(name if fits is None else (PurePosixPath(fits) / name).as_posix())
    return places


def _walk(root: Path) -> Iterator[str]:
    seen = set()
    for folder, below, files in os.walk(root, followlinks=True):
        below[:] = [name for name in below if not name.startswith((".", "__MACOSX"))]
        real = os.path.realpath(folder)
        if real in seen:
            below.clear()
            continue
        seen.add(real)
        for name in files:
            if not name.startswith("."):
                yield Path(folder, name).relative_to(root).as_posix()


def depth_stem(file: str) -> str:
    """The picture that a depth map is of, by its name: `a/b_depth.png`, as `leadline predict` writes it -> `a/b`; other
    names: their `stem`.
    """
    name = stem(file)
    return name.removesuffix("_depth") if PurePosixPath(name).name != "_depth" else name
