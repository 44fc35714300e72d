"""How a net is brought to its budget, by each method: all that a pruning run does before its long training."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from leadline.compress.cost.budget import Budget
from leadline.compress.cost.count import Cost, byte_cost, macs_cost, parameter_cost, shapes_of
from leadline.compress.cost.latency import latency_cost, table, timed
from leadline.compress.options import Pruning
from leadline.compress.pruning.groups import Channels
from leadline.compress.pruning.importance import Scores, batch_norm_scale, named, random
from leadline.compress.pruning.masks import Masked
from leadline.compress.pruning.netadapt import CostModel, netadapt
from leadline.compress.pruning.select import check_reach, choose, within
from leadline.compress.pruning.surgery import keep_topk, mask_consumers, prune, round_to_multiple
from leadline.compress.pruning.trace import traced
from leadline.compress.recovery import Recovery
from leadline.core.errors import BudgetInfeasible
from leadline.core.report import Report
from leadline.core.spec import to_json
from leadline.core.tasks import task_of
from leadline.core.text import figure
from leadline.data.batch import Batch
from leadline.data.dataset import evenly, subset
from leadline.evaluation.evaluate import Samples, evaluate
from leadline.evaluation.protocols import Protocol
from leadline.evaluation.protocols import find as find_protocol
from leadline.nn.build import Net
from leadline.nn.checkpoint import find, load
from leadline.pipelines.prune_gates import check_gates, gated
from leadline.pipelines.prune_layers import check_layers, less_deep
from leadline.pipelines.prune_widths import nested
from leadline.pipelines.training_setup import Parts, parts
from leadline.predict.predictor import predictor_of
from leadline.training.fit import fit, moved
from leadline.training.options import Training

Say = Callable[[str], None]
_NEAR = 0.9
"""A net that costs less than this part of its budget was cut more than asked."""

_IN_MEMORY = 200
"""So many images of a validation split are kept decoded, some 2.5 MB each: they are looked at hundreds of times."""


def cost_model(
    budget: Budget, net: Net, size: tuple[int, int], say: Say = lambda line: None, whole_ms: float | None = None
) -> CostModel:
    """What the budget limits: estimated from shapes, and for a latency measured besides, interleaved with `net`, so
    that a machine that is slower for a while does not count. `whole_ms` is the latency of `net`, if it is known
    already.
    """
    if budget.kind == "params":
        return CostModel(parameter_cost)
    if budget.kind == "macs":
        return CostModel(partial(macs_cost, size=size))
    if budget.kind == "bytes":
        return CostModel(byte_cost)
    assert budget.runtime is not None
    latencies = table(net, size, budget.runtime, threads=budget.threads, say=say)
    how: dict[str, Any] = {"size": size, "runtime": budget.runtime, "threads": budget.threads}
    known = timed({"net": net}, **how)["net"].median if whole_ms is None else whole_ms

    def measure(other: Net) -> float:
        times = timed({"before": net, "after": other}, **how)
        return float(known * times["after"].median / times["before"].median)

    cost = latency_cost(net, size, latencies, known)
    return CostModel(lambda _: cost, measure)


def check(options: Pruning, made: Parts, costs: CostModel, most: float) -> None:
    """Checks before anything is trained or written: a ValueError, or a BudgetInfeasible that
    says the smallest cost there can be.
    """
    if options.method == "netadapt" and made.validation is None:
        folder = options.training.data[0]
        raise ValueError(
            f"NetAdapt needs a validation split, neither trained on nor reported, and {folder} has too few images to "
            "keep one; give more images"
        )
    if options.method == "gates":
        check_gates(made.net, seen(made), most)
        return
    if options.method == "layers":
        check_layers(options, made, costs, most)
        return
    net, channels = made.net, _looked_at(made.net, options)
    if options.method == "bn":
        batch_norm_scale(net, channels)
    check_reach(channels, costs.cost_of(net), most, channels.free, options.multiple)
    if costs.measure is None:
        return
    least = {name: round_to_multiple(0, group.size, options.multiple) for name, group in channels.free.items()}
    found = costs.measure(prune(net, channels, keep_topk(random(net, channels), least)))
    if found > most:
        raise BudgetInfeasible(
            f"{figure(most)} cannot be reached by pruning these {len(least)} groups of layers: with {options.multiple} "
            f"channels in each the net still measures {figure(found)}, the smallest reachable"
        )


def prune_to_budget(
    net: Net, *, options: Pruning, made: Parts, costs: CostModel, most: float, resume: bool, say: Say
) -> tuple[Net, Report]:
    """The net within the budget, before its long training."""
    line = f"pruned by {options.method}"
    if _aims(options):
        line += f" to {options.budget}{f' in {options.runtime}' if options.runtime else ''}"
    channels: Channels | None = None
    folder = options.out.with_suffix("")
    if options.method == "netadapt":
        source, images = str(find(options.training.model)), options.netadapt.images
        make = partial(recovery, replace(options.training, out=folder), source, images)
        net, report = netadapt(
            net, make, costs, most, options.netadapt, example=_example(net), out=folder / "netadapt",
            layers=options.layers, multiple=options.multiple, resume=resume, say=say,
        )  # fmt: skip
        facts = {**report.context, "cost": report.context["netadapt"]["cost"]}
    elif options.method == "masks":
        net, facts = _masked(net, options, made, costs, most, resume, say)
    elif options.method == "layers":
        net, facts = less_deep(net, options, made, costs, most, partial(seen, made), say)
    elif options.method == "gates":
        net, facts = gated(net, options, seen(made), most, say)
        return net, Report(net.spec.name, context={"step": line, **facts})
    elif options.method == "widths":
        channels = traced(net)  # once: filters in another order are as many
        net, facts = nested(net, channels.only(within(channels, options.layers)), options, seen(made), most, say)
    else:
        net, facts = _scored(net, options, made, costs, most, say)
    widths = {name: group.size for name, group in (channels or traced(net)).free.items()}
    return net, Report(net.spec.name, context={"step": line, "widths": widths, **facts})


def distance(facts: Mapping[str, Any], most: float, options: Pruning) -> list[str]:
    """Lines that say what was asked and what was reached; the second only where that is far under the budget."""
    if "cost" not in facts or not _aims(options):
        return []
    found = float(facts["cost"])
    lines = [f"the budget is {figure(most)}, reached is {figure(found)}, {found / most:.0%} of it"]
    if found < _NEAR * most:
        closer = "--multiple 1" if options.multiple > 1 else "--method netadapt"
        why = f"widths go in steps of {options.multiple}, and scores or masks that are alike go together"
        if options.method == "layers":
            closer, why = "--method taylor", "blocks go as a whole"
        lines.append(f"that is far under the budget, so more was cut than asked: {why}; {closer} may come closer")
    return lines


def _masked(
    net: Net, options: Pruning, made: Parts, costs: CostModel, most: float, resume: bool, say: Say
) -> tuple[Net, dict[str, Any]]:
    channels, cost, how = _looked_at(net, options), costs.cost_of(net), options.masks
    if _aims(options) and how.target is None:
        how = replace(how, target=most / cost(channels.shapes))
    loss = Masked(copy.deepcopy(made.loss), channels, cost, how, how.fit.steps)
    net, _ = fit(
        net, made.loading(workers=made.workers), loss, how.fit, out=options.out.with_suffix("") / "masks",
        resume=resume, finish=made.finish, facts=made.facts,
    )  # fmt: skip
    say(f"the masks keep {loss.kept():.3f} of the cost")
    if _aims(options) and loss.kept() > 1.2 * most / cost(channels.shapes):
        say("that is far above the budget, and the rest goes by rank; longer (--masks.fit.steps) or faster masks")
    # channels kept by rounding to `multiple` stay masked: the output is unchanged
    masked = mask_consumers(net, channels, loss.off())
    if _aims(options):

        def cut(limit: float) -> Net:
            return prune(masked, channels, loss.prune_plan(limit, options.multiple))

        small, found = _met(costs, most, cut, say)
    else:
        small = prune(masked, channels, loss.prune_plan(multiple=options.multiple))
        found, whole = cost(shapes_of(small)), cost(channels.shapes)
        costs_now = f"the net costs {figure(found)}, {found / whole:.3g}x"
        say(f"masks alone decided, without the budget {figure(most)}: {costs_now}")
    on = {name: int((v > 0).sum()) for name, v in loss.scores().items()}
    return small, {"cost": found, "kept_by_masks": loss.kept(), "on": on, "masks": to_json(how)}


def _cut(net: Net, channels: Channels, scores: Scores, cost: Cost, multiple: int, limit: float) -> Net:
    return prune(net, channels, choose(channels, scores, cost, limit, multiple=multiple))


def _met(costs: CostModel, most: float, cut: Callable[[float], Net], say: Say) -> tuple[Net, float]:
    """`cut(limit)` with the limit at which the budget is met by what is measured, not only by estimate; its cost."""
    limit = found = most
    for attempt in range(6):
        try:
            small = cut(limit)
        except BudgetInfeasible:
            if not attempt:
                raise
            break  # its message would name this tighter limit, not the user's
        if costs.measure is None:
            return small, costs.cost_of(small)(shapes_of(small))
        if (found := costs.measure(small)) <= most:
            return small, found
        say(f"estimated {figure(limit)}, measured {figure(found)}, budget {figure(most)}: once more, narrower")
        limit *= 0.98 * most / found
    raise BudgetInfeasible(
        f"the smallest net tried measures {figure(found)}, above the budget {figure(most)}; give a larger one"
    )


def _scored(
    net: Net, options: Pruning, made: Parts, costs: CostModel, most: float, say: Say
) -> tuple[Net, dict[str, Any]]:
    first = found = costs.cost_of(net)(shapes_of(net))
    for i in range(options.rounds):
        channels, cost = _looked_at(net, options), costs.cost_of(net)
        now = first * (most / first) ** ((i + 1) / options.rounds)
        seed = options.training.fit.seed
        score = named(options.method, partial(seen, made), made.loss, n=options.n_batches, seed=seed)
        scores = score(net, channels)
        last = i + 1 == options.rounds
        cut = partial(_cut, net, channels, scores, cost, options.multiple)
        net, found = _met(costs, most, cut, say) if last else (cut(now), now)
        say(f"round {i + 1} of {options.rounds}: cost {figure(cost(shapes_of(net)))}, budget {figure(most)}")
        if not last:
            own = copy.deepcopy(made.loss)  # rounds must not change the loss that the long training starts with
            net, _ = fit(net, made.loading(workers=made.workers), own, options.between, finish=made.finish)
    return net, {"rounds": options.rounds, "cost": found}


def recovery(training: Training, model: str, images: int = 0) -> Recovery:
    """The short fine-tuning by `training`, for a net of the size of `model`; validated by the task's metric on at most
    so many `images`, 0: all.
    """
    made = parts(training, load(model))
    validate = None
    if made.validation is not None:
        few = made.validation if not images else subset(made.validation, evenly(images, len(made.validation)))
        samples = [few[i] for i in range(len(few))] if len(few) <= _IN_MEMORY else few
        metric = task_of(made.net.spec.head.kind).metric
        only = replace(find_protocol(made.protocol), metrics=(metric,))
        validate = partial(_accuracy, samples=samples, protocol=only)
    return Recovery(made.loading(workers=0), made.loss, validate, made.finish)


def seen(made: Parts) -> Iterator[Batch]:
    """The run's batches from the first on, as a loss takes them."""
    return (moved(batch, torch.device("cpu"), False, made.finish) for batch in made.loading(workers=0)(0))


def _example(net: Net) -> torch.Tensor:
    return torch.zeros(1, 3, *net.spec.preprocess.size)


def _aims(options: Pruning) -> bool:
    """Whether the method is to meet the budget; masks in mode `task`, or of a fixed strength, go where they will."""
    return options.method != "masks" or (options.masks.mode == "total" and options.masks.controlled)


def _looked_at(net: Net, options: Pruning) -> Channels:
    """Its Channels, of which only those that the options name may shrink."""
    channels = traced(net)
    return channels.only(within(channels, options.layers))


def _accuracy(net: Net, *, samples: Samples, protocol: Protocol) -> float:
    (metric,) = protocol.metrics
    return evaluate(predictor_of(net).answer, samples, protocol).metrics[metric]
