"""Depth in TIFF files: its pages, and the numbers of one, of any number type that TIFF has.

Pillow reads no floating point of 16 or 64 bits, and turns several others into other numbers without a word (signed or
big-endian ones that are compressed, unsigned 32 bits above 2**31). So pages are read here: TIFF 6.0 and BigTIFF, in
strips or tiles, without compression or with deflate or PackBits, with any predictor. Other compressions are pillow's,
for the types that it reads right.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from leadline.core.errors import BadData
from leadline.core.orientation import ALL, TAG, UPRIGHT, back, stated, turned
from leadline.core.spec import Kind
from leadline.data.depth_names import Stored, allowed, choose, kind_of, unit_of
from leadline.data.pictures import opened_picture

Tags = Mapping[int, Any]
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER = 256, 257, 258, 259, 262, 266
_OFFSETS, _SAMPLES, _ROWS, _COUNTS, _PAGE_NAME, _PREDICTOR = 273, 277, 278, 279, 285, 317
_TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_COUNTS, _FORMAT, _SUBFILE, _NODATA = 322, 323, 324, 325, 339, 254, 42113
_TYPES = {1: "B", 2: "s", 3: "H", 4: "I", 6: "b", 7: "s", 8: "h", 9: "i", 11: "f", 12: "d", 13: "I", 16: "Q", 17: "q"}
_NUMBERS = {1: "u", 2: "i", 3: "f"}  # by SampleFormat
_MAX_PAGES, _MAX_TAGS, _MAX_VALUES = 1000, 1000, 4_000_000
_REDUCED_OR_MASK = 1 | 4


def read_tiff(path: Path, kind: Kind | None, key: str | None) -> Stored:
    """The depth of a TIFF file: its only page that is neither a smaller copy of another nor a mask, else by `choose`:
    pages are called by their PageName, or by their number from 0. It is turned upright as the page says.
    """
    with path.open("rb") as file:
        order, pages = _pages(path, file)
        full = [page for page in pages if not _one(page, _SUBFILE, 0) & _REDUCED_OR_MASK] or pages
        named = {_name(page, i): page for i, page in enumerate(full)}
        if len(named) < len(full):
            named = {str(i): page for i, page in enumerate(full)}
        name = key or ""
        if len(full) > 1 or key is not None:
            found = {name: f"{_one(p, _WIDTH, 0)} x {_one(p, _HEIGHT, 0)}" for name, p in named.items()}
            name = choose(path, found, kind, key, "page")
        page = named[name] if name else full[0]
        index = next(i for i, each in enumerate(pages) if each is page)
        values = _without_nodata(_values(path, file, page, order, index), page.get(_NODATA))
        return Stored(turned(values, _turn(page)), unit_of(name), kind_of(name))


def tiff_orientation(path: Path) -> int:
    """The EXIF orientation that the first page states; 1 if it states none. BadData for a damaged file."""
    try:
        with path.open("rb") as file:
            return _turn(_pages(path, file)[1][0])
    except (OSError, ValueError, ArithmeticError, struct.error) as error:
        raise BadData(f"{path} is damaged: its facts cannot be read ({error}); copy it again") from error


def _turn(page: Tags) -> int:
    return turn if (turn := _one(page, TAG, UPRIGHT)) in ALL else UPRIGHT


def _without_nodata(values: np.ndarray, nodata: object) -> np.ndarray:
    """`values`, and where they are what a page of GDAL calls no data the number that never is depth: NaN, or 0."""
    try:
        mark = float(nodata.split(b"\0")[0]) if isinstance(nodata, bytes) else math.nan
    except ValueError:
        return values
    if values.dtype.kind == "f":
        with np.errstate(over="ignore"):
            return np.where(values == values.dtype.type(mark), values.dtype.type(np.nan), values)
    return np.where(values == mark, values.dtype.type(0), values)


def _name(page: Tags, index: int) -> str:
    name = page.get(_PAGE_NAME)
    return name.split(b"\0")[0].decode("utf-8", "replace") or str(index) if isinstance(name, bytes) else str(index)


def _one(page: Tags, tag: int, otherwise: int) -> int:
    found = page.get(tag)
    return int(found[0]) if isinstance(found, tuple) and found else otherwise


def _pages(path: Path, file: IO[bytes]) -> tuple[str, list[Tags]]:
    """(byte order, the tags of each page)."""
    start = file.read(16)
    order = {b"II": "<", b"MM": ">"}.get(start[:2])
    if order is None or len(start) < 8 or struct.unpack_from(f"{order}H", start, 2)[0] not in (42, 43):
        raise BadData(f"{path} is no TIFF file, or it is cut short; copy it again")
    big = struct.unpack_from(f"{order}H", start, 2)[0] == 43
    at = struct.unpack_from(f"{order}Q", start, 8)[0] if big else struct.unpack_from(f"{order}I", start, 4)[0]
    pages: list[Tags] = []
    seen: set[int] = set()
    while at:
        if at in seen or len(pages) >= _MAX_PAGES:
            raise BadData(f"{path} is damaged: its pages do not end; copy it again")
        seen.add(at)
        page, at = _directory(path, file, at, order, big)
        pages.append(page)
    if not pages:
        raise BadData(f"{path} holds no page; copy it again")
    return order, pages


def _directory(path: Path, file: IO[bytes], at: int, order: str, big: bool) -> tuple[Tags, int]:
    """(the tags of the page at a place of the file, the place of the next page or 0)."""
    count_of, entry_of, next_of = ("Q", "HHQ8s", "Q") if big else ("H", "HHI4s", "I")
    [n_tags] = struct.unpack(order + count_of, _read(path, file, at, struct.calcsize(order + count_of)))
    if n_tags > _MAX_TAGS:
        raise BadData(f"{path} is damaged: a page claims {n_tags} facts; copy it again")
    size = struct.calcsize(order + entry_of)
    data = _read(path, file, file.tell(), n_tags * size + struct.calcsize(order + next_of))
    tags: dict[int, Any] = {}
    for i in range(n_tags):
        tag, type_, count, inline = struct.unpack_from(order + entry_of, data, i * size)
        letter = _TYPES.get(type_)
        if letter is None or count > _MAX_VALUES:
            continue
        need = struct.calcsize(f"{order}{count}{letter}")
        held = inline[:need]
        if need > len(inline):
            held = _read(path, file, struct.unpack(order + next_of, inline)[0], need)
        tags[tag] = held if letter == "s" else struct.unpack(f"{order}{count}{letter}", held)
    return tags, struct.unpack_from(order + next_of, data, n_tags * size)[0]


def _read(path: Path, file: IO[bytes], at: int, size: int) -> bytes:
    file.seek(at)
    data = file.read(size)
    if len(data) < size:
        raise BadData(f"{path} is cut short: {size} bytes are needed at byte {at}; copy it again")
    return data


def _values(path: Path, file: IO[bytes], page: Tags, order: str, index: int) -> np.ndarray:
    """The numbers [H,W] of a page."""
    height, width, dtype = _one(page, _HEIGHT, 0), _one(page, _WIDTH, 0), _number_type(path, page)
    allowed(path, "a page", (height, width), dtype)
    compression = _one(page, _COMPRESSION, 1)
    if compression not in (1, 8, 32946, 32773):
        return _by_pillow(path, file, index, dtype, order, compression)
    predictor = 1 if compression in (1, 32773) else _one(page, _PREDICTOR, 1)  # other programs ignore it there
    values = np.zeros((height, width), dtype)
    for top, left, rows, columns, place, size in _pieces(path, page, height, width):
        need = rows * columns * dtype.itemsize
        if size > 2 * need + 4096:
            raise BadData(f"{path} is damaged: {size} bytes for {need}; copy it again")
        data = _unpacked(_read(path, file, place, size), need, compression)
        if len(data) < need:
            raise BadData(f"{path} is cut short: a piece of its picture has {len(data)} of {need} bytes; copy it again")
        piece = _predicted(data, (rows, columns), dtype, order, predictor)
        values[top : top + rows, left : left + columns] = piece[: height - top, : width - left]
    return values


def _number_type(path: Path, page: Tags) -> np.dtype:
    bits, samples, photometric = _one(page, _BITS, 1), _one(page, _SAMPLES, 1), _one(page, _PHOTOMETRIC, 1)
    letter = _NUMBERS.get(_one(page, _FORMAT, 1))
    if samples != 1 or photometric not in (0, 1):
        colour = f"{samples} numbers for each pixel (photometric {photometric})"
        raise BadData(f"{path} has {colour}; depth has one: save that alone")
    if letter is None or bits not in (8, 16, 32, 64) or (letter, bits) == ("f", 8) or _one(page, _FILL_ORDER, 1) != 1:
        raise BadData(f"{path} has {bits} bits for each pixel; whole or floating-point numbers of 8 to 64 are needed")
    return np.dtype(f"{letter}{bits // 8}")


def _pieces(path: Path, page: Tags, height: int, width: int) -> Iterator[tuple[int, int, int, int, int, int]]:
    """(top, left, rows, columns, place in the file, bytes) of each strip or tile of a page."""
    tiled = _TILE_OFFSETS in page
    rows, columns = min(_one(page, _ROWS, height), height), width
    if tiled:
        rows, columns = _one(page, _TILE_HEIGHT, 0), _one(page, _TILE_WIDTH, 0)
    places = page.get(_TILE_OFFSETS if tiled else _OFFSETS, ())
    sizes = page.get(_TILE_COUNTS if tiled else _COUNTS, ())
    if min(width, height, rows, columns) < 1 or rows > height + 4096 or columns > width + 4096:
        raise BadData(f"{path} is damaged: {width} x {height} pixels in pieces of {columns} x {rows}; copy it again")
    across = math.ceil(width / columns)
    if len(places) != across * math.ceil(height / rows) or len(sizes) != len(places):
        raise BadData(f"{path} is damaged: {len(places)} pieces of its picture are listed; copy it again")
    for i, (place, size) in enumerate(zip(places, sizes, strict=True)):
        top = i // across * rows
        yield top, i % across * columns, rows if tiled else min(rows, height - top), columns, place, size


def _unpacked(data: bytes, need: int, compression: int) -> bytes:
    if compression == 1:
        return data[:need]
    if compression == 32773:
        return b"".join(_unpack_bits(data, need))[:need]
    try:
        return zlib.decompressobj().decompress(data, need)  # never more than is needed
    except zlib.error:
        return b""


def _unpack_bits(data: bytes, need: int) -> Iterator[bytes]:
    at = made = 0
    while at < len(data) and made < need:
        n = data[at]
        run = data[at + 1 : at + 2 + n] if n < 128 else data[at + 1 : at + 2] * (257 - n) if n > 128 else b""
        at += n + 2 if n < 128 else 2 if n > 128 else 1
        made += len(run)
        yield run


def _predicted(data: bytes, shape: tuple[int, int], dtype: np.dtype, order: str, predictor: int) -> np.ndarray:
    """Numbers of bytes: as they are, or differences along rows (2), or such of bytes sorted by significance (3)."""
    if predictor == 3:
        parts = np.frombuffer(data, np.uint8).reshape(shape[0], dtype.itemsize * shape[1])
        planes = np.cumsum(parts, axis=1, dtype=np.uint8).reshape(shape[0], dtype.itemsize, shape[1])
        return np.ascontiguousarray(planes.transpose(0, 2, 1)).view(dtype.newbyteorder(">"))[..., 0]
    values = np.frombuffer(data, order + dtype.str[1:]).reshape(shape)
    if predictor == 2:
        whole = np.dtype(f"u{dtype.itemsize}")
        native = np.ascontiguousarray(values.astype(dtype))
        return np.cumsum(native.view(whole), axis=1, dtype=whole).view(dtype)
    return values


def _by_pillow(path: Path, file: IO[bytes], index: int, dtype: np.dtype, order: str, compression: int) -> np.ndarray:
    if dtype.name not in ("uint8", "uint16") and (dtype.name, order) != ("float32", "<"):
        raise BadData(f"{path}: {dtype} with TIFF's compression {compression} is not read; take deflate or none")
    file.seek(0)
    with opened_picture(file, ("TIFF",)) as image:
        image.seek(index)
        turn = stated(image)  # asked before pillow turns the pixels, which it does while it loads them
        return turned(np.asarray(image), back(turn)).astype(dtype)
