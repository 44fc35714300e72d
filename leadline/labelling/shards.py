"""The bytes of a label set: what a teacher says of one image, and the archive of many. `data.labels` reads them."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from leadline.data.dataset import Dataset
from leadline.data.labels import called, fingerprint, stored
from leadline.errors import LeadlineError
from leadline.options_distill import Labelling
from leadline.teachers import Teacher
from leadline.types import Sample

Skipped = tuple[tuple[str, str], ...]
"""Names of images that cannot be read, or looked at by the teacher, with the reason."""

_BLOCK = tarfile.BLOCKSIZE


class Gone(OSError):
    """Not an image is bad, but all are out of reach: a disk or a share is gone, or too many files are open."""


def watched(data: Dataset) -> Dataset:
    """`data`, of which an image that cannot be read is Gone if the last one that could be read cannot be any more."""
    last: list[Any] = []

    def read(key: Any) -> Sample:
        try:
            sample = data.read(key)
        except (LeadlineError, OSError) as error:
            if last:
                try:
                    data.read(last[0])
                except (LeadlineError, OSError) as again:
                    raise Gone(f"{error}; nor can {called(last[0])} be read any more: {again}") from again
            raise
        last[:] = [key]
        return sample

    return replace(data, read=read)


def piece(teacher: Teacher, data: Dataset, i: int, run: Labelling) -> bytes:
    """What a shard holds of image `i`: the members of a tar file, one after the other. A bad image is named there; if
    all are out of reach (`watched`) it is Gone.
    """
    try:
        sample = data[i]
    except Gone:
        raise
    except (LeadlineError, OSError) as error:
        return _left_out(data, i, error)
    image = torch.from_numpy(sample.image).to(run.device).permute(2, 0, 1)[None].float() / 255
    target, valid = (torch.from_numpy(np.array(x)).to(run.device)[None, None] for x in (sample.target, sample.valid))
    try:
        answer = teacher(Sample(image, target, valid, (sample.name,)))
    except (LeadlineError, ValueError) as error:
        return _left_out(data, i, error)
    rows = sample.image.shape[0] if run.height is None else min(run.height, sample.image.shape[0])
    size = (max(1, round(sample.image.shape[1] * rows / sample.image.shape[0])), rows)
    depth, confidence = (_smaller(x[0, 0].cpu().numpy(), size) for x in (answer.depth, answer.confidence))
    numbers, extent = stored(depth, teacher.kind, run.label_scale)
    trust = np.where(numbers > 0, np.rint(255 * confidence).clip(1), 0).astype(np.uint8)
    facts: dict[str, Any] = {**extent, **({} if numbers.any() else {"silent": 1})}
    facts |= {"unheard": answer.unheard} if answer.unheard else {}
    said = {**facts, "i": i, "name": sample.name, "image": fingerprint(sample.image)}
    return (
        _member(f"{i:08d}.depth.png", _png(numbers))
        + _member(f"{i:08d}.confidence.png", _png(trust))
        + _member(f"{i:08d}.json", said)
    )


def _left_out(data: Dataset, i: int, error: Exception) -> bytes:
    """The line of an image that cannot be read, or that the teacher cannot look at."""
    name, why = called(data.keys[i]), " ".join(str(error).split())
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


def join(pieces: Sequence[bytes]) -> tuple[bytes, Skipped]:
    """One archive of all pieces, with their index at its end; the names of skipped images, with the reason."""
    content, index = [], []
    at = 0
    for part in pieces:
        line: dict[str, Any] = {}
        places: dict[str, list[int]] = {}
        with tarfile.open(fileobj=io.BytesIO(part)) as archive:
            for member in archive:
                what = member.name.split(".")[1]
                if what == "json":
                    line = json.loads(part[member.offset_data : member.offset_data + member.size])
                else:
                    places[what] = [at + member.offset_data, member.size]
        index.append(line | ({"at": places} if places else {}))
        content.append(part)
        at += len(part)
    lines = "".join(json.dumps(line, sort_keys=True) + "\n" for line in index).encode()
    content += [_member("index.jsonl", lines), bytes(2 * _BLOCK)]
    return b"".join(content), left_out(index)


def left_out(lines: Iterable[dict[str, Any]]) -> Skipped:
    """Of the lines of an index those of skipped images: names, with the reason."""
    return tuple((line["name"], line["why"]) for line in lines if "skipped" in line)


def apart(path: Path) -> dict[int, bytes]:
    """The pieces of an archive that `join` has made, by their image's number, but those of images left out."""
    bad, content = {line["i"] for line in index(path)[1] if "skipped" in line}, path.read_bytes()
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        members = list(archive)
    pieces: dict[int, bytes] = {}
    for member, following in pairwise(members):  # the last is the index
        if (i := int(member.name.split(".")[0])) not in bad:
            pieces[i] = pieces.get(i, b"") + content[member.offset : following.offset]
    return pieces


def index(path: Path) -> tuple[tuple[int, int], list[dict[str, Any]]]:
    """Where the index of an archive lies, (first byte, length), and its lines."""
    with tarfile.open(path) as archive:
        member = next(m for m in archive if m.name == "index.jsonl")
    with path.open("rb") as file:
        file.seek(member.offset_data)
        return (member.offset_data, member.size), [json.loads(line) for line in file.read(member.size).splitlines()]
