"""NetAdapt's candidates: a group made smaller, trained a little and validated, in as many processes as there shall
be.
"""

from __future__ import annotations

import copy
import json
import multiprocessing
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from leadline.compress.options import NetAdapt
from leadline.compress.pruning.groups import Channels, Drop
from leadline.compress.pruning.surgery import prune
from leadline.compress.recovery import MakeRecovery, Recovery, Validate
from leadline.core.errors import BadCheckpoint, BadData, TrainingFailed
from leadline.core.storage import write_atomically
from leadline.nn.checkpoint import load, save
from leadline.runtime.torch_threads import torch_threads
from leadline.training.fit import fit


@dataclass(frozen=True)
class Candidate:
    """A group pruned to a width, what the net then costs by estimate, and its accuracy after a short training."""

    group: str
    width: int
    was: int
    cost: float
    accuracy: float = float("nan")


Job = tuple[Path, Candidate, Path, int, Channels, Drop]
"""The net's file, the candidate, the folder for what is made of it, the first batch to learn from, and what goes."""


class Workers:
    """Processes that make candidates, or this one (`pool` None) where one is enough."""

    def __init__(self, pool: ProcessPoolExecutor | None) -> None:
        self.pool = pool

    def __call__(self, jobs: Sequence[Job]) -> Iterator[Candidate]:
        """The candidates with their accuracies, in the order of the jobs."""
        return map(_evaluated, jobs) if self.pool is None else self.pool.map(_evaluated, jobs)

    def validate(self, base: Path) -> float:
        """The accuracy of the net in that file."""
        return _validated(base) if self.pool is None else self.pool.submit(_validated, base).result()


@contextmanager
def workers(make: MakeRecovery, options: NetAdapt, module: nn.Module | None = None) -> Iterator[Workers]:
    """Workers that have their Recovery. Afterwards this process is as it was. `module`: see `checkpoint.load`."""
    if options.processes > 1:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(options.processes, context, _settle, (make, options, module)) as pool:
            try:
                pool.submit(_ready).result()
                yield Workers(pool)
            finally:
                pool.shutdown(cancel_futures=True)
        return
    with torch_threads():
        try:
            _settle(make, options, module)
            _ready()
            yield Workers(None)
        finally:
            _settled.clear()


_settled: list[tuple[MakeRecovery, NetAdapt, nn.Module | None]] = []


def _settle(make: MakeRecovery, options: NetAdapt, module: nn.Module | None) -> None:
    """Once in each process. The Recovery is made at its first use: an error here would break the pool silently."""
    if (parent := multiprocessing.parent_process()) is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    _settled[:] = [(cache(make), options, module)]


def _end_with(parent: Any) -> None:
    """A process whose parent was killed would wait for its next job for ever, with all its memory."""
    parent.join()
    os._exit(1)


def _recovery() -> tuple[Recovery, Validate, NetAdapt]:
    make, options, _ = _settled[0]
    recovery = make()
    if recovery.validate is None:
        raise ValueError("NetAdapt needs a validation split, neither trained on nor reported: give --val-every 10")
    return recovery, recovery.validate, options


def _ready() -> None:
    _recovery()


def _validated(path: Path) -> float:
    _, validate, _ = _recovery()
    return float(validate(load(path, module=_settled[0][2])))


def _evaluated(job: Job) -> Candidate:
    """The candidate with its accuracy; the net it leaves in the folder. One made before a stop is only read.

    One whose training fails, or after which there is nothing to measure, has no accuracy.
    """
    base, candidate, folder, first, channels, drop = job
    path = file_of(folder, candidate.group)
    facts_file = path.with_suffix(".json")
    if facts_file.exists() and path.exists():
        with suppress(ValueError, TypeError, BadCheckpoint):  # what is damaged is made again
            found = Candidate(**json.loads(facts_file.read_bytes()))
            load(path, module=_settled[0][2])
            if (found.group, found.width) == (candidate.group, candidate.width):
                return found
    recovery, validate, options = _recovery()
    net = prune(load(base, module=_settled[0][2]), channels, drop)
    if options.train:
        for module in net.modules():  # statistics must settle within few steps; files do not store momentum
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = options.momentum
        batches = recovery.batches(first)  # each iteration goes on in the data where the one before stopped
        loss = copy.deepcopy(recovery.loss)  # a loss with weights starts anew for each candidate
        try:
            net, _ = fit(net, lambda _: batches, loss, options.short, finish=recovery.finish)
        except TrainingFailed:  # one candidate diverged: the others go on
            return candidate
    try:
        made = replace(candidate, accuracy=float(validate(net)))
    except BadData:  # the candidate predicts nothing that can be measured
        return candidate
    save(net, path)
    write_atomically(facts_file, json.dumps(asdict(made)).encode())
    return made


def file_of(folder: Path, group: str) -> Path:
    """Where the candidate for that group leaves its net."""
    return folder / f"{group.replace('#', '-')}.safetensors"
