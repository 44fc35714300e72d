"""label(): a teacher over the images of a data set, to a label set (`data.labels`), in this process or by Ray.

Work is handed out by shards. Whoever has one asks about its images one at a time and puts each answer into a file of
its own, in one step; once all are there the shard is joined and the pieces go. So a run of any number of processes that
is killed at any moment goes on where it was, and ends with the same bytes. Only numbers travel between processes: no
image and no answer, whatever the size of the set.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch

from leadline.core.errors import BadData
from leadline.core.storage import sha256, sweep, write_atomically
from leadline.core.text import reason, some
from leadline.data.dataset import Dataset, called
from leadline.data.label_index import MANIFEST
from leadline.distill.labelling.plan import LOCK, PIECES, PLAN, check_free, claim, differing, planned
from leadline.distill.labelling.ray_workers import by_ray
from leadline.distill.labelling.shards import Skipped, apart, index, is_whole, join, left_out, piece, watched
from leadline.distill.options import Labelling
from leadline.distill.teachers import LEAST, Teacher


@dataclass(frozen=True)
class Progress:
    """One shard is done: `done` of all `n` images are, `skipped` names the bad ones in it with the reason."""

    done: int
    n: int
    skipped: Skipped
    images_per_s: float
    """Since the first shard was done, so without the start of the processes; of the first shard with it."""


def label(
    teacher: Callable[[], Teacher],
    data: Callable[[], Dataset],
    where: str,
    run: Labelling,
    reading: Mapping[str, Any] | None = None,
) -> Iterator[Progress]:
    """Label the data set and tell of each shard; at the end `run.out` is a label set that `open_labels` reads.

    `teacher` and `data` are called in each process that works. `where` is the place of the data as the manifest shall
    name it, `reading` how it is read, if not as it says itself. An image that cannot be read, or that the teacher can
    not look at, is left out and named there. A folder that holds labels by another teacher, of other data or stored
    otherwise is a BadData, and so is a teacher without any prediction; a full disk is an OSError, and the next run
    goes on.
    """
    work = _work(teacher, data, run)
    plan = planned(work.teacher, work.data, where, run, reading or {})
    with _alone(run.out):
        elsewhere = replace(run, out=Path(os.path.realpath(run.out)))
        yield from _all(work, partial(_elsewhere, teacher, data, elsewhere, plan, reading or {}), run, plan)


def _all(
    work: Work, there: Callable[[], Callable[[int], tuple[Skipped, int]]], run: Labelling, plan: dict[str, Any]
) -> Iterator[Progress]:
    claim(run.out, plan)
    n_shards = -(-plan["data"]["n"] // run.shard)
    if run.retry_skipped:
        _reopen(run.out, plan, n_shards)
    todo = [k for k in range(n_shards) if not _shard(run.out, k).exists()]
    done, new, since = plan["data"]["n"] - sum(_size(k, run.shard, plan) for k in todo), 0, time.perf_counter()
    rate = 0.0
    shards = by_ray(there, run, todo) if run.workers else ((k, *work(k)) for k in todo)
    for k, skipped, made in shards:
        done, new, now = done + _size(k, run.shard, plan), new + made, time.perf_counter()
        rate, (new, since) = new / (now - since), (new, since) if rate else (0, now)
        yield Progress(done, plan["data"]["n"], skipped, rate)
    _finish(run.out, plan, n_shards)


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Inside, no other run writes to `out`; one that does already is a BadData.

    The lock's file stays: were it removed, one run could hold the file that is gone while another holds a new one.
    """
    from filelock import FileLock, Timeout

    try:
        check_free(out)
        out.mkdir(parents=True, exist_ok=True)
        lock = FileLock(out / LOCK)
        lock.acquire(blocking=False)
    except Timeout:
        raise BadData(f"another run writes to {out}: wait for it, or give another --out") from None
    except OSError as error:
        cause = error.strerror or str(error)
        raise BadData(f"{out} is no folder that can be written: {cause}; give another --out") from error
    except NotImplementedError:
        pass  # a file system without locks
    try:
        yield
    finally:
        lock.release()


def _reopen(out: Path, plan: dict[str, Any], n_shards: int) -> None:
    """Take shards with images that were left out apart again, so that only these are asked about; also what a stopped
    run has left out.
    """
    write_atomically(out / PLAN, json.dumps(plan, indent=1).encode())
    (out / MANIFEST).unlink(missing_ok=True)
    (out / PIECES).mkdir(exist_ok=True)
    for path in (out / PIECES).glob("[0-9]*"):
        if not _has_answer(path):
            path.unlink()
    for k, shard in ((k, path) for k in range(n_shards) if (path := _shard(out, k)).exists()):
        if not left_out(index(shard, _images(k, plan["shard"], plan["data"]["n"]))[1]):
            continue
        for i, content in apart(shard).items():
            write_atomically(out / PIECES / f"{i:08d}", content)
        shard.unlink()


def _has_answer(path: Path) -> bool:
    """Whether a piece is whole and not that of an image that was left out."""
    try:
        return not join([path.read_bytes()])[1]
    except ValueError:
        return False


def _images(k: int, shard: int, n: int) -> range:
    """The numbers of the images in shard `k`, of `n` in all."""
    return range(k * shard, min((k + 1) * shard, n))


def _size(k: int, shard: int, plan: dict[str, Any]) -> int:
    return len(_images(k, shard, plan["data"]["n"]))


def _shard(out: Path, k: int) -> Path:
    return out / f"labels-{k:05d}.tar"


