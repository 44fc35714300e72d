"""The card inside an ONNX file, found without any package: a protobuf message is fields one after the other.

The card is an entry of the model's `metadata_props`. The rest of the file is what the card's hash is of.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from leadline.core.errors import BadArtefact
from leadline.runtime.manifest import MAX_BYTES, Card, check_hashes, loads

KEY = "leadline"  # of the metadata entry
_METADATA_PROPS = 14  # the field of ONNX's ModelProto
_MAX_FIELDS = 100_000  # of the model itself; the graph is one
_CHUNK = 2**20


def card_of(path: Path) -> Card | None:
    """What the file says of itself; None if leadline has not written it. BadArtefact if it is damaged."""
    entry = _entry(path)
    return None if entry is None else loads(entry[2], path)


def check_content(path: Path, card: Card) -> None:
    """BadArtefact if the file, its card apart, is not as it was exported. A card without hash fits every file."""
    entry = _entry(path) if card.hashes else None
    if entry is not None:
        check_hashes(path, card, [_hash_without(path, entry[0], entry[1])])


def with_card(model: bytes, text: str) -> bytes:
    """A serialised model with the card's `text` in its metadata, at the end: fields may come in any order."""
    pair = _field(1, KEY.encode()) + _field(2, text.encode())
    return model + _field(_METADATA_PROPS, pair)


def _entry(path: Path) -> tuple[int, int, bytes] | None:
    """Where the card's field starts and ends in the file, and its text."""
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
