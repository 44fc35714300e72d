"""Decoded, shrunk frames on disk: one file for each data set, mapped into memory, so that the workers of all runs share
its pages.

    frame, frame, ...      depth, classes or both, float32 (no shorter type holds what every source has), [what a
                           teacher says, float32,] image, [right image,] validity as bits; each begins at a multiple
                           of 64 bytes
    index                  JSON: each frame's place, size, name, camera and CRC-32
    length, CRC-32, mark   of the index: a file that was cut off lacks them

A file's name is a hash of what makes its content (`cache_key`): the source files, how they are read, the height.
It is written aside and put in place in one step: whoever opens it sees a whole one, also while others write the same.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import shutil
import struct
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from leadline.core.errors import BadData
from leadline.core.storage import STALE_S, aside, sweep
from leadline.core.types import Item
from leadline.data.cache_key import identity
from leadline.data.dataset import Dataset
from leadline.data.transforms.augment import BILINEAR, resize

SUFFIX = ".frames"
_MARK, _END = b"leadline frames1", struct.Struct("<QI16s")
_ALIGNED = 64
_FREE = 10**9  # bytes that are left free on the disk
_OWN = re.compile(r"[0-9a-f]{20}\.frames")


@dataclass(frozen=True)
class _Stored:
    """An open file: its bytes, and where in them the frames lie."""

    blocks: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint8))
    index: tuple[dict[str, Any], ...] = ()


def cached(
    sets: Sequence[Dataset],
    folder: Path,
    *,
    gb: float,
    height: int | None = 240,
    say: Callable[[str], None] = lambda _: None,
) -> list[Dataset]:
    """The same data sets, decoded once and kept in `folder`, which holds at most `gb` (10^9 bytes); 0: none is kept.

    Items higher than `height` are shrunk to it, aspect kept: colour is averaged, depth is nearest-neighbour. What does
    not fit, the last items of the last sets, is decoded each time, to equal samples. Files that other runs have left
    give way, the longest unused first; a damaged file is made anew. The arrays of kept items cannot be written to. A
    data set of one class for each image, or whose reader has no name that would identify it (a lambda), is decoded each
    time.

    `say` gets a line about what takes long. A folder that cannot be written is a BadData; if the disk gets
    full, items are decoded each time.
    """
    if gb < 0 or (height is not None and height < 1):
        raise ValueError(f"gb is {gb} and height {height}; at least 0, and at least 1 or None, are needed")
    names = [identity(data, height) if gb and len(data) and not _in_memory(data) else None for data in sets]
    ours = {folder / f"{name}{SUFFIX}" for name in names if name}
    left = round(gb * 1e9)
    shown = []
    for data, name in zip(sets, names, strict=True):
        stored = _Stored()
        if name is not None:
            path = folder / f"{name}{SUFFIX}"
            stored = _opened(path, len(data), left) or _made(data, height, path, left, say, ours, gb)
        left -= stored.blocks.size
        read = functools.partial(_item, data, height, stored)
        shown.append(Dataset(data.name, tuple(range(len(data))), read, classes=data.classes, joint=data.joint))
    if ours:
        _make_room(folder, ours, round(gb * 1e9), 0)
    return shown


def _in_memory(data: Dataset) -> bool:
    """Whether items are images with one class each: they are small, and their layouts keep them."""
    return bool(data.classes) and data[0].target.ndim == 0


def _item(data: Dataset, height: int | None, stored: _Stored, i: int) -> Item:
    if i >= len(stored.index):
        return shrunk(data[i], height)
    entry = stored.index[i]
    rows, columns = entry["size"]
    pixels, at, planes = rows * columns, entry["at"], entry["planes"]
    parts = []
    some = 4 * pixels * (entry["pseudo_depth"] is not None)
    for n in (4 * pixels * planes, some, 3 * pixels, 3 * pixels * entry["stereo"], -(-pixels * planes // 8)):
        parts.append(stored.blocks[at : at + n])
        at += n
    shape = (rows, columns) if planes == 1 else (planes, rows, columns)
    return Item(
        image=parts[2].reshape(rows, columns, 3),
        target=parts[0].view(np.float32).reshape(shape).astype(entry["target"], copy=False),
        valid=np.unpackbits(parts[4], count=pixels * planes).view(bool).reshape(shape),
        name=entry["name"],
        intrinsics=None if entry["intrinsics"] is None else np.array(entry["intrinsics"], np.float64),
        right=parts[3].reshape(rows, columns, 3) if entry["stereo"] else None,
        baseline_m=entry["baseline_m"],
        pseudo_depth=parts[1].view(np.float32).reshape(rows, columns) if some else None,
        pseudo_kind=entry["pseudo_depth"] or "metric",
    )


def _packed(sample: Item) -> tuple[bytes, dict[str, Any]]:
    """A frame's bytes, and its line of the index but for the place."""
    right = b"" if sample.right is None else np.asarray(sample.right, np.uint8).tobytes()
    pseudo = b"" if sample.pseudo_depth is None else np.asarray(sample.pseudo_depth, np.float32).tobytes()
    depth, image = np.asarray(sample.target, np.float32).tobytes(), np.asarray(sample.image, np.uint8).tobytes()
    block = depth + pseudo + image + right + np.packbits(sample.valid).tobytes()
    entry = {
        "bytes": len(block),
        "crc": zlib.crc32(block),
        "size": list(sample.image.shape[:2]),
        "name": sample.name,
        "target": "float32" if sample.target.dtype.kind == "f" else "int64",
        "planes": 1 if sample.target.ndim == 2 else len(sample.target),
        "stereo": sample.right is not None,
        "pseudo_depth": sample.pseudo_kind if sample.pseudo_depth is not None else None,
        "intrinsics": None if sample.intrinsics is None else np.asarray(sample.intrinsics, np.float64).tolist(),
        "baseline_m": sample.baseline_m,
    }
    return block + bytes(-len(block) % _ALIGNED), entry


