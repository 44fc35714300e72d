"""`leadline train`: data sets in, a checkpoint out. The recipes call `train` with their own values."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from leadline.core.errors import TrainingFailed
from leadline.core.report import Report, from_json
from leadline.core.spec import to_json
from leadline.core.storage import write_atomically
from leadline.core.writing import may_be_written
from leadline.data.loader import Batches
from leadline.distill.options import Distillation
from leadline.nn.build import Net
from leadline.nn.checkpoint import save, save_like
from leadline.pipelines.distill import licences, teacher_supervision
from leadline.pipelines.resume import requested, tell_lengthened
from leadline.pipelines.training_data import Say
from leadline.pipelines.training_setup import parts
from leadline.training.autotune import autotune
from leadline.training.autotune import chosen as chosen_of
from leadline.training.distributed import process
from leadline.training.fit import Finish, Loss, fit
from leadline.training.options import FitOptions, Training
from leadline.training.state import commit, read_json


def train(
    run: Training, net: Net | None = None, distillation: Distillation | None = None, *, say: Say = lambda _: None
) -> tuple[Net, Report]:
    """The trained net and its report; both are also in `run.out`, the net as `NAME.safetensors`,
    in the numbers of the checkpoint that it began from, if it did.

    With `net` that one is the start, see `training_setup.parts`; with `distillation` it learns from a teacher, too.
    `say` gets a line about each step that takes long, and about what the run goes without.
    """
    if not run.resume and (run.out / "state.safetensors").exists():
        raise ValueError(f"{run.out} holds a run already: give --resume to go on with it, or another --out")
    if run.autotune and process()[1] > 1:
        raise ValueError("--autotune measures one process: run it by itself, and give the flags that it prints")
    supervision = None if distillation is None else teacher_supervision(run, distillation)
    made = parts(run, net, supervision=supervision, say=say)
    final = may_be_written(run.out / f"{made.net.spec.name}.safetensors", reads=[run.model])
    started_from, rank = commit(), process()[0]
    options, workers, enough = made.options, made.workers, made.enough
    notes: dict[str, Any] = {}
    if run.autotune:
        counts = [0, 1, enough, 2 * enough] if run.workers < 0 else [run.workers]
        tuned = _tuned(run, workers) or _tune(
            made.net, made.loading, made.loss, options, counts, made.finish, run.batch, say
        )
        notes["autotune"] = tuned
        options, workers = chosen_of(tuned, options)
    notes["requested"] = requested(training=run, distillation=distillation)
    if run.resume and rank == 0:
        tell_lengthened(run.out, options, say)
    net, report = fit(
        made.net, made.loading(workers=workers), made.loss, options, out=run.out, resume=run.resume,
        validate=made.validate, finish=made.finish, facts=made.facts, notes={"workers": workers, **notes},
    )  # fmt: skip
    if made.validation is not None and len(report.metrics) > 1:  # more than the loss
        report = replace(report, protocol=made.protocol, n=len(made.validation))
    if 0 < options.steps == report.context["skipped_steps"]:
        raise TrainingFailed("no batch had anything to learn from: neither valid depth nor an answer of a teacher")
    much = 0.1 if workers or enough else 0.5  # without workers the loop itself makes batches, which counts as waiting
    if rank == 0 and (waiting := report.context["waiting"]) > much and report.context["steps_now"] > 10:
        message = f"the net waited {waiting:.0%} of the time for its batches"
        say(f"{message}: give more --workers (now {workers}) or a larger --cache-gb (now {run.cache_gb:g})")
    reported = run.out / "report.json"
    if not report.context["steps_now"] and final.exists() and reported.exists():  # the run was over before
        with suppress(ValueError, RecursionError):  # a report that is damaged is written again
            return net, from_json(json.loads(reported.read_bytes()))
    if rank == 0:
        figures = {name: value for name, value in report.metrics.items() if name != "loss"}
        metrics = {f"{made.protocol} (validation split)": figures} if figures else {}
        terms = [*run.licences, *made.facts.get("from", {}).get("licences", ())]
        terms += [] if supervision is None else licences(supervision.facts)
        facts = {**made.facts, "fit": to_json(options), "licences": list(dict.fromkeys(terms)), "commit": started_from}
        facts |= {"metrics": metrics, "context": dict(report.context)}
        if "from" in made.facts:
            save_like(run.model, net, final, provenance=facts)
        else:
            save(net, final, provenance=facts)
        write_atomically(reported, json.dumps(report.to_json(), indent=2).encode())
    return net, report


def _tuned(run: Training, workers: int) -> dict[str, Any] | None:
    """What was chosen when the run that goes on began, if it is one."""
    path = run.out / "run.json"
    if not (run.resume and path.is_file()):
        return None
    began: dict[str, Any] = read_json(path)
    return began.get("autotune") or {"options": {}, "workers": workers}


def _tune(
    net: Net,
    loading: Callable[..., Batches],
    loss: Loss,
    options: FitOptions,
    counts: list[int],
    finish: Finish | None,
    images: int,
    say: Say,
) -> dict[str, Any]:
    """Measure, and show what was measured."""
    say("measuring what is fastest here, which takes some minutes")
    tuned = autotune(net, lambda n: loading(workers=n), loss, options, workers=counts, finish=finish)
    for line in tuned.table(images).splitlines():
        say(line)
    return tuned.to_json()
