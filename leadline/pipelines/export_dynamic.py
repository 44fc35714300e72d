"""A folder of several widths for a runtime: each exported, timed, and validated, and the rule that chooses among them.

The rule is the cheapest on the validation split that is at most `max_drop` worse than the whole net.
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from leadline.core.allowed import FROM_0, at_least, check
from leadline.core.answers import Answer, answer
from leadline.core.errors import BadData
from leadline.core.preprocess import Runner, prepare
from leadline.core.spec import Head, Preprocess
from leadline.core.storage import sha256
from leadline.core.tasks import DEPTH, check_fits, protocol_for, reading_for, task_of
from leadline.core.text import figure
from leadline.core.timing import measure
from leadline.core.writing import may_be_written
from leadline.data.dataset import Dataset, evenly, subset
from leadline.data.layouts.detect import open_dataset
from leadline.evaluation.evaluate import evaluate_images
from leadline.nn.checkpoint import find
from leadline.pipelines.prune_widths import load_nested
from leadline.pipelines.training_data import split_validation
from leadline.runtime import installed, suffix
from leadline.runtime.dynamic import Choice, DynamicManifest, hardness, is_dynamic, write_manifest
from leadline.runtime.export import export
from leadline.runtime.options import CompileOptions
from leadline.training.options import Training

Say = Callable[[str], None]
_STEPS = 24
"""So many thresholds are tried for each width: quantiles of the validation split's hardness."""
_EACH = {"labels": "pixel_accuracy"}
"""By kind of head, the figure of a single image that decides, where the task's own is of the whole set."""


@dataclass(frozen=True, kw_only=True)
class DynamicOptions:
    """How a dynamic folder is made."""

    data: str
    """A data set with answers: the validation split of its train part chooses the rule."""
    part: str = ""
    """A part of the data set that chooses the rule instead, such as val where a set has one of its own."""
    max_drop: float = 0.01
    """By how much the mean accuracy may be below that of the whole net."""
    val_every: int = 10
    """Every N-th block of 20 images of the train part is the validation split, as in training."""
    limit: int = 1000
    """At most so many of its images, evenly spaced."""
    threads: int | None = None
    """Threads of the runtime; by default every core."""

    def __post_init__(self) -> None:
        check(self, max_drop=FROM_0, val_every=at_least(2), limit=at_least(8), threads=at_least(1))


@dataclass(frozen=True)
class Measured:
    """The validation split, seen by every width: `hard` and `good` float [N,K], and median milliseconds `ms` [K]."""

    hard: np.ndarray
    good: np.ndarray
    ms: np.ndarray
    metric: str
    protocol: str


def export_dynamic(
    model: str | Path,
    runtime: str,
    out: Path,
    options: DynamicOptions,
    compiling: CompileOptions = CompileOptions(),
    *,
    say: Say = lambda line: None,
) -> DynamicManifest:
    """The folder `out` with a file for `runtime` of each width of the checkpoint `model`, and `dynamic.json`.

    It is made aside and put in place whole. An older dynamic folder at `out` is replaced; anything else there is a
    ValueError, as is a checkpoint of one width. BadData if the data has no validation split.
    """
    if compiling.frame is not None:
        raise ValueError("a dynamic folder takes the net's input, not whole frames; leave --frame out")
    if out.exists() and not is_dynamic(out) and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} is there already and no dynamic folder; give another --out")
    may_be_written(out, reads=[find(model)], apart=[options.data])
    nets = load_nested(model)
    head, how = nets[-1].spec.head, nets[-1].spec.preprocess
    validation = _validation(options, head, say)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as temporary:
        aside = Path(temporary) / out.name
        aside.mkdir()
        files = []
        for i, net in enumerate(nets):
            say(f"exporting width {i + 1} of {len(nets)}")
            files.append(export(net, runtime, aside / f"width-{i}{suffix(runtime)}", compiling))
        runners = [installed(runtime).load(file, options.threads) for file in files]
        found = _measured(runners, validation, head, how, say)
        choice, facts = chosen(found, options.max_drop)
        manifest = DynamicManifest(
            files=tuple(file.name for file in files),
            hashes=tuple(sha256(file) for file in files),
            choice=choice,
            measured={"data": validation.name, "images": len(found.hard), "runtime": runtime, **facts},
        )
        write_manifest(aside, manifest)
        del runners  # a runtime may hold its files open
        if out.exists():
            shutil.rmtree(out)
        aside.replace(out)
    return manifest