def shrunk(sample: Item, height: int | None) -> Item:
    """The item at `height` rows if it has more, aspect kept; None: as it is."""
    rows, columns = sample.image.shape[:2]
    if height is None or rows <= height:
        return sample
    return resize(sample, (height, round(columns * height / rows)), image_filter=BILINEAR)


def _opened(path: Path, n: int, limit: int) -> _Stored | None:
    """The file at `path` if it is whole, within `limit` bytes, and holds all `n` frames or as many as may be."""
    try:
        blocks = np.asarray(np.memmap(path, np.uint8, "r"))
        length, crc, mark = _END.unpack(blocks[-_END.size :].tobytes())
        text = blocks[-_END.size - length : -_END.size].tobytes()
    except (OSError, ValueError, struct.error, OverflowError):
        return None  # there is none, an empty one, or a piece of one
    if mark != _MARK or zlib.crc32(text) != crc:
        return None
    try:
        index = tuple(json.loads(text))
        # one that holds a part is made anew where it could be a tenth larger
        worth = blocks.size + blocks.size // 10 + 2 * index[-1]["bytes"]
        if not index or len(index) > n or blocks.size > limit or (len(index) < n and worth < _allowed(path, limit)):
            return None
        with ThreadPoolExecutor() as pool:
            if not all(pool.map(lambda entry: _is_whole(blocks, entry), index)):
                return None
    except (ValueError, TypeError, LookupError, RecursionError):
        return None  # whole, but not what this version writes
    with contextlib.suppress(OSError):  # it may be another user's
        os.utime(path)  # the longest unused gives way first
    return _Stored(blocks, index)


