"""Decoded, shrunk frames on disk: one file for each data set, mapped into memory, so that the workers of all runs share
its pages.

    frame, frame, ...      depth float32 (no shorter type holds what every source has), [what a teacher says, float32,]
                           image, [right image,] validity as bits; each begins at a multiple of 64 bytes
    index                  JSON: each frame's place, size, name, camera and CRC-32
    length, CRC-32, mark   of the index: a file that was cut off lacks them

A file's name is a hash of what makes its content: the source files (place, size, time), how they are read, the height.
It is written aside and put in place in one step: whoever opens it sees a whole one, also while others write the same.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import shutil
import stat
import struct
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from leadline.data.dataset import Dataset
from leadline.data.transforms import BILINEAR, resize
from leadline.errors import BadData
from leadline.types import Sample

SUFFIX = ".frames"
_MARK, _END = b"leadline frames1", struct.Struct("<QI16s")
_ALIGNED = 64
_FREE = 10**9  # bytes that are left free on the disk
_STALE_S = 3600  # a draft that nobody has written to for so long is from a run that was killed


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
    data set whose reader has no name that would identify it (a lambda) is decoded each time.

    `say` is told of what takes long. A folder that cannot be written is a BadData.
    """
    if gb < 0 or (height is not None and height < 1):
        raise ValueError(f"gb is {gb} and height {height}; at least 0, and at least 1 or None, are needed")
    names = [_identity(data, height) if gb and len(data) else None for data in sets]
    ours = {folder / f"{name}{SUFFIX}" for name in names if name}
    left = round(gb * 1e9)
    shown = []
    for data, name in zip(sets, names, strict=True):
        stored = _Stored()
        if name is not None:
            path = folder / f"{name}{SUFFIX}"
            stored = _opened(path, len(data), left) or _made(data, height, path, left, say, ours, gb)
        left -= stored.blocks.size
        shown.append(Dataset(data.name, tuple(range(len(data))), functools.partial(_item, data, height, stored)))
    if ours:
        _make_room(folder, ours, round(gb * 1e9), 0)
    return shown