@dataclass(frozen=True)
class Work:
    """What one process needs to make shards."""

    teacher: Teacher
    data: Dataset
    run: Labelling

    def __call__(self, k: int) -> tuple[Skipped, int]:
        """Make shard `k`: what it skipped, and how many answers were new. One that is there is left as it is: Ray hands
        out anew what a lost machine had done.
        """
        run, new = self.run, 0
        _check_device(run.device)
        shard, images = _shard(run.out, k), _images(k, run.shard, len(self.data))
        if shard.exists():
            return left_out(index(shard, images)[1]), 0
        pieces = run.out / PIECES
        pieces.mkdir(parents=True, exist_ok=True)
        sweep(pieces)
        paths = [pieces / f"{i:08d}" for i in images]
        for i, path in zip(images, paths, strict=True):
            if shard.exists():
                break  # a process of a killed run wrote the shard first, with the same bytes
            if not (path.exists() and is_whole(path.read_bytes(), i, called(self.data.keys[i]))):
                write_atomically(path, piece(self.teacher, self.data, i, run))
                new += 1
        try:
            content, skipped = join([path.read_bytes() for path in paths])
        except FileNotFoundError:
            if not shard.exists():
                raise
            return left_out(index(shard, images)[1]), new
        write_atomically(shard, content)
        for path in paths:
            path.unlink(missing_ok=True)
        return skipped, new


def _work(teacher: Callable[[], Teacher], data: Callable[[], Dataset], run: Labelling) -> Work:
    return Work(teacher(), watched(data()), run)


def _elsewhere(
    teacher: Callable[[], Teacher],
    data: Callable[[], Dataset],
    run: Labelling,
    plan: dict[str, Any],
    reading: Mapping[str, Any],
) -> Callable[[int], tuple[Skipped, int]]:
    """`Work` of another process, which opens teacher and data anew: what has changed since `plan` was made is
    a BadData, for the images of a shard would be others.
    """
    work = _work(teacher, data, run)

    @cache
    def check() -> None:
        now = planned(work.teacher, work.data, plan["data"]["path"], run, reading)
        if other := differing(now, plan):
            raise BadData(f"data or teacher have changed since this run began: {some(other)}; run it again")

    def ask(k: int) -> tuple[Skipped, int]:
        check()
        return work(k)

    return ask


def _check_device(device: str) -> None:
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        fault = reason(error, first_line=True)
        raise ValueError(f"device is {device!r}, where this torch cannot compute ({fault}); try cpu") from error


def _finish(out: Path, plan: dict[str, Any], n_shards: int) -> None:
    """Write the manifest, once; the shards' own index says all that it needs. What only a run needs goes."""
    if (out / MANIFEST).exists():
        return _tidy(out)
    shards: list[dict[str, Any]] = []
    skipped: list[dict[str, Any]] = []
    beyond = empty = 0
    abstained: Counter[str] = Counter()
    for k in range(n_shards):
        path = _shard(out, k)
        where, lines = index(path, _images(k, plan["shard"], plan["data"]["n"]))
        bad = [{key: line[key] for key in ("i", "name", "why")} for line in lines if "skipped" in line]
        empty += sum(line.get("no_prediction", 0) for line in lines)
        beyond += sum(line.get("beyond", 0) for line in lines)
        abstained.update(
            name for line in lines if not line.get("no_prediction") for name in set(line.get("abstained", ()))
        )
        skipped += bad
        facts = {"file": path.name, "n": len(lines) - len(bad), "bytes": path.stat().st_size, "sha256": sha256(path)}
        shards.append({**facts, "index": where})
    n = plan["data"]["n"] - len(skipped)
    if empty == n:
        for k in range(n_shards):
            _shard(out, k).unlink(missing_ok=True)  # another teacher may then label these images
        _tidy(out)
        why = f"; {beyond} pixels are too far for 16 bits: a smaller --label-scale helps" if beyond else ""
        why += _hint(plan, lines[-1]["name"]) if n else ""
        raise BadData(f"{plan['teacher']['name']} has no prediction for any of {n} images{_reason(skipped)}{why}")
    counts: dict[str, Any] = {"beyond": beyond, "no_prediction": empty}
    counts |= {"abstained": dict(sorted(abstained.items()))} if abstained else {}
    manifest = {**plan, "n": n, "skipped": skipped, **counts, "shards": shards}
    write_atomically(out / MANIFEST, json.dumps(manifest, indent=1).encode())
    _tidy(out)


def _tidy(out: Path) -> None:
    (out / PLAN).unlink(missing_ok=True)
    shutil.rmtree(out / PIECES, ignore_errors=True)


def _hint(plan: Mapping[str, Any], name: str) -> str:
    """What is most likely wrong where a teacher has no prediction at all, for the picture `name` either."""
    facts, kind, hint = plan["teacher"], plan["kind"], ""
    if facts.get("by_name"):
        hint = f"; its maps are found by the pictures' names, such as {name}: is it the folder that holds them?"
    if "to_metric" in facts:
        return (
            f"{hint}; the scale of a picture is found where at least {LEAST} pixels are known, and a fit that is "
            "upside down, nearer taken for farther, does not count: is its stated kind right?"
        )
    if hint or kind == "relative_disparity":
        return hint
    return f"; a {kind} teacher's numbers must be above 0: is its kind right?"


def _reason(skipped: list[dict[str, Any]]) -> str:
    return f"; {len(skipped)} more were left out, {skipped[0]['name']} since {skipped[0]['why']}" if skipped else ""
