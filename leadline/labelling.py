"""label(): a teacher over the images of a data set, to a label set (`data.labels`), in this process or by Ray.

Work is handed out by shards. Whoever has one asks about its images one at a time and puts each answer into a file of
its own, in one step; once all are there the shard is joined and the pieces go. So a run of any number of processes that
is killed at any moment goes on where it was, and ends with the same bytes. Only numbers travel between processes: no
image and no answer, whatever the size of the set.
"""

from __future__ import annotations

import io
import json
import logging
import os
import shutil
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from leadline.checkpoint import write_atomically
from leadline.data.dataset import Dataset
from leadline.data.labels import FORMAT, MANIFEST, fingerprint, stored
from leadline.errors import BadData, LeadlineError, MissingPackage
from leadline.options_distill import Labelling
from leadline.runtime.card import sha256
from leadline.spec import to_json
from leadline.teachers import Teacher
from leadline.types import Sample

PLAN = "plan.json"
_PIECES = "pieces"
_BLOCK = tarfile.BLOCKSIZE


@dataclass(frozen=True)
class Progress:
    """One shard is done: `done` of all `n` images are, `skipped` names the bad ones in it with the reason."""

    done: int
    n: int
    skipped: tuple[tuple[str, str], ...]
    images_per_s: float
    """Of the run so far, without images that were there already."""


