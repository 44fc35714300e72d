"""The bytes of a label set: a teacher's prediction for one image, and the archive of many. `data.label_set` reads
them.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from leadline.core.errors import BadData, LeadlineError
from leadline.core.text import reason
from leadline.core.types import Item
from leadline.data.batch import Batch
from leadline.data.dataset import Dataset, called
from leadline.data.identity import file_of, marks
from leadline.data.label_index import LARGEST, checked_line, lines_of
from leadline.data.label_set import stored
from leadline.data.pictures import opened_picture
from leadline.distill.options import Labelling
from leadline.distill.teachers import Teacher

Skipped = tuple[tuple[str, str], ...]
"""Names of images that cannot be read, or looked at by the teacher, with the reason."""

_BLOCK = tarfile.BLOCKSIZE
_INDEX = "index.jsonl"
_WHY = 1000  # characters of a reason: some libraries tell all they know


class Gone(OSError):
    """Not an image is bad, but all are out of reach: a disk or a share is gone, or too many files are open."""


def watched(data: Dataset) -> Dataset:
    """`data`, of which an image that cannot be read is Gone if the last one that could be read cannot be any more."""
    return replace(data, read=partial(_watching, read=data.read, last=[]))


def _watching(key: Any, read: Any, last: list[Any]) -> Item:
    try:
        sample: Item = read(key)
    except (LeadlineError, OSError) as error:
        if last:
            try:
                read(last[0])
            except (LeadlineError, OSError) as again:
                raise Gone(f"{error}; nor can {called(last[0])} be read any more: {again}") from again
        raise
    last[:] = [key]
    return sample


def piece(teacher: Teacher, data: Dataset, i: int, run: Labelling) -> bytes:
    """What a shard holds of image `i`: the members of a tar file, one after the other. A bad image is named there; if
    all are out of reach (`watched`) it is Gone.
    """
    try:
        sample = data[i]
        known = marks(sample.image, file_of(data.read, data.keys[i]))
    except Gone:
        raise
    except (LeadlineError, OSError, MemoryError) as error:
        return _left_out(data, i, error)
    try:
        answer = teacher(_shown(sample, run.device))
    except (LeadlineError, ValueError, ArithmeticError, LookupError, MemoryError, torch.OutOfMemoryError) as error:
        return _left_out(data, i, error)
    except RuntimeError as error:
        if run.device != "cpu":
            raise  # a GPU may fail for reasons that no image is the cause of
        return _left_out(data, i, error)
    rows = sample.image.shape[0] if run.height is None else min(run.height, sample.image.shape[0])
    size = (max(1, round(sample.image.shape[1] * rows / sample.image.shape[0])), rows)
    depth, confidence = (_smaller(x[0, 0].cpu().numpy(), size) for x in (answer.depth, answer.confidence))
    numbers, extent = stored(depth, teacher.kind, run.label_scale)
    sure = np.where(numbers > 0, np.rint(255 * confidence).clip(1), 0).astype(np.uint8)
    facts: dict[str, Any] = {**extent, **({} if numbers.any() else {"no_prediction": 1})}
    facts |= {"abstained": answer.abstained} if answer.abstained else {}
    record = {**facts, "i": i, "name": sample.name, **known}
    return (
        _member(f"{i:08d}.depth.png", _png(numbers))
        + _member(f"{i:08d}.confidence.png", _png(sure))
        + _member(f"{i:08d}.json", record)
    )


def _shown(sample: Item, device: str) -> Batch:
    """The item as a batch of one, the input of a teacher."""
    image = torch.from_numpy(sample.image).to(device).permute(2, 0, 1)[None].float() / 255
    target, valid = (torch.from_numpy(np.array(x)).to(device)[None, None] for x in (sample.target, sample.valid))
    return Batch(image, target, valid, (sample.name,))


def _left_out(data: Dataset, i: int, error: Exception) -> bytes:
    """The line of an image that cannot be read, or that the teacher cannot look at."""
    name, why = called(data.keys[i]), reason(error, _WHY)
    return _member(f"{i:08d}.json", {"i": i, "name": name, "skipped": True, "why": why})


def _smaller(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A map at `size` (width, height), averaged; where it is not known everywhere, by nearest neighbour."""
    if size == (values.shape[1], values.shape[0]):
        return values
    how = Image.Resampling.BILINEAR if np.isfinite(values).all() else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(values).resize(size, how))


