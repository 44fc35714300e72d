"""Which way of computing a training step is fastest here: measured on the net, the loss and the batches of the run."""

from __future__ import annotations

import importlib.util
import itertools
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from leadline.core.errors import TrainingFailed
from leadline.core.machine import compiler
from leadline.core.report import grid
from leadline.core.spec import to_json
from leadline.data.loader import Batches
from leadline.nn.build import Net
from leadline.training.fit import Finish, Loss, Steps, moved
from leadline.training.memory import freed_memory_kept
from leadline.training.options import FitOptions

TUNED = ("precision", "channels_last", "depthwise", "compile")
"""The options that are tried; they change the result by rounding only."""

_BATCHES = 3  # several, since batches may differ in size
_HOPELESS = 3.0  # a trial that is so many times slower than the best ends after three steps
_NO_WAIT = 0.02


@dataclass(frozen=True)
class Trial:
    """One way, the number of workers (None: the batches lay ready), the median seconds of a step, None if it failed."""

    options: FitOptions
    workers: int | None
    seconds: float | None


@dataclass(frozen=True)
class Tuned:
    """What was chosen, and all that was tried."""

    options: FitOptions
    workers: int
    trials: tuple[Trial, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values, from which `chosen` takes the choice again."""
        rows = [{**_ways(t.options), "workers": t.workers, "seconds": t.seconds} for t in self.trials]
        return {"options": _ways(self.options), "workers": self.workers, "trials": rows}

    def table(self, images: int) -> str:
        """A Markdown table of the trials; `images` is the size of a batch."""
        rows = [[*TUNED, "workers", "ms/step", "images/s"]]
        for trial in self.trials:
            ways = [str(value) for value in _ways(trial.options).values()]
            took = ["failed", ""]
            if trial.seconds is not None:
                took = [f"{1e3 * trial.seconds:.1f}", f"{images / trial.seconds:.1f}"]
            rows.append([*ways, "" if trial.workers is None else str(trial.workers), *took])
        flags = [_flag(name, value) for name, value in _ways(self.options).items()]
        return f"{grid(rows)}\nchosen: {' '.join(filter(None, flags))} --workers {self.workers}"


@freed_memory_kept()
def autotune(
    net: Net,
    batches: Callable[[int], Batches],
    loss: Loss,
    options: FitOptions,
    *,
    workers: Sequence[int],
    finish: Finish | None = None,
    steps: int = 5,
) -> Tuned:
    """The fastest of all precisions, memory layouts and (on a CPU) depthwise kernels, by the median of `steps` steps.

    Then that one compiled, where there is a compiler. Then with `batches(n)` of n worker processes, for ascending n of
    `workers`, until the net waits for less than 2 % of the time; the fastest of them counts. The net is left alone;
    `options` gives the rest.
    """
    ready = list(itertools.islice(batches(0)(0), _BATCHES))
    trials: list[Trial] = []

    def attempt(changes: dict[str, Any]) -> None:
        changed = replace(options, **changes)
        best = min((t.seconds for t in trials if t.seconds is not None), default=math.inf)
        trials.append(Trial(changed, None, _seconds(net, ready, loss, changed, finish, steps, best)))

    kernels = ("own",) if torch.cuda.is_available() else ("own", "torch")
    for precision, last, kernel in itertools.product(("no", "bf16"), (True, False), kernels):
        attempt({"precision": precision, "channels_last": last, "depthwise": kernel, "compile": False})
    if _compiles():
        attempt({**_ways(_fastest(trials).options), "compile": True})
    best = _fastest(trials).options
    loaded: list[Trial] = []
    for n in sorted(set(workers)):
        seconds, waiting = _loaded(net, batches(n), loss, best, finish, n, steps)
        loaded.append(Trial(best, n, seconds))
        if waiting < _NO_WAIT:
            break
    return Tuned(best, _fastest(loaded).workers or 0, (*trials, *loaded))


def chosen(record: dict[str, Any], options: FitOptions) -> tuple[FitOptions, int]:
    """(options, workers) that an earlier `Tuned.to_json` stands for."""
    return replace(options, **record["options"]), int(record["workers"])


def _fastest(trials: Sequence[Trial]) -> Trial:
    done = [trial for trial in trials if trial.seconds is not None]
    if not done:
        raise TrainingFailed("the loss is not finite however a step is computed; lower the learning rate")
    return min(done, key=lambda trial: trial.seconds or 0.0)


def _ways(options: FitOptions) -> dict[str, Any]:
    return {name: to_json(options)[name] for name in TUNED}


def _flag(name: str, value: Any) -> str:
    """The option as a flag of the command line; '' for a switch at its default."""
    flag = name.replace("_", "-")
    if not isinstance(value, bool):
        return f"--fit.{flag} {value}"
    if value == getattr(FitOptions(), name):
        return ""
    return f"--fit.{flag}" if value else f"--fit.no-{flag}"


def _compiles() -> bool:
    return compiler() is not None and (not torch.cuda.is_available() or importlib.util.find_spec("triton") is not None)


def _seconds(
    net: Net,
    ready: Sequence[Any],
    loss: Loss,
    options: FitOptions,
    finish: Finish | None,
    steps: int,
    best: float,
) -> float | None:
    """The median time of a step; the best of three if that shows that it is hopeless; None if the loss fails."""
    run = Steps(net, loss, replace(options, lr=1e-9, warmup=0))
    warm_up = 2 if not options.compile else 2 * len(ready)  # torch.compile compiles once for each size
    times = []
    try:
        for step, batch in zip(range(warm_up + steps), itertools.cycle(ready), strict=False):
            times.append(_timed(partial(_step, run, batch, finish, step)))
            if step == 2 and not options.compile and min(times) > _HOPELESS * best:
                return min(times)
    except TrainingFailed:
        return None
    return statistics.median(times[warm_up:])


def _loaded(
    net: Net, batches: Batches, loss: Loss, options: FitOptions, finish: Finish | None, workers: int, steps: int
) -> tuple[float, float]:
    """(seconds of a step with its waiting, the part of waiting), once what was prepared beforehand is used up."""
    run, stream = Steps(net, loss, replace(options, lr=1e-9, warmup=0)), batches(0)
    ahead, waited, total = 4 * workers + 2, 0.0, 0.0
    for step in range(ahead + 2 * steps):
        start = time.perf_counter()
        batch = next(stream)
        wait = time.perf_counter() - start
        work = _timed(partial(_step, run, batch, finish, step))
        if step >= ahead:
            waited, total = waited + wait, total + wait + work
    return total / (2 * steps), waited / total


def _step(run: Steps, batch: Any, finish: Finish | None, step: int) -> None:
    run.step(moved(batch, run.device, run.options.channels_last, finish), step)


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start
