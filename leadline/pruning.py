"""A pruning run from its description: the net narrowed to the budget by the method, trained, saved, and reported."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from leadline.checkpoint import find, load, read_provenance, save, write_atomically
from leadline.compress.budget import Budget, limit, parse
from leadline.compress.channels import trace
from leadline.compress.choose import check_reach, choose, within
from leadline.compress.cost import Cost, byte_cost, macs_cost, parameter_cost, shapes_of
from leadline.compress.groups import Channels
from leadline.compress.latency import latency_cost, table, timed
from leadline.compress.lessons import Lessons
from leadline.compress.masks import Masked
from leadline.compress.netadapt import Resource, netadapt
from leadline.compress.pipeline import compress
from leadline.compress.scores import Scores, named
from leadline.compress.surgery import prune, unread
from leadline.distill import answered
from leadline.errors import OutOfReach
from leadline.evaluate import Samples, evaluate
from leadline.nn.build import Net, fresh
from leadline.options import Training
from leadline.options_prune import Pruning
from leadline.predict import predictor_of
from leadline.protocols import Protocol
from leadline.protocols import find as find_protocol
from leadline.report import Report
from leadline.run_parts import Parts, parts
from leadline.runtime.card import sha256
from leadline.spec import to_json
from leadline.train import fit, moved
from leadline.train_state import check_same, commit
from leadline.types import Sample

Say = Callable[[str], None]
_IN_MEMORY = 200
"""So many images to choose on are kept decoded, some 2.5 MB each: they are looked at hundreds of times."""


@dataclass(frozen=True)
class Pruned:
    """What a run made: the net before and after, and what happened."""

    before: Net
    after: Net
    report: Report


def run(options: Pruning, *, resume: bool = False, say: Say = lambda line: None) -> Pruned:
    """Prune `options.training.model` (a name or a checkpoint) as `options` say, and write `options.out`.

    The folder `out` without its ending holds what a stopped run needs; with `resume` it goes on there, with other
    options it is a TrainingFailed. A budget that cannot be met is an OutOfReach, known before any training.
    """
    training, folder = options.training, options.out.with_suffix("")
    if options.out.suffix != ".safetensors":
        raise ValueError(f"out is {options.out}; the pruned net is a checkpoint, its name ends in .safetensors")
    budget = parse(options.budget, options.runtime, options.threads)
    if options.method == "netadapt" and not training.choose:
        raise ValueError(
            "NetAdapt needs images to choose on that are neither trained on nor reported; choose is 0, give --choose 10"
        )
    source = find(training.model)
    plan = _planned(folder, options, sha256(source), resume)
    made = parts(replace(training, out=folder), load(source), say=say)
    net, size = made.net, made.net.spec.preprocess.size
    measured = folder / "unpruned.json"  # a second measurement would be another, and with it the budget
    resource = resource_of(budget, net, size, say, json.loads(measured.read_text()) if measured.exists() else None)
    channels, cost = _traced(net), resource.cost_of(net)
    most = limit(budget, cost(channels.shapes))
    check_reach(channels, cost, most, within(channels, _layers(options)), options.multiple)
    write_atomically(measured, json.dumps(cost(channels.shapes)).encode())
    write_atomically(folder / "plan.json", json.dumps(plan, indent=1).encode())  # not before: a mistake leaves nothing
    at = folder / "pruned.safetensors"
    narrow = partial(_narrowed, options=options, made=made, resource=resource, most=most, resume=resume, say=say)
    if at.exists():
        pruned, facts = load(at), read_provenance(at)
    else:
        pruned, reports = compress(net, narrow)
        facts = dict(reports[0].context)
        save(pruned, at, provenance=facts)
    if options.fresh:
        pruned, _ = compress(pruned, partial(_fresh, made=made, seed=training.fit.seed))
    if options.name is not None:
        pruned.spec = replace(pruned.spec, name=options.name)
    report = Report(pruned.spec.name)
    if options.finetune:
        pruned, (report,) = compress(pruned, partial(_trained, options=options, made=made, resume=resume))
    save(pruned, options.out, provenance=_told(options, made, source, facts, report))
    return Pruned(load(source), load(options.out), report)


def lessons(training: Training, model: str) -> Lessons:
    """What `training` teaches, for a net of the size of `model`; the judge is delta1 on the part kept for choosing."""
    made = parts(training, load(model))
    judge = None
    if made.chosen is not None:
        few = len(made.chosen) <= _IN_MEMORY
        samples = [made.chosen[i] for i in range(len(made.chosen))] if few else made.chosen
        only = replace(find_protocol(training.protocol), metrics=("delta1",))
        judge = partial(_delta1, samples=samples, protocol=only)
    return Lessons(made.loading(workers=0), made.loss, judge, made.finish)


def resource_of(
    budget: Budget, net: Net, size: tuple[int, int], say: Say = lambda line: None, whole_ms: float | None = None
) -> Resource:
    """What the budget limits: estimated from shapes, and for a latency measured besides, in turns with `net`, so that
    a machine that is slower for a while does not count. `whole_ms` is the latency of `net`, if it is known already.
    """
    if budget.kind == "params":
        return Resource(parameter_cost)
    if budget.kind == "macs":
        return Resource(partial(macs_cost, size=size))
    if budget.kind == "bytes":
        return Resource(byte_cost)
    assert budget.runtime is not None
    measured = table(net, size, budget.runtime, threads=budget.threads, say=say)
    how: dict[str, Any] = {"size": size, "runtime": budget.runtime, "threads": budget.threads}
    known = timed({"net": net}, **how)["net"].median if whole_ms is None else whole_ms

    def measure(other: Net) -> float:
        times = timed({"before": net, "after": other}, **how)
        return float(known * times["after"].median / times["before"].median)

    cost = latency_cost(net, size, measured, known)
    return Resource(lambda _: cost, measure)


def _narrowed(
    net: Net, *, options: Pruning, made: Parts, resource: Resource, most: float, resume: bool, say: Say
) -> tuple[Net, Report]:
    """The net within the budget, before its long training."""
    line = f"pruned by {options.method} to {options.budget}{f' in {options.runtime}' if options.runtime else ''}"
    folder = options.out.with_suffix("")
    if options.method == "netadapt":
        teach = partial(lessons, replace(options.training, out=folder), str(find(options.training.model)))
        search = replace(options.netadapt, multiple=options.multiple, layers=_layers(options))
        net, report = netadapt(
            net, teach, resource, most, search,
            example=_example(net), out=folder / "netadapt", resume=resume, say=say,
        )  # fmt: skip
        facts = dict(report.context)
    elif options.method == "masks":
        net, facts = _masked(net, options, made, resource, most, resume, say)
    else:
        net, facts = _scored(net, options, made, resource, most, say)
    widths = {name: group.size for name, group in _traced(net).free.items()}
    return net, Report(net.spec.name, context={"step": line, "widths": widths, **facts})


def _masked(
    net: Net, options: Pruning, made: Parts, resource: Resource, most: float, resume: bool, say: Say
) -> tuple[Net, dict[str, Any]]:
    channels, cost = _traced(net), resource.cost_of(net)
    how = options.masks
    if how.mode == "total" and how.target is None:
        how = replace(how, target=most / cost(channels.shapes))
    how = replace(how, layers=_layers(options))
    loss = Masked(copy.deepcopy(made.loss), channels, cost, how, how.fit.steps)
    net, _ = fit(
        net, made.loading(workers=made.workers), loss, how.fit, out=options.out.with_suffix("") / "masks",
        resume=resume, finish=made.finish, facts=made.facts,
    )  # fmt: skip
    say(f"the masks keep {loss.kept():.3f} of the cost")
    masked = unread(net, channels, loss.off())  # what only rounding keeps is as unread as it was
    if how.mode == "total":
        small = _met(resource, most, lambda asked: prune(masked, channels, loss.harvest(asked, options.multiple)), say)
    else:
        small = prune(masked, channels, loss.harvest(multiple=options.multiple))
    on = {name: int((v > 0).sum()) for name, v in loss.scores().items()}
    return small, {"kept_by_masks": loss.kept(), "on": on, "masks": to_json(how)}


def _cut(net: Net, channels: Channels, scores: Scores, cost: Cost, multiple: int, asked: float) -> Net:
    return prune(net, channels, choose(channels, scores, cost, asked, multiple=multiple))


def _met(resource: Resource, most: float, cut: Callable[[float], Net], say: Say) -> Net:
    """`cut(limit)` with the limit at which the budget is met by what is measured, not only by estimate."""
    asked = most
    for _ in range(6):
        small = cut(asked)
        if resource.measure is None or (found := resource.measure(small)) <= most:
            return small
        say(f"estimated {asked:.6g}, measured {found:.6g}, budget {most:.6g}: once more, narrower")
        asked *= 0.98 * most / found
    raise OutOfReach(f"the narrowest net tried measures {found:.6g}, above the budget {most:.6g}; give a larger one")


def _scored(
    net: Net, options: Pruning, made: Parts, resource: Resource, most: float, say: Say
) -> tuple[Net, dict[str, Any]]:
    first = resource.cost_of(net)(shapes_of(net))
    for i in range(options.rounds):
        channels, cost = _traced(net), resource.cost_of(net)
        now = first * (most / first) ** ((i + 1) / options.rounds)
        seed = options.training.fit.seed
        score = named(options.method, partial(_seen, made), made.loss, n=options.n_batches, seed=seed)
        found = score(net, channels)
        scores = {name: found[name] for name in within(channels, options.layers)}

        last = i + 1 == options.rounds
        cut = partial(_cut, net, channels, scores, cost, options.multiple)
        net = _met(resource, most, cut, say) if last else cut(now)
        say(f"round {i + 1} of {options.rounds}: cost {cost(shapes_of(net)):.6g}, budget {most:.6g}")
        if not last:
            own = copy.deepcopy(made.loss)  # the long training begins with the loss as it was
            net, _ = fit(net, made.loading(workers=made.workers), own, options.between, finish=made.finish)
    return net, {"rounds": options.rounds}


def _trained(net: Net, *, options: Pruning, made: Parts, resume: bool) -> tuple[Net, Report]:
    """The long training."""
    loss = partial(answered, made.loss, made.net, options.teach) if options.teach else made.loss
    net, report = fit(
        net, made.loading(workers=made.workers), loss, made.options, out=options.out.with_suffix("") / "training",
        resume=resume, validate=made.validate, finish=made.finish, facts={**made.facts, "teach": options.teach},
    )  # fmt: skip
    return net, replace(report, context={**report.context, "step": f"trained for {made.options.steps} steps"})


def _fresh(net: Net, *, made: Parts, seed: int) -> tuple[Net, Report]:
    """The net's shape with weights of nothing, its head at the mean depth of a batch."""
    new, batch = fresh(net, seed=seed), next(_seen(made))
    if batch.valid.any():
        new.head.start_at(float(batch.target[batch.valid].mean()))
    return new, Report(net.spec.name, context={"step": "fresh weights"})