def _is_whole(blocks: np.ndarray, entry: Mapping[str, Any]) -> bool:
    pixels, at, n = entry["size"][0] * entry["size"][1], entry["at"], entry["bytes"]
    planes = entry["planes"]
    wanted = pixels * (3 + 4 * planes + 4 * (entry["pseudo_depth"] is not None) + 3 * entry["stereo"])
    wanted += -(-pixels * planes // 8)
    fits = entry["target"] in ("float32", "int64") and 0 <= at <= blocks.size - n and n == wanted
    return bool(fits and zlib.crc32(blocks[at : at + n].data) == entry["crc"])


def _made(
    data: Dataset, height: int | None, path: Path, left: int, say: Callable[[str], None], ours: set[Path], gb: float
) -> _Stored:
    """A new file of as many frames as fit into `left` bytes."""
    first, folder = len(_packed(shrunk(data[0], height))[0]), path.parent
    message = f"{len(data)} frames of {data.name} are decoded once, to {path} (about {first * len(data) / 1e9:.2g} GB)"
    stored, why = 0, "do not fit"
    with aside(path) as draft:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = draft.open("xb")
        except OSError as error:
            raise BadData(
                f"the cache {folder} cannot be written: {error}; set LEADLINE_CACHE to another folder, or --cache-gb 0"
            ) from error
        limit = _allowed(path, left)
        say(message)
        _make_room(folder, ours, round(gb * 1e9), min(limit, first * len(data)))
        try:
            stored = _write(file, data, height, limit)
            with _writing():
                file.close()
                if stored:
                    draft.replace(path)
        except _NotWritten as error:
            stored, why = 0, f"cannot be kept ({error})"
        finally:
            with contextlib.suppress(OSError):
                file.close()
    if stored < len(data):
        say(f"{len(data) - stored} frames of {data.name} {why} and are decoded each time; see --cache-gb")
    return (_opened(path, stored, left) if stored else None) or _Stored()


class _NotWritten(Exception):
    """The disk is full, or the draft is gone: no fault of the data."""


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _NotWritten(str(error)) from error


def _write(file: IO[bytes], data: Dataset, height: int | None, limit: int) -> int:
    """How many frames were written, within `limit` bytes for them and the index."""
    index: list[dict[str, Any]] = []
    size, total = 0, _END.size + 2
    for block, entry in _decoded(data, height):
        line = {"at": size, **entry}
        total += len(block) + len(json.dumps(line)) + 2
        if total > limit:
            break
        with _writing():
            file.write(block)
        index.append(line)
        size += len(block)
    text = json.dumps(index).encode()
    with _writing():
        file.write(text + _END.pack(len(text), zlib.crc32(text), _MARK))
    return len(index)


def _decoded(data: Dataset, height: int | None) -> Iterator[tuple[bytes, dict[str, Any]]]:
    with ThreadPoolExecutor() as pool:
        for i in range(0, len(data), 64):  # not all at once: what is decoded waits in memory to be written
            yield from pool.map(lambda key: _packed(shrunk(data.read(key), height)), data.keys[i : i + 64])


def _allowed(path: Path, limit: int) -> int:
    """`limit`, or what the disk has."""
    with contextlib.suppress(FileNotFoundError):
        return min(limit, shutil.disk_usage(path.parent).free + path.stat().st_size - _FREE)
    return min(limit, shutil.disk_usage(path.parent).free - _FREE)


def _make_room(folder: Path, ours: set[Path], limit: int, needed: int) -> None:
    """Delete what others have left until `needed` bytes more stay within `limit`, the longest unused first."""
    sweep(folder)
    found = []
    for path in folder.glob(f"*{SUFFIX}"):
        with contextlib.suppress(OSError):  # another run makes room too, and a file may be another user's
            status = path.stat()
            if path.name.startswith(".") and time.time() - status.st_mtime > STALE_S:
                path.unlink()  # a draft of an earlier version
            elif _OWN.fullmatch(path.name):
                found.append((status.st_mtime, status.st_size, path))
    total = needed + sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if total > limit and path not in ours:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
                total -= size
