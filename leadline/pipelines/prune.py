"""A pruning run from its description: the net pruned to the budget by the method, trained, saved, and reported."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from leadline.compress.cost.budget import limit, parse
from leadline.compress.cost.count import shapes_of
from leadline.compress.dynamic.gate_loss import GateLoss
from leadline.compress.dynamic.nested import NestedLoss
from leadline.compress.options import Pruning
from leadline.compress.pruning.trace import traced
from leadline.compress.steps import compress
from leadline.core.errors import BadCheckpoint
from leadline.core.report import Report
from leadline.core.spec import to_json
from leadline.core.storage import sha256, write_atomically
from leadline.core.writing import may_be_written
from leadline.distill.self_loss import answered
from leadline.nn.build import Net, reinitialised
from leadline.nn.checkpoint import find, load, read_provenance, save, save_like
from leadline.pipelines.prune_gates import check_budget
from leadline.pipelines.prune_methods import Say, check, cost_model, distance, prune_to_budget, seen
from leadline.pipelines.prune_widths import load_nested
from leadline.pipelines.resume import flat, requested, tell_lengthened
from leadline.pipelines.training_setup import Parts, parts
from leadline.training.fit import Loss, fit
from leadline.training.state import check_same, commit, read_json, with_more_steps


@dataclass(frozen=True)
class Pruned:
    """What a run made: the net before (for stereo pairs with their camera's metres) and after, and what happened."""

    before: Net
    after: Net
    report: Report
    stored: str
    """The numbers in the file: those that the net came in, such as float16."""
    narrower: Sequence[Net] = ()
    """Of nested widths: those below the whole net, the narrowest first."""


def run(
    options: Pruning, *, resume: bool = False, say: Say = lambda line: None, progress: Say = lambda line: None
) -> Pruned:
    """Prune `options.training.model` (a name or a checkpoint) as `options` say, and write `options.out`, in the numbers
    that the model is stored in.

    The folder `out` without its ending holds what a stopped run needs; with `resume` it goes on there, with other
    options it is a TrainingFailed. `say` gets a line about each step that is done, `progress` about the
    one that runs, such as each layer that is timed. A budget that cannot be met is a BudgetInfeasible, known before any
    training.
    """
    training, folder = options.training, options.out.with_suffix("")
    budget = parse(options.budget, options.runtime, options.threads)
    if options.method in ("gates", "widths"):
        check_budget(budget, options.method)
    if options.method == "netadapt" and not training.val_every:
        raise ValueError(
            "NetAdapt needs a validation split, neither trained on nor reported; val_every is 0, give --val-every 10"
        )
    source = find(training.model)
    may_be_written(options.out, reads=[source])
    plan = _planned(folder, options, sha256(source), resume)
    made = parts(replace(training, out=folder), load(source), say=say)
    net, size = made.net, made.net.spec.preprocess.size
    begun, unpruned = folder / "plan.json", folder / "unpruned.json"
    # re-measuring would change the budget of a resumed run
    known = read_json(unpruned, (int, float)) if begun.exists() else None
    costs = cost_model(budget, net, size, progress, known)
    whole = costs.cost_of(net)(shapes_of(net)) if known is None else known
    most = limit(budget, whole)
    if not begun.exists():
        check(options, made, costs, most)
        write_atomically(unpruned, json.dumps(whole).encode())  # written last: a mistake in the options leaves no file
    write_atomically(begun, json.dumps(plan, indent=1).encode())
    at = folder / "pruned.safetensors"
    to_budget = partial(prune_to_budget, options=options, made=made, costs=costs, most=most, resume=resume, say=say)
    if at.exists():
        pruned, facts = _kept(at), read_provenance(at)
    else:
        pruned, reports = compress(net, to_budget)
        facts = dict(reports[0].context)
        save(pruned, at, provenance=facts)
    for line in distance(facts, most, options):
        say(line)
    if options.reinit:
        pruned, _ = compress(pruned, partial(_reinitialised, made=made, seed=training.fit.seed))
    if options.name is not None:
        pruned.spec = replace(pruned.spec, name=options.name)
    report = Report(pruned.spec.name)
    loss = _loss(pruned, options, made, facts)
    if options.finetune:
        train = partial(_trained, options=options, made=made, loss=loss, resume=resume, say=say)
        pruned, (report,) = compress(pruned, train)
    beside = loss.norms() if isinstance(loss, NestedLoss) else None
    provenance = _provenance(options, made, source, facts, report)
    stored = save_like(source, pruned, options.out, provenance=provenance, beside=beside)
    *narrower, after = load_nested(options.out) if beside else [load(options.out)]
    return Pruned(net.cpu().eval(), after, report, stored, narrower)


def _loss(net: Net, options: Pruning, made: Parts, facts: Mapping[str, Any]) -> Loss:
    """What the long training minimises: the task's loss, with a teacher, or with what the method adds."""
    base = partial(answered, made.loss, made.net, options.distill_weight) if options.distill_weight else made.loss
    if options.method == "gates":
        return GateLoss(base, options.gates, facts["ratio"], made.options.steps)
    if options.method == "widths":
        return NestedLoss(base, net, traced(net), facts["width_levels"], options.nested.distill)
    return base


def _kept(at: Path) -> Net:
    try:
        return load(at)
    except BadCheckpoint as error:
        raise BadCheckpoint(f"{error}; remove {at}, and --resume makes it again") from error


def _trained(net: Net, *, options: Pruning, made: Parts, loss: Loss, resume: bool, say: Say) -> tuple[Net, Report]:
    """The long training."""
    out = options.out.with_suffix("") / "training"
    if resume:
        tell_lengthened(out, made.options, say)
    net, report = fit(
        net, made.loading(workers=made.workers), loss, made.options, out=out, resume=resume,
        validate=made.validate, finish=made.finish,
        facts={**made.facts, "distill_weight": options.distill_weight},
    )  # fmt: skip
    return net, replace(report, context={**report.context, "step": f"trained for {made.options.steps} steps"})


def _reinitialised(net: Net, *, made: Parts, seed: int) -> tuple[Net, Report]:
    """The net's shape with weights of nothing, its head at the mean depth of a batch."""
    new, batch = reinitialised(net, seed=seed), next(seen(made))
    if batch.valid.any():
        new.head.start_at(float(batch.target[batch.valid].mean()))
    return new, Report(net.spec.name, context={"step": "fresh weights"})


def _planned(folder: Path, options: Pruning, source: str, resume: bool) -> dict[str, Any]:
    """What the run in `folder` is; one that was stopped there must be the same."""
    spared = {"out", "training.out", "training.resume", "training.workers", "training.cache_gb", "training.autotune"}
    spared |= {"netadapt.max_iterations", "netadapt.processes", "netadapt.threads", "training.epochs"}
    plan = {k: v for k, v in flat(to_json(options)).items() if k not in spared} | {"source": source}
    plan = dict(json.loads(json.dumps(plan, default=str)))
    path = folder / "plan.json"
    if path.exists() and not resume:
        raise ValueError(f"{folder} holds a run already: give --resume to go on with it, or another --out")
    if path.exists():
        there = with_more_steps(read_json(path), plan, "training.fit.steps")
        check_same(folder, there, plan)
    return plan | {"requested": requested(pruning=options)}


def _provenance(
    options: Pruning, made: Parts, source: Path, facts: Mapping[str, Any], report: Report
) -> dict[str, Any]:
    """The file's provenance: that of the net it came from, and what was done to it."""
    plain = json.loads(json.dumps(to_json(options), default=str))
    # options, and what the methods found
    facts = {k: plain[k] | v if isinstance(plain.get(k), dict) else v for k, v in facts.items()}
    was = read_provenance(source)
    figures = {k: v for k, v in report.metrics.items() if k != "loss"}
    return {
        "licences": list(dict.fromkeys([*was.get("licences", []), *options.training.licences])),
        "commit": commit(),
        "pruning": {**plain, "training": made.facts["training"], "fit": plain["training"]["fit"], **facts},
        "images": made.facts["images"],
        "metrics": {f"{made.protocol} (validation split)": figures} if figures else {},
        "context": dict(report.context),
        "from": {**was, "sha256": sha256(source), "name": options.training.model},
    }