def _seen(made: Parts) -> Iterator[Sample]:
    """The run's batches from the first on, as a loss takes them."""
    return (moved(batch, torch.device("cpu"), False, made.finish) for batch in made.loading(workers=0)(0))


def _example(net: Net) -> torch.Tensor:
    return torch.zeros(1, 3, *net.spec.preprocess.size)


def _traced(net: Net) -> Channels:
    return trace(net, _example(net))


def _layers(options: Pruning) -> tuple[str, ...]:
    """What the names of the groups that may shrink start with; none: all may."""
    own = {"netadapt": options.netadapt.layers, "masks": options.masks.layers}
    return options.layers or own.get(options.method, ())


def _planned(folder: Path, options: Pruning, source: str, resume: bool) -> dict[str, Any]:
    """What the run in `folder` is; one that was stopped there must be the same."""
    spared = {"out", "training.out", "training.resume", "training.workers", "training.cache_gb", "training.autotune"}
    spared |= {"netadapt.max_iterations", "netadapt.processes", "netadapt.threads"}
    plan = {k: v for k, v in _flat(to_json(options)).items() if k not in spared} | {"source": source}
    plan = dict(json.loads(json.dumps(plan, default=str)))
    path = folder / "plan.json"
    if path.exists() and not resume:
        raise ValueError(f"{folder} holds a run already: give --resume to go on with it, or another --out")
    if path.exists():
        check_same(folder, json.loads(path.read_text()), plan)
    return plan


def _flat(plan: Mapping[str, Any], name: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in plan.items():
        found |= _flat(value, f"{name}{key}.") if isinstance(value, dict) else {f"{name}{key}": value}
    return found


def _told(options: Pruning, made: Parts, source: Path, facts: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """The file's provenance: that of the net it came from, and what was done to it."""
    plain = json.loads(json.dumps(to_json(options), default=str))
    was = read_provenance(source)
    figures = {k: v for k, v in report.metrics.items() if k != "loss"}
    return {
        "licences": list(dict.fromkeys([*was.get("licences", []), *options.training.licences])),
        "commit": commit(),
        "pruning": {**plain, "training": made.facts["training"], "fit": plain["training"]["fit"], **facts},
        "images": made.facts["images"],
        "metrics": {f"{options.training.protocol} (choosing part)": figures} if figures else {},
        "context": dict(report.context),
        "from": {**was, "sha256": sha256(source), "name": options.training.model},
    }


def _delta1(net: Net, *, samples: Samples, protocol: Protocol) -> float:
    return evaluate(predictor_of(net), samples, protocol).metrics["delta1"]