def label(
    teacher: Callable[[], Teacher],
    data: Callable[[], Dataset],
    where: str,
    run: Labelling,
) -> Iterator[Progress]:
    """Label the data set and tell of each shard; at the end `run.out` is a label set that `open_labels` reads.

    `teacher` and `data` are called in each process that works. `where` is the place of the data as the manifest shall
    name it. An image that cannot be read is left out and named there. A folder that holds labels by another teacher, of
    other data or stored otherwise is a BadData; a full disk is an OSError, and the next run goes on.
    """
    work = Work(teacher(), data(), run)
    said = _plan(work.teacher, work.data, where, run)
    _claim(run.out, said)
    n_shards = -(-said["data"]["n"] // run.shard)
    todo = [k for k in range(n_shards) if not _shard(run.out, k).exists()]
    done, new, began = said["data"]["n"] - sum(_size(k, run.shard, said) for k in todo), 0, time.perf_counter()
    shards = _by_ray(teacher, data, run, todo) if run.workers else ((k, *work(k)) for k in todo)
    for k, skipped, made in shards:
        done, new = done + _size(k, run.shard, said), new + made
        yield Progress(done, said["data"]["n"], skipped, new / (time.perf_counter() - began))
    _finish(run.out, said, n_shards)


def _plan(teacher: Teacher, data: Dataset, where: str, run: Labelling) -> dict[str, Any]:
    """What decides the bytes of a label set: the manifest but for its shards."""
    if not len(data):
        raise BadData(f"{where} holds no images to label")
    return {
        "format": FORMAT,
        "kind": teacher.kind,
        "depth_scale": run.label_scale,
        "height": run.height,
        "shard": run.shard,
        "teacher": {"name": teacher.name, **teacher.facts},
        "licences": sorted({*teacher.facts.get("licences", ()), *run.licences}),
        "data": {"path": where, "name": data.name, "n": len(data), "keys": _keys(data)},
    }


def _keys(data: Dataset) -> str:
    """A hash of what is read, in its order."""
    from hashlib import sha256 as digest

    text = json.dumps([to_json(key) if hasattr(key, "__dataclass_fields__") else str(key) for key in data.keys])
    return digest(text.encode()).hexdigest()


def _claim(out: Path, said: dict[str, Any]) -> None:
    """Keep the plan in `out`; another one there is a BadData."""
    wanted = json.loads(json.dumps(said))
    for name in (PLAN, MANIFEST, "labels-*.tar"):
        for draft in out.glob(f".{name}.*"):
            draft.unlink()  # of a run that was killed
    for name in (PLAN, MANIFEST):
        path = out / name
        if path.exists():
            found = json.loads(path.read_text("utf-8"))
            other = [key for key in wanted if found.get(key) != wanted[key]]
            if other:
                given = ", ".join(f"{key} {_short(wanted[key])} (there: {_short(found.get(key))})" for key in other)
                raise BadData(f"{out} holds labels that were made otherwise: {given}; give another --out")
    if not out.exists() or not any(out.iterdir()):
        write_atomically(out / PLAN, json.dumps(wanted, indent=1).encode())
    elif not ((out / PLAN).exists() or (out / MANIFEST).exists()):
        raise BadData(f"{out} holds other files; a new or empty folder is needed")


def _short(value: Any) -> str:
    if not isinstance(value, dict):
        return str(value)
    prints = (value.get(key) for key in ("sha256", "listing", "keys"))
    return " ".join([str(value.get("name")), *(found[:8] for found in prints if found)])


def _size(k: int, shard: int, said: dict[str, Any]) -> int:
    return int(min(shard, said["data"]["n"] - k * shard))


def _shard(out: Path, k: int) -> Path:
    return out / f"labels-{k:05d}.tar"


@dataclass(frozen=True)
class Work:
    """What one process needs to make shards."""

    teacher: Teacher
    data: Dataset
    run: Labelling

    def __call__(self, k: int) -> tuple[tuple[tuple[str, str], ...], int]:
        """Make shard `k`: what it skipped, and how many answers were new."""
        run, new = self.run, 0
        shard = _shard(run.out, k)
        places = range(k * run.shard, min((k + 1) * run.shard, len(self.data)))
        pieces = run.out / _PIECES
        pieces.mkdir(parents=True, exist_ok=True)
        paths = [pieces / f"{i:08d}" for i in places]
        for i, path in zip(places, paths, strict=True):
            for draft in pieces.glob(f".{path.name}.*"):
                draft.unlink(missing_ok=True)  # of a run that was killed
            if not path.exists():
                write_atomically(path, piece(self.teacher, self.data, i, run))
                new += 1
        try:
            skipped = join(paths, shard)
        except FileNotFoundError:
            if not shard.exists():
                raise
            return (), new  # a process of a run that was killed has outlived it and was faster: the bytes are the same
        for path in paths:
            path.unlink(missing_ok=True)
        return skipped, new


def piece(teacher: Teacher, data: Dataset, i: int, run: Labelling) -> bytes:
    """What a shard holds of image `i`: the members of a tar file, one after the other."""
    try:
        sample = data[i]
    except (LeadlineError, OSError) as error:
        named = getattr(data.keys[i], "name", str(data.keys[i]))
        return _member(f"{i:08d}.json", {"i": i, "name": named, "skipped": True, "why": " ".join(str(error).split())})
    image = torch.from_numpy(sample.image).permute(2, 0, 1)[None].float() / 255
    target, valid = (torch.from_numpy(np.array(x))[None, None] for x in (sample.target, sample.valid))
    answer = teacher(Sample(image, target, valid, (sample.name,)))
    rows = sample.image.shape[0] if run.height is None else min(run.height, sample.image.shape[0])
    size = (round(sample.image.shape[1] * rows / sample.image.shape[0]), rows)
    depth, confidence = (_smaller(x[0, 0].numpy(), size) for x in answer)
    numbers, facts = stored(depth, teacher.kind, run.label_scale)
    trust = np.where(numbers > 0, np.rint(255 * confidence).clip(1), 0).astype(np.uint8)
    said = {**facts, "i": i, "name": sample.name, "image": fingerprint(sample.image)}
    return (
        _member(f"{i:08d}.depth.png", _png(numbers))
        + _member(f"{i:08d}.confidence.png", _png(trust))
        + _member(f"{i:08d}.json", said)
    )


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


def join(pieces: list[Path], out: Path) -> tuple[tuple[str, str], ...]:
    """One archive of all pieces, with their index at its end; the names of skipped images, with the reason."""
    content, index, skipped = [], [], []
    at = 0
    for path in pieces:
        part = path.read_bytes()
        line: dict[str, Any] = {}
        places: dict[str, list[int]] = {}
        with tarfile.open(fileobj=io.BytesIO(part)) as archive:
            for member in archive:
                what = member.name.split(".")[1]
                if what == "json":
                    line = json.loads(part[member.offset_data : member.offset_data + member.size])
                else:
                    places[what] = [at + member.offset_data, member.size]
        if "skipped" in line:
            skipped.append((line["name"], line["why"]))
        index.append(line | ({"at": places} if places else {}))
        content.append(part)
        at += len(part)
    lines = "".join(json.dumps(line, sort_keys=True) + "\n" for line in index).encode()
    content += [_member("index.jsonl", lines), bytes(2 * _BLOCK)]
    write_atomically(out, b"".join(content))
    return tuple(skipped)


def _finish(out: Path, said: dict[str, Any], n_shards: int) -> None:
    """Write the manifest, once; the shards' own index says all that it needs."""
    if (out / MANIFEST).exists():
        return
    shards: list[dict[str, Any]] = []
    skipped: list[dict[str, Any]] = []
    beyond = 0
    for k in range(n_shards):
        path = _shard(out, k)
        with tarfile.open(path) as archive:
            member = next(m for m in archive if m.name == "index.jsonl")
            where = [member.offset_data, member.size]
        with path.open("rb") as file:
            file.seek(where[0])
            lines = [json.loads(line) for line in file.read(where[1]).splitlines()]
        bad = [{key: line[key] for key in ("i", "name", "why")} for line in lines if "skipped" in line]
        beyond += sum(line.get("beyond", 0) for line in lines)
        skipped += bad
        facts = {"file": path.name, "n": len(lines) - len(bad), "bytes": path.stat().st_size, "sha256": sha256(path)}
        shards.append({**facts, "index": where})
    n = said["data"]["n"] - len(skipped)
    manifest = {**said, "n": n, "skipped": skipped, "beyond": beyond, "shards": shards}
    write_atomically(out / MANIFEST, json.dumps(manifest, indent=1).encode())
    (out / PLAN).unlink(missing_ok=True)
    shutil.rmtree(out / _PIECES, ignore_errors=True)


def _by_ray(
    teacher: Callable[[], Teacher], data: Callable[[], Dataset], run: Labelling, todo: list[int]
) -> Iterator[tuple[int, tuple[tuple[str, str], ...], int]]:
    """Shards by `run.workers` processes of Ray Data. A row is a shard's number, so the rows in flight, which Ray
    bounds, are all that waits anywhere; a worker has one image in hand.
    """
    try:
        import ray
    except ImportError as error:
        raise MissingPackage("ray", "label", "labelling with several workers") from error
    if not todo:
        return
    run = replace(run, out=run.out.resolve())

    class Shards:
        """`Work` as Ray Data calls it: rows in, rows out; one thread."""

        def __init__(self) -> None:
            torch.set_num_threads(1)
            self.work = Work(teacher(), data(), run)

        def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
            skipped, new = self.work(int(row["shard"]))
            return {"shard": row["shard"], "skipped": json.dumps(skipped), "new": new}

    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # it warns of what concerns other programs
    local = run.workers if run.ray is None else None
    ray.init(
        address=run.ray, num_cpus=local, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR
    )  # fmt: skip
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False
        for name in ("ray.data", "ray._private"):
            logging.getLogger(name).setLevel(logging.ERROR)
        rows = ray.data.from_items([{"shard": k} for k in todo], override_num_blocks=min(len(todo), 1000))
        made = rows.map(Shards, compute=ray.data.ActorPoolStrategy(size=run.workers), num_cpus=1)
        for row in made.iter_rows():
            yield row["shard"], tuple((name, why) for name, why in json.loads(row["skipped"])), row["new"]
    except ray.exceptions.RayTaskError as error:
        raise (error.cause if isinstance(error.cause, LeadlineError | OSError | ValueError) else error) from None
    finally:
        ray.shutdown()
