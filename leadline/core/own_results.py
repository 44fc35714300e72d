"""What leadline itself wrote, known by its name and by what the file says: no photograph, and free to be replaced."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

MARK = "leadline:"
"""How the keys begin of the text that leadline writes into its PNG files."""

TABLE = b"name,protocol,problem"
"""How the tables of `leadline val --csv` begin."""

PLY_COMMENT = "comment metres; x right, y down, z forward"
PICTURES = ("_vis.png", "_side.png", "_depth.png", "_labels.png")
"""How the names of results end that look like images."""

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY_16 = b"\x10\x00"  # bit depth and colour type
_N_CHUNKS = 64


def without_results(found: Sequence[Path]) -> list[Path]:
    """The files but those that are results of leadline: PNG files called so (PICTURES) that say it, and, of versions
    that did not write it, 16-bit grey ones beside the photograph whose name they bear. A photograph that is called
    `house_side.png` stays.
    """
    stems = {_stem(path) for path in found}
    return [path for path in found if not _is_result(path, stems)]


def is_own_picture(path: Path) -> bool:
    """Whether a file is a picture that `leadline predict` wrote, by its name and what it says."""
    return path.name.lower().endswith(PICTURES) and is_own(path)


def is_own(path: Path) -> bool:
    """Whether leadline wrote the file, by what is in it: a PNG's text, an npz's arrays, a PLY's comment, the columns of
    a table.
    """
    suffix = path.suffix.lower()
    try:
        if suffix == ".png":
            return any(kind in (b"tEXt", b"iTXt") and text.startswith(MARK.encode()) for kind, text in _chunks(path))
        if suffix == ".npz":
            with zipfile.ZipFile(path) as arrays:
                return {"kind.npy", "valid.npy"} <= set(arrays.namelist())
        if suffix in (".ply", ".csv"):
            with path.open("rb") as file:
                start = file.read(512)
            return start.startswith(TABLE) if suffix == ".csv" else PLY_COMMENT.encode() in start
    except (OSError, ValueError, zipfile.BadZipFile):  # no such file, or a damaged one
        return False
    return False


def _is_result(path: Path, stems: set[str]) -> bool:
    ending = next((ending for ending in PICTURES if path.name.lower().endswith(ending)), None)
    if ending is None:
        return False
    of = (str(path.parent), path.name[: -len(ending)].casefold())
    if path.is_symlink() and not path.exists():  # where an earlier result was, or one would go
        return _key(*of) in stems
    return is_own(path) or (ending == "_depth.png" and _key(*of) in stems and _is_grey_16(path))


def _stem(path: Path) -> str:
    return _key(str(path.parent), path.stem.casefold())


def _key(folder: str, stem: str) -> str:
    return f"{folder}/{stem}"


def _is_grey_16(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            start = file.read(26)
    except OSError:
        return False
    return start[:8] == _SIGNATURE and start[24:26] == _GREY_16


def _chunks(path: Path) -> Iterator[tuple[bytes, bytes]]:
    """(type, the first bytes) of the chunks of a PNG before its pixels."""
    with path.open("rb") as file:
        if file.read(8) != _SIGNATURE:
            return
        for _ in range(_N_CHUNKS):
            length, kind = int.from_bytes(file.read(4), "big"), file.read(4)
            if len(kind) < 4 or kind == b"IDAT":
                return
            yield kind, file.read(min(length, 64))
            file.seek(max(length - 64, 0) + 4, 1)