def chosen(found: Measured, max_drop: float) -> tuple[Choice, dict[str, Any]]:
    """(the cheapest rule whose mean accuracy is at most `max_drop` below the widest's, the figures of it).

    The milliseconds of a rule are those of the width that starts and, for the share of pictures that are run again, of
    the wider one. `oracle` knows each picture's cheapest width that is as good as the widest: nothing that chooses can
    be faster.
    """
    k = found.good.shape[1]
    least = found.good[:, -1].mean() - max_drop
    best: tuple[float, float, Choice] | None = None
    for start in range(k):
        marks = np.unique(np.quantile(found.hard[:, start], np.linspace(0, 1, _STEPS)))
        for thresholds in itertools.combinations_with_replacement(marks.tolist(), k - 1 - start):
            choice = Choice(start=start, thresholds=thresholds)
            good, ms = _outcome(found, choice)
            if good >= least - 1e-12 and (best is None or ms < best[0]):
                best = ms, good, choice
    assert best is not None  # the widest alone is always good enough
    ms, good, choice = best
    widths = choice.widths(found.hard[:, choice.start])
    sufficient = found.good >= found.good[:, -1:] - 1e-12
    facts = {
        "protocol": found.protocol,
        "metric": found.metric,
        "accuracy": good,
        "accuracy_of_widths": [float(x) for x in found.good.mean(axis=0)],
        "ms": ms,
        "ms_of_widths": [float(x) for x in found.ms],
        "share_of_widths": [float((widths == i).mean()) for i in range(k)],
        "oracle_ms": float(found.ms[sufficient.argmax(axis=1)].mean()),
    }
    return choice, facts


def _outcome(found: Measured, choice: Choice) -> tuple[float, float]:
    """(mean accuracy, mean milliseconds) of a rule."""
    widths = choice.widths(found.hard[:, choice.start])
    again = np.where(widths > choice.start, found.ms[widths], 0)
    return float(found.good[np.arange(len(widths)), widths].mean()), float((found.ms[choice.start] + again).mean())


def _validation(options: DynamicOptions, head: Head, say: Say) -> Dataset:
    data = open_dataset(options.data, options.part or "train", **reading_for(head.kind))
    check_fits(head.kind, data.name, data.classes, data.joint)
    if options.part:
        return subset(data, evenly(options.limit, len(data)))
    run = Training(data=(options.data,), out=Path("unused"), val_every=options.val_every)
    validation = split_validation(run, data, say)[1]
    if validation is None:
        raise BadData(f"{options.data} has too few images for a validation split, which chooses the rule; give more")
    return subset(validation, evenly(options.limit, len(validation)))


def _measured(runners: Sequence[Runner], data: Dataset, head: Head, how: Preprocess, say: Say) -> Measured:
    protocol = protocol_for(head.kind, DEPTH.protocol)
    metric = _EACH.get(head.kind, task_of(head.kind).metric)
    hard, good = [], []
    for i, runner in enumerate(runners):
        say(f"validating width {i + 1} of {len(runners)} on {len(data)} images")
        seen: list[float] = []

        def predict(frame: np.ndarray, runner: Runner = runner, seen: list[float] = seen) -> Answer:
            output = runner(prepare(frame, how))
            seen.append(hardness(output, head.kind))
            return answer(output, (frame.shape[0], frame.shape[1]), head, how)

        results = [one.metrics.get(protocol, {}) for one in evaluate_images(predict, data, [protocol])]
        values = [one.get(metric, np.nan) for one in results]
        if len(seen) != len(values):
            raise BadData(f"{data.name} has images that cannot be read; `leadline data check` names them")
        hard.append(seen)
        good.append(values)
    counted = np.isfinite(good).all(axis=0)
    if not counted.any():
        raise BadData(f"{data.name} has no image that counts under {protocol}")
    image = prepare(data[0].image, how)
    times = measure({str(i): partial(run, image) for i, run in enumerate(runners)}, n=100)
    ms = np.array([times[str(i)].median for i in range(len(runners))])
    say(f"one picture takes {', '.join(figure(x) for x in ms)} ms, narrowest first")
    return Measured(np.array(hard).T[counted], np.array(good).T[counted], ms, metric, protocol)