def _item(data: Dataset, height: int | None, stored: _Stored, i: int) -> Sample:
    if i >= len(stored.index):
        return shrunk(data[i], height)
    said = stored.index[i]
    rows, columns = said["size"]
    pixels, at = rows * columns, said["at"]
    parts = []
    some = 4 * pixels * (said["taught"] is not None)
    for n in (4 * pixels, some, 3 * pixels, 3 * pixels * said["stereo"], -(-pixels // 8)):
        parts.append(stored.blocks[at : at + n])
        at += n
    return Sample(
        image=parts[2].reshape(rows, columns, 3),
        target=parts[0].view(np.float32).reshape(rows, columns),
        valid=np.unpackbits(parts[4], count=pixels).view(bool).reshape(rows, columns),
        name=said["name"],
        intrinsics=None if said["intrinsics"] is None else np.array(said["intrinsics"], np.float64),
        right=parts[3].reshape(rows, columns, 3) if said["stereo"] else None,
        baseline_m=said["baseline_m"],
        taught=parts[1].view(np.float32).reshape(rows, columns) if some else None,
        kind=said["taught"] or "metric",
    )


def _packed(sample: Sample) -> tuple[bytes, dict[str, Any]]:
    """A frame's bytes, and its line of the index but for the place."""
    right = b"" if sample.right is None else np.asarray(sample.right, np.uint8).tobytes()
    taught = b"" if sample.taught is None else np.asarray(sample.taught, np.float32).tobytes()
    depth, image = np.asarray(sample.target, np.float32).tobytes(), np.asarray(sample.image, np.uint8).tobytes()
    block = depth + taught + image + right + np.packbits(sample.valid).tobytes()
    said = {
        "bytes": len(block),
        "crc": zlib.crc32(block),
        "size": list(sample.image.shape[:2]),
        "name": sample.name,
        "stereo": sample.right is not None,
        "taught": sample.kind if sample.taught is not None else None,
        "intrinsics": None if sample.intrinsics is None else np.asarray(sample.intrinsics, np.float64).tolist(),
        "baseline_m": sample.baseline_m,
    }
    return block + bytes(-len(block) % _ALIGNED), said


def shrunk(sample: Sample, height: int | None) -> Sample:
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
    index = tuple(json.loads(text))
    # one that holds a part is made anew where it could be a tenth larger
    worth = blocks.size + blocks.size // 10 + 2 * index[-1]["bytes"]
    if blocks.size > limit or (len(index) < n and worth < _allowed(path, limit)):
        return None
    with ThreadPoolExecutor() as pool:
        if not all(pool.map(lambda said: _is_whole(blocks, said), index)):
            return None
    with contextlib.suppress(OSError):  # it may be another user's
        os.utime(path)  # the longest unused gives way first
    return _Stored(blocks, index)


def _is_whole(blocks: np.ndarray, said: Mapping[str, Any]) -> bool:
    found: bool = zlib.crc32(blocks[said["at"] : said["at"] + said["bytes"]].data) == said["crc"]
    return found


def _made(
    data: Dataset, height: int | None, path: Path, left: int, say: Callable[[str], None], ours: set[Path], gb: float
) -> _Stored:
    """A new file of as many frames as fit into `left` bytes."""
    first, folder = len(_packed(shrunk(data[0], height))[0]), path.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=folder, prefix=".", suffix=SUFFIX)
    except OSError as error:
        said = f"the cache {folder} cannot be written: {error}; set LEADLINE_CACHE to another folder, or --cache-gb 0"
        raise BadData(said) from error
    draft, limit = Path(name), _allowed(path, left)
    say(f"{len(data)} frames of {data.name} are decoded once, to {path} (about {first * len(data) / 1e9:.2g} GB)")
    try:
        _make_room(folder, ours, round(gb * 1e9), min(limit, first * len(data)))
        with open(handle, "wb") as file:
            stored = _write(file.write, data, height, limit)
        if stored:
            draft.chmod(0o644)  # others may share it; mkstemp's are its maker's alone
            draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    if stored < len(data):
        say(f"{len(data) - stored} frames of {data.name} do not fit and are decoded each time; see --cache-gb")
    return (_opened(path, stored, left) if stored else None) or _Stored()


def _write(write: Callable[[bytes], object], data: Dataset, height: int | None, limit: int) -> int:
    """How many frames were written, within `limit` bytes for them and the index."""
    index: list[dict[str, Any]] = []
    size, total = 0, _END.size + 2
    for block, said in _decoded(data, height):
        line = {"at": size, **said}
        total += len(block) + len(json.dumps(line)) + 2
        if total > limit:
            break
        write(block)
        index.append(line)
        size += len(block)
    text = json.dumps(index).encode()
    write(text + _END.pack(len(text), zlib.crc32(text), _MARK))
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
    for draft in folder.glob(f".*{SUFFIX}"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - draft.stat().st_mtime > _STALE_S:
                draft.unlink()
    found = []
    for path in folder.glob(f"*{SUFFIX}"):
        with contextlib.suppress(FileNotFoundError):  # another run makes room too
            found.append((path.stat().st_mtime, path.stat().st_size, path))
    total = needed + sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if total > limit and path not in ours and not path.name.startswith("."):
            path.unlink(missing_ok=True)
            total -= size


def _identity(data: Dataset, height: int | None) -> str | None:
    """A hash of all that decides what the data set's frames hold; None if that cannot be said."""
    roots: list[Path] = []
    try:
        said = [_code(), data.name, height, _said(data.read, roots), _said(data.keys, roots)]
    except LookupError:
        return None
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:20]


def _said(value: Any, roots: list[Path]) -> Any:
    """`value` as JSON, files with size and time. Folders join `roots`: words may be files in one of those."""
    inner = functools.partial(_said, roots=roots)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str | Path):
        if isinstance(value, Path) and value.is_dir() and value not in roots:
            roots.append(value)
        places = [value] if isinstance(value, Path) else [root / value for root in roots]
        return [str(value if isinstance(value, str) else value.resolve()), *map(_stamp, places)]
    if isinstance(value, functools.partial):
        return [inner(value.func), inner(value.args), inner(value.keywords)]
    if isinstance(value, Mapping):
        return [[str(key), inner(item)] for key, item in value.items()]
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return [inner(item) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        return [type(value).__qualname__, *(inner(getattr(value, f.name)) for f in fields(value))]
    if callable(value) and "<" not in getattr(value, "__qualname__", "<"):
        return [value.__module__, value.__qualname__, inner(getattr(value, "__self__", None))]
    raise LookupError(f"{value!r} has no lasting name")


def _stamp(path: Path) -> list[int] | None:
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return [found.st_size, found.st_mtime_ns] if stat.S_ISREG(found.st_mode) else None


@functools.cache
def _code() -> str:
    """A hash of the sources that read data: what another version has decoded is not taken for what this one would."""
    here = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted((*here.glob("*.py"), here.parent / "preprocess.py", here.parent / "geometry.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
