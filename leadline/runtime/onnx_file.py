"""What an ONNX file says of itself, found without any package: a protobuf message is fields one after the other.

The manifest is an entry of the model's `metadata_props`. The rest of the file is what the manifest's hash is of.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from leadline.core.errors import BadArtefact
from leadline.runtime.manifest import MAX_BYTES, Manifest, check_hashes, loads
from leadline.runtime.options import Precision

KEY = "leadline"  # of the metadata entry
_METADATA_PROPS = 14  # the field of ONNX's ModelProto
_MAX_FIELDS = 100_000  # of the model itself; the graph is one
_CHUNK = 2**20


def manifest_of(path: Path) -> Manifest | None:
    """The manifest in the file; None if leadline has not written it. BadArtefact if it is damaged."""
    entry = _entry(path)
    return None if entry is None else loads(entry[2], path)


def check_content(path: Path, manifest: Manifest) -> None:
    """BadArtefact if the file, its manifest apart, is not as it was exported. A manifest without hash fits every
    file.
    """
    entry = _entry(path) if manifest.hashes else None
    if entry is not None:
        check_hashes(path, manifest, [_hash_without(path, entry[0], entry[1])])


def with_manifest(model: bytes, text: str) -> bytes:
    """A serialised model with the manifest's `text` in its metadata, at the end: fields may come in any order."""
    pair = _field(1, KEY.encode()) + _field(2, text.encode())
    return model + _field(_METADATA_PROPS, pair)


def second_files(path: Path) -> list[str]:
    """The files beside it in which an ONNX file keeps weights, by name, in order."""
    return sorted({name for _, _, name in _weights(path) if name})


def weights_precision(path: Path) -> Precision:
    """The precision in which most of the weights are stored; fp32 where there are none."""
    sizes: dict[Precision, int] = {}
    for kind, size, _ in _weights(path):
        if kind in _PRECISIONS:
            sizes[_PRECISIONS[kind]] = sizes.get(_PRECISIONS[kind], 0) + size
    return max(sizes, key=lambda precision: sizes[precision], default="fp32")


_PRECISIONS: dict[int, Precision] = {1: "fp32", 10: "fp16", 16: "bf16", 2: "int8", 3: "int8"}
"""ONNX's numbers of its number types -> our words."""
_GRAPH, _INITIALIZER, _DIMS, _TYPE, _EXTERNAL_DATA = 7, 5, 1, 2, 13  # fields of ModelProto, GraphProto, TensorProto


def _weights(path: Path) -> Iterator[tuple[int, int, str]]:
    """Of each weight in the file: its number type, how many values it has, and the file beside it that holds them."""
    try:
        with path.open("rb") as file:
            for number, _, inside, after in _fields(file, 0, path.stat().st_size):
                if number == _GRAPH:
                    graph = _fields(file, inside, after)
                    yield from (_weight(file, start, end) for n, _, start, end in graph if n == _INITIALIZER)
    except (ValueError, OSError) as error:
        raise BadArtefact(f"{path} is damaged or cut short, or no ONNX file ({error})") from error


def _weight(file: BinaryIO, start: int, end: int) -> tuple[int, int, str]:
    kind, size, beside = 0, 1, ""
    for number, _, inside, after in _fields(file, start, end):
        if number in (_DIMS, _TYPE):
            file.seek(inside)
            while file.tell() < after:
                value = _varint(file)
                kind, size = (value, size) if number == _TYPE else (kind, size * value)
        elif number == _EXTERNAL_DATA:
            pair = {n: (i, a) for n, _, i, a in _fields(file, inside, after)}
            if _text(file, pair.get(1)) == b"location":
                beside = _text(file, pair.get(2)).decode("utf-8", "surrogateescape")
    return kind, size, beside


def _entry(path: Path) -> tuple[int, int, bytes] | None:
    """Where the manifest's field starts and ends in the file, and its text."""
    if not path.is_file():
        raise BadArtefact(f"there is no file {path}")
    if not path.stat().st_size:
        raise BadArtefact(f"{path} is empty (0 bytes); export it anew")
    try:
        with path.open("rb") as file:
            end = path.stat().st_size
            for number, start, inside, after in _fields(file, 0, end):
                if number == _METADATA_PROPS and after - inside <= MAX_BYTES:
                    pair = {n: (i, a) for n, _, i, a in _fields(file, inside, after)}
                    if _text(file, pair.get(1)) == KEY.encode():
                        return start, after, _text(file, pair.get(2))
    except (ValueError, OSError) as error:
        raise BadArtefact(f"{path} is damaged or cut short, or no ONNX file ({error}); export it anew") from error
    return None


def _fields(file: BinaryIO, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """The number of each field between two places of the file, where it starts, where its content does, and its end.

    A ValueError if they are no fields.
    """
    for _ in range(_MAX_FIELDS):
        if start == end:
            return
        file.seek(start)
        key = _varint(file)
        kind, size = key & 7, 0
        if kind == 2:
            size = _varint(file)
        inside = file.tell()
        if kind == 0:
            _varint(file)
            size = file.tell() - inside
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        after = inside + size
        if kind not in (0, 1, 2, 5) or not key >> 3 or after > end:
            raise ValueError(f"no message at byte {start}")
        yield key >> 3, start, inside, after
        start = after
    raise ValueError(f"more than {_MAX_FIELDS} fields")


def _varint(file: BinaryIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            raise ValueError("its end is missing")
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    raise ValueError("a number without end")


def _text(file: BinaryIO, place: tuple[int, int] | None) -> bytes:
    if place is None:
        return b""
    file.seek(place[0])
    return file.read(place[1] - place[0])


def _field(number: int, content: bytes) -> bytes:
    return _coded(number << 3 | 2) + _coded(len(content)) + content


def _coded(value: int) -> bytes:
    done = bytearray()
    while value >= 0x80:
        done.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*done, value])


def _hash_without(path: Path, start: int, end: int) -> str:
    """The SHA-256 of the file without the bytes from `start` to `end`."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        left = start
        while left and (chunk := file.read(min(left, _CHUNK))):
            digest.update(chunk)
            left -= len(chunk)
        file.seek(end)
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
