"""NetAdapt: layer by layer to a budget, each step the one that costs least accuracy (Yang et al. 2018,
arXiv 1804.03230).

    until the budget is met:
        for each group of channels: narrow it until the net costs R0 decay^i less; train a little; measure accuracy
        keep the best of these candidates
    (a long training of the result is the caller's)

Where the paper leaves a choice, or we take another: channels that are tied, by a skip or a depthwise layer, are ranked
by the sum of their filters' squares and go together (the published code ties only their number); the accuracy is that
on a part of the data that is neither trained on nor reported; a measured budget is checked on the whole compiled net
after each iteration, and the table's estimate scaled to what was found.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from leadline.compress.cost.count import Cost
from leadline.compress.options import NetAdapt
from leadline.compress.pruning.candidates import Candidate, file_of, workers
from leadline.compress.pruning.groups import Channels
from leadline.compress.pruning.importance import magnitude
from leadline.compress.pruning.select import check_reach, within
from leadline.compress.pruning.surgery import keep_topk
from leadline.compress.pruning.trace import trace
from leadline.compress.recovery import MakeRecovery
from leadline.core.errors import BadCheckpoint, BudgetInfeasible, TrainingFailed
from leadline.core.report import Report
from leadline.core.spec import to_json
from leadline.core.storage import write_atomically
from leadline.core.text import figure
from leadline.nn.build import Net
from leadline.nn.checkpoint import load, save
from leadline.nn.wrap import module_of
from leadline.training.state import check_same, read_json


@dataclass(frozen=True)
class CostModel:
    """What shall shrink: `cost_of(net)` estimates it from shapes; `measure(net)`, where there is one, decides."""

    cost_of: Callable[[Net], Cost]
    measure: Callable[[Net], float] | None = None


def netadapt(
    net: Net,
    make: MakeRecovery,
    costs: CostModel,
    limit: float,
    options: NetAdapt,
    *,
    example: torch.Tensor,
    out: Path,
    layers: tuple[str, ...] = (),
    multiple: int = 8,
    resume: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> tuple[Net, Report]:
    """`net` pruned until its cost is at most `limit`, in eval mode and not yet trained for long; and how it went.

    `out` receives `history.json` (every candidate of every iteration) and the net after each iteration; with `resume` a
    run killed at any moment goes on with the candidates that are missing. Other options are then a TrainingFailed. Only
    groups whose names start with one of `layers` shrink (all without any), to multiples of `multiple`. A limit that
    cannot be met is a BudgetInfeasible; a Recovery without `validate` is a ValueError.
    """
    spared = ("max_iterations", "processes", "threads")  # may differ when a run goes on
    kept = {name: value for name, value in to_json(options).items() if name not in spared}
    plan = {"options": kept, "layers": layers, "multiple": multiple, "limit": limit, "spec": to_json(net.spec)}
    history = _begun(out, plan, resume)
    at = out / f"iteration_{len(history):03d}.safetensors"
    net = _kept(at, out, net) if history else net
    channels, cost = trace(net, example), costs.cost_of(net)
    check_reach(channels, cost, limit, within(channels, layers), multiple)
    start = history[0]["cost_before"] if history else None
    with workers(make, options, module_of(net)) as evaluate:
        _write(out, plan, history)  # written first: whoever resumes may trust the candidates in `out`
        for iteration in itertools.count(len(history)):
            estimate = cost(channels.shapes)
            cost_now = costs.measure(net) if costs.measure is not None else estimate
            start = cost_now if start is None else start
            if history and "measured" not in history[-1]:
                history[-1]["measured"] = cost_now
                _write(out, plan, history)
            most, found = figure(limit), figure(cost_now)
            say(f"iteration {iteration}: cost {found}, limit {most}, net {figure(start)} at the beginning")
            if cost_now <= limit:
                break
            if iteration >= options.max_iterations:
                raise BudgetInfeasible(
                    f"after {iteration} iterations the cost is {found}, above {most}; raise max_iterations "
                    f"and resume, or begin anew with a larger first_step"
                )
            scale = cost_now / estimate
            target = max(cost_now - options.first_step * start * options.decay**iteration, limit)
            wanted = list(candidates(channels.only(within(channels, layers)), cost, target / scale, multiple))
            if not wanted:
                raise BudgetInfeasible(f"no layer can be pruned further; the smallest net found costs {found}")
            folder = out / f"proposals_{iteration:03d}"
            base = save(net, folder / "base.safetensors")
            scores, first = magnitude(net, channels), iteration * options.short.steps
            jobs = [(base, p, folder, first, channels, keep_topk(scores, {p.group: p.width})) for p in wanted]
            done = list(evaluate(jobs))
            before = float(history[-1]["chosen"]["accuracy"]) if history else evaluate.validate(base)
            best = best_candidate(done, options.rule, before, estimate)
            history.append(
                {
                    "iteration": iteration,
                    "cost_before": cost_now,
                    "target": target,
                    "chosen": asdict(best),
                    "candidates": [asdict(p) for p in done],
                }
            )
            net = load(file_of(folder, best.group), module=module_of(net))
            save(net, out / f"iteration_{iteration + 1:03d}.safetensors")
            _write(out, plan, history)
            _clear(folder)
            channels, cost = trace(net, example), costs.cost_of(net)
            say(f"  {best.group}: {best.was} -> {best.width}, accuracy {best.accuracy:.4f}")
    widths = {name: group.size for name, group in channels.free.items()}
    facts = {"iterations": len(history), "widths": widths, "limit": limit, "cost": cost_now, "cost_before": start}
    return net.eval(), Report(net.spec.name, context={"netadapt": facts})


def candidates(channels: Channels, cost: Cost, target: float, multiple: int) -> Iterator[Candidate]:
    """One for each group that may shrink: the largest multiple of `multiple` channels with which the net costs at most
    `target`; if there is none, the smallest, as long as it costs less than now.
    """
    now = cost(channels.shapes)
    for name, group in channels.free.items():
        widths = range((group.size - 1) // multiple * multiple, 0, -multiple)
        if not widths:
            continue
        costs: dict[int, float] = {}

        def at(width: int, name: str = name, costs: dict[int, float] = costs) -> float:
            return costs.setdefault(width, cost(channels.shapes_with({name: width})))

        width = next((w for w in widths if at(w) <= target), widths[-1])
        if at(width) < now:
            yield Candidate(name, width, group.size, at(width))


def best_candidate(done: Iterable[Candidate], rule: str, before: float, cost: float) -> Candidate:
    """The candidate to keep: of the highest accuracy (the paper's rule), or of the least loss of accuracy for what it
    saves (the released code's). One that could not be validated is none.
    """
    done = [p for p in done if not math.isnan(p.accuracy)]
    if not done:
        raise TrainingFailed(
            "no candidate could be validated: each training failed or left nothing to measure; lower lr"
        )
    if rule == "accuracy":
        return max(done, key=lambda p: p.accuracy)
    return min(done, key=lambda p: (before - p.accuracy + 1e-6) / (cost - p.cost + 1e-5 * cost))


def _begun(out: Path, plan: Mapping[str, Any], resume: bool) -> list[dict[str, Any]]:
    """What a run in `out` has done so far."""
    path = out / "history.json"
    if not path.exists():
        return []
    if not resume:
        raise ValueError(f"{out} holds a run already: give --resume to go on with it, or another --out")
    record = read_json(path, needs=("plan", "iterations"))
    check_same(out, record["plan"], json.loads(json.dumps(plan)))
    found: list[dict[str, Any]] = record["iterations"]
    try:
        for done in found:
            float(done["cost_before"]), float(done["chosen"]["accuracy"])
    except (TypeError, ValueError, KeyError) as error:
        raise TrainingFailed(f"{path} is damaged ({error!r}): remove {out}, or give another --out") from error
    return found


def _kept(at: Path, out: Path, begun: Net) -> Net:
    try:
        return load(at, module=module_of(begun))
    except BadCheckpoint as error:
        raise BadCheckpoint(f"{error}; the search cannot go on from it: remove {out}, and it begins anew") from error


def _write(out: Path, plan: Mapping[str, Any], history: list[dict[str, Any]]) -> None:
    write_atomically(out / "history.json", json.dumps({"plan": plan, "iterations": history}, indent=1).encode())


def _clear(folder: Path) -> None:
    """Of the candidates only the figures stay, in the history."""
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