def _png(numbers: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(numbers).save(file, format="PNG")
    return file.getvalue()


def _member(name: str, content: bytes | dict[str, Any]) -> bytes:
    """A file as it stands in a tar archive; nothing in it depends on when or by whom it was written."""
    plain = content if isinstance(content, bytes) else json.dumps(content, sort_keys=True).encode()
    entry = tarfile.TarInfo(name)
    entry.size = len(plain)
    return entry.tobuf(tarfile.USTAR_FORMAT) + plain + bytes(-len(plain) % _BLOCK)


class Entry(NamedTuple):
    """A file in an archive: its name, its header's first byte, its content's, and its content's length."""

    name: str
    head: int
    start: int
    size: int


def entries(file: IO[bytes], end: int) -> Iterator[Entry]:
    """The files in an archive of `end` bytes that `_member` has made. Only headers are read, and nothing is unpacked;
    what is no such archive is a ValueError.
    """
    at = 0
    while at < end:
        file.seek(at)
        block = file.read(_BLOCK)
        if not block.strip(b"\0"):
            return
        try:
            found = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
        except (tarfile.TarError, ValueError) as error:
            raise ValueError(f"no file begins at byte {at}: {error}") from error
        if not found.isreg() or found.size < 0 or at + _BLOCK + found.size > end:
            raise ValueError(f"the file at byte {at} is none of {found.size} bytes, as is said there")
        yield Entry(found.name, at, at + _BLOCK, found.size)
        at += _BLOCK + found.size + -found.size % _BLOCK


def _line(part: bytes) -> dict[str, Any]:
    """The JSON of the image in a piece, and where its label lies in it; ValueError if the piece is not whole."""
    line: Any = None
    places: dict[str, list[int]] = {}
    for entry in entries(io.BytesIO(part), len(part)):
        what = entry.name.split(".", 1)[-1]
        if what == "json":
            line = json.loads(part[entry.start : entry.start + entry.size])
        else:
            places[what.removesuffix(".png")] = [entry.start, entry.size]
    if not isinstance(line, dict):
        raise ValueError("a piece says nothing about its image")
    return checked_line(line | ({"at": places} if places else {}), len(part))


def is_whole(part: bytes, i: int, name: str) -> bool:
    """Whether this is a whole piece about image `i`, as one that an earlier run has left should be."""
    try:
        line = _line(part)
        for start, size in line.get("at", {}).values():
            with opened_picture(io.BytesIO(part[start : start + size]), ("PNG",)) as picture:
                picture.verify()
    except Exception:  # damaged pictures make pillow raise nearly anything
        return False
    return bool((line["i"], line["name"]) == (i, name))


def join(pieces: Sequence[bytes]) -> tuple[bytes, Skipped]:
    """One archive of all pieces, with their index at its end; the names of skipped images, with the reason."""
    content, index = [], []
    at = 0
    for part in pieces:
        line = _line(part)
        if "at" in line:
            line["at"] = {what: [at + start, size] for what, (start, size) in line["at"].items()}
        index.append(line)
        content.append(part)
        at += len(part)
    lines = "".join(json.dumps(line, sort_keys=True) + "\n" for line in index).encode()
    content += [_member(_INDEX, lines), bytes(2 * _BLOCK)]
    return b"".join(content), left_out(index)


def left_out(lines: Iterable[dict[str, Any]]) -> Skipped:
    """Of the lines of an index those of skipped images: names, with the reason."""
    return tuple((line["name"], line["why"]) for line in lines if "skipped" in line)


def apart(path: Path) -> dict[int, bytes]:
    """The pieces of an archive that `join` has made, by their image's number, but those of images left out."""
    bad, content = {line["i"] for line in index(path)[1] if "skipped" in line}, path.read_bytes()
    pieces: dict[int, bytes] = {}
    for entry in entries(io.BytesIO(content), len(content)):
        if entry.name != _INDEX and (i := int(entry.name.split(".")[0])) not in bad:
            end = entry.start + entry.size + -entry.size % _BLOCK
            pieces[i] = pieces.get(i, b"") + content[entry.head : end]
    return pieces


def index(path: Path, images: range | None = None) -> tuple[tuple[int, int], list[dict[str, Any]]]:
    """Where the index of an archive lies, (first byte, length), and its lines.

    BadData if the archive is damaged, or is not about `images`, where that is given.
    """
    try:
        end = path.stat().st_size
        with path.open("rb") as file:
            entry = next((entry for entry in entries(file, end) if entry.name == _INDEX), None)
            if entry is None or entry.size > LARGEST:
                raise ValueError(f"it has no {_INDEX}, or too large a one")
            file.seek(entry.start)
            lines = list(lines_of(file.read(entry.size), entry.head))
        if images is not None and [line["i"] for line in lines] != list(images):
            raise ValueError(f"it has {len(lines)} images that are not those from {images.start} to {images.stop - 1}")
    except ValueError as error:
        raise BadData(f"{path} is damaged ({error}): remove it, and the same command makes it anew") from error
    return (entry.start, entry.size), lines
