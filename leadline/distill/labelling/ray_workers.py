"""Shards by the processes of Ray Data, on this machine or on a cluster."""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

import torch

from leadline.core.errors import LeadlineError, MissingPackage
from leadline.core.quiet import quiet
from leadline.distill.labelling.shards import Skipped
from leadline.distill.options import Labelling

_PATIENCE_S = 10.0
_BLOCKS = 10_000
"""At most so many portions of work; one that is lost with its machine is handed out anew."""


def by_ray(
    make: Callable[[], Callable[[int], tuple[Skipped, int]]], run: Labelling, todo: list[int]
) -> Iterator[tuple[int, Skipped, int]]:
    """The shards `todo` by `run.workers` processes, each with what `make` gives it: number, what was left out, how many
    answers are new.

    A row is a shard's number, so the rows in flight, which Ray bounds, are all that waits anywhere; a worker has one
    image in hand. What fails in a worker fails here; ConnectionError if no cluster answers.
    """
    try:
        import ray
    except ImportError as error:
        raise MissingPackage("ray", "label", "labelling with several workers") from error
    if not todo:
        return

    class Shards:
        """What `make` gives as Ray Data calls it: rows in, rows out; one thread."""

        def __init__(self) -> None:
            torch.set_num_threads(1)  # of a process that Ray has made for this alone
            self.work = make()

        def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
            row_out = {"shard": row["shard"], "skipped": "[]", "new": 0, "failed": "", "disk": False}
            try:
                skipped, new = self.work(int(row["shard"]))
            # returned as a row: Ray would wrap an exception in its own
            except (LeadlineError, OSError, ValueError) as error:
                return {**row_out, "failed": _plain(error), "disk": isinstance(error, OSError)}
            return {**row_out, "skipped": json.dumps(skipped), "new": new}

    _start(ray, run)
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False
        for name in ("ray.data", "ray._private"):
            logging.getLogger(name).setLevel(logging.ERROR)
        gpus = int(run.device != "cpu")
        if run.workers > (there := int(ray.cluster_resources().get("GPU", 0))) and gpus:
            raise ValueError(
                f"{run.workers} workers on {run.device} need a GPU each, and Ray has {there}; fewer --workers"
            )
        rows = ray.data.from_items([{"shard": k} for k in todo], override_num_blocks=min(len(todo), _BLOCKS))
        made = rows.map(Shards, compute=ray.data.ActorPoolStrategy(size=run.workers), num_cpus=1, num_gpus=gpus)
        for row in made.iter_rows():
            if row["failed"]:
                raise (OSError if row["disk"] else LeadlineError)(row["failed"])
            yield row["shard"], tuple((name, why) for name, why in json.loads(row["skipped"])), row["new"]
    except ray.exceptions.RayTaskError as error:
        raise (error.cause if isinstance(error.cause, LeadlineError | OSError | ValueError) else error) from None
    finally:
        ray.shutdown()


def _plain(error: Exception) -> str:
    """What it says, of which Ray's tables hold UTF-8 only: names of files may be something else."""
    return str(error).encode("utf-8", "backslashreplace").decode() or type(error).__name__


def _start(ray: Any, run: Labelling) -> None:
    """Ray here, whatever cluster the environment names, or the one at `run.ray`."""
    if run.ray is not None:
        _knock(run.ray)
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # Ray's own log level, read when it starts
    how: dict[str, Any] = {"address": run.ray} if run.ray else {"address": "local", "num_cpus": run.workers}
    with quiet():
        ray.init(**how, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)


def _knock(address: str) -> None:
    """ConnectionError if nobody listens at HOST:PORT: Ray itself would wait for minutes, deaf to signals."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdecimal():
        return  # `auto` or another word: Ray answers at once
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE_S).close()
    except OSError as error:
        raise ConnectionError(
            f"no Ray cluster answers at {address} ({error}): `ray start --head` starts one, or leave --ray out"
        ) from error
