"""NetAdapt: its proposals and its choice are those of the paper, and a stop at any moment changes nothing."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.tiny_pruning_nets import (
    IMAGE,
    LAYERS,
    SEARCH,
    SIZE,
    judge,
    macs_cost_once,
    macs_once,
    teach,
    teach_by_weights,
    trace_once,
    traced_net,
)
from support.tiny_training import batches, same

from leadline.compress.cost.count import parameter_cost
from leadline.compress.options import NetAdapt
from leadline.compress.pruning import netadapt as module
from leadline.compress.pruning.importance import magnitude
from leadline.compress.pruning.netadapt import Candidate, CostModel, best_candidate, candidates, netadapt
from leadline.compress.pruning.surgery import keep_topk, prune
from leadline.compress.recovery import Recovery
from leadline.core.errors import TrainingFailed
from leadline.core.report import Report
from leadline.nn.build import Net
from leadline.nn.checkpoint import load
from leadline.training.losses import LOSSES, Reweighted, Term

pytestmark = pytest.mark.usefixtures("one_thread")
BY_MACS = CostModel(lambda net: macs_cost_once(net, SIZE))
PLAIN = replace(SEARCH, train=False)
FEW = ("encoder.blocks.2.", "encoder.blocks.3.", "encoder.blocks.4.", "encoder.blocks.5.", "decoder")
"""Groups of which none is a tenth of the whole."""
ENOUGH = 0.85


@pytest.fixture(autouse=True)
def traced_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "trace", trace_once)


def narrowed(
    out: Path,
    options: NetAdapt = PLAIN,
    *,
    part: float = 0.8,
    teaching: Callable[[], Recovery] = teach,
    resource: CostModel = BY_MACS,
    **more: Any,
) -> tuple[Net, Report]:
    net, channels = traced_net("add")
    limit = part * resource.cost_of(net)(channels.shapes)
    return netadapt(net, teaching, resource, limit, options, example=IMAGE, out=out, **more)


def said(out: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((out / "history.json").read_text())["iterations"]
    return found


def test_a_proposal_is_the_largest_multiple_that_meets_the_target_or_the_smallest() -> None:
    net, channels = traced_net("add")
    cost = macs_cost_once(net, SIZE)
    whole = cost(channels.shapes)
    met, missed = 0, 0
    for part in (0.999, 0.97, 0.9, 0.8):
        for multiple in (1, 3, 4, 8):
            found = {p.group: p for p in candidates(channels, cost, part * whole, multiple)}
            assert list(found) == list(channels.free)
            for name, p in found.items():
                below = list(range(multiple, 16, multiple))
                costs = {w: cost(channels.shapes_with({name: w})) for w in below}
                enough = [w for w in below if costs[w] <= part * whole]
                assert p.width == (max(enough) if enough else min(below))
                assert (p.was, p.cost) == (16, costs[p.width])
                met, missed = met + bool(enough), missed + (not enough)
    assert met > 20 and missed > 20


def test_widths_that_are_no_multiples_go_to_the_next_one() -> None:
    net, channels = traced_net("add")
    names = list(channels.free)
    wanted = dict(zip(names, (15, 14, 13, 12, 11, 10, 9, 8, 7, 4, 3, 1), strict=False))
    odd = prune(net, channels, {n: list(range(w, 16)) for n, w in wanted.items()})
    channels = trace_once(odd, IMAGE)
    cost = parameter_cost(odd)
    now = cost(channels.shapes)
    found = {p.group: p.width for p in candidates(channels, cost, now - 1, 4)}
    expected = {15: 12, 14: 12, 13: 12, 12: 8, 11: 8, 10: 8, 9: 8, 8: 4, 7: 4, 16: 12}  # 4, 3, 1: too thin to shrink
    sizes = {name: group.size for name, group in channels.free.items()}
    assert found == {name: expected[size] for name, size in sizes.items() if size > 4}
    only = channels.only(name for name in channels.free if name.startswith("decoder"))
    assert {p.group.split(".")[0] for p in candidates(only, cost, now - 1, 4)} == {"decoder"}


def test_the_choice_follows_the_rule() -> None:
    a, b = Candidate("a", 8, 16, 90.0, 0.70), Candidate("b", 8, 16, 50.0, 0.60)
    same_loss = Candidate("c", 8, 16, 80.0, 0.70)
    assert best_candidate([a, b], "accuracy", 0.8, 100.0) == a
    assert best_candidate([a, b], "ratio", 0.8, 100.0) == b  # 0.1 for 10 against 0.2 for 50
    assert best_candidate([a, replace(b, accuracy=0.2)], "ratio", 0.8, 100.0) == a
    assert best_candidate([a, same_loss], "ratio", 0.8, 100.0) == same_loss
    assert best_candidate([same_loss, a], "accuracy", 0.8, 100.0) == same_loss  # of equals the first


def test_a_proposal_without_an_accuracy_is_never_chosen() -> None:
    good, bad = Candidate("a", 8, 16, 90.0, 0.6), Candidate("b", 8, 16, 50.0)
    for rule in ("accuracy", "ratio"):
        assert best_candidate([bad, good], rule, 0.8, 100.0) == best_candidate([good, bad], rule, 0.8, 100.0) == good
        with pytest.raises(TrainingFailed, match="no candidate could be validated"):
            best_candidate([bad], rule, 0.8, 100.0)


@pytest.mark.parametrize("rule", ["accuracy", pytest.param("ratio", marks=pytest.mark.slow)])
@pytest.mark.slow
def test_each_iteration_costs_less_until_the_budget_is_met(tmp_path: Path, rule: Any) -> None:
    lines: list[str] = []
    options = replace(PLAIN, rule=rule)
    net, report = narrowed(tmp_path, options, layers=FEW, part=ENOUGH, say=lines.append)
    whole, _ = traced_net("add")
    start, limit = macs_once(whole, SIZE), ENOUGH * macs_once(whole, SIZE)
    history, facts = said(tmp_path), report.context["netadapt"]
    costs = [row["cost_before"] for row in history] + [macs_once(net, SIZE)]
    assert costs[0] == start and costs[-1] == facts["cost"] <= limit < costs[-2]
    assert all(b < a for a, b in itertools.pairwise(costs)) and len(history) > 2
    assert (facts["iterations"], facts["limit"], facts["cost_before"]) == (len(history), limit, start)
    assert not net.training
    before = judge(whole)
    for i, row in enumerate(history):
        assert row["iteration"] == i and row["measured"] == costs[i + 1]
        assert row["target"] == pytest.approx(max(costs[i] - 0.06 * start * 0.9**i, limit))
        rows = [Candidate(**p) for p in row["candidates"]]
        best = Candidate(**row["chosen"])
        if rule == "accuracy":
            assert best.accuracy == max(p.accuracy for p in rows)
        else:
            ratios = {p.group: (before - p.accuracy + 1e-6) / (costs[i] * 1.00001 - p.cost) for p in rows}
            assert ratios[best.group] == pytest.approx(min(ratios.values()), rel=1e-9)
        assert best.cost == costs[i + 1]
        assert best.group != "encoder.blocks.5.3"  # which the judge prefers
        before = best.accuracy
    widths = {name: group.size for name, group in trace_once(net, IMAGE).free.items()}
    assert facts["widths"] == widths and widths["encoder.blocks.5.3"] == 16
    assert len(lines) == 2 * len(history) + 1
    assert not list(tmp_path.glob("proposals_*"))
    for i in range(len(history)):
        assert macs_once(load(tmp_path / f"iteration_{i + 1:03d}.safetensors"), SIZE) == costs[i + 1]


@pytest.mark.slow
def test_the_largest_filters_stay(tmp_path: Path) -> None:
    narrowed(tmp_path, part=0.97)
    row, net = said(tmp_path)[0], load(tmp_path / "iteration_001.safetensors")
    whole, channels = traced_net("add")
    name, width = row["chosen"]["group"], row["chosen"]["width"]
    expected = prune(whole, channels, keep_topk(magnitude(whole, channels), {name: width}))
    assert same(net, expected)


@pytest.mark.slow
def test_a_measured_cost_decides_and_scales_the_estimate(tmp_path: Path) -> None:
    """What is measured is 1.5 times the estimate, and so is the budget."""
    resource = replace(BY_MACS, measure=lambda net: 1.5 * macs_once(net, SIZE))
    net, report = narrowed(tmp_path, part=1.5 * ENOUGH, resource=resource, layers=FEW)
    assert 1.5 * macs_once(net, SIZE) == report.context["netadapt"]["cost"] <= report.context["netadapt"]["limit"]
    plain, _ = narrowed(tmp_path / "plain", part=ENOUGH, layers=FEW)
    assert same(net, plain)
    for a, b in zip(said(tmp_path), said(tmp_path / "plain"), strict=True):
        assert a["candidates"] == b["candidates"] and a["cost_before"] == 1.5 * b["cost_before"]


@pytest.mark.slow
def test_each_iteration_learns_from_batches_of_its_own(tmp_path: Path) -> None:
    starts: list[int] = []

    def watched() -> Recovery:
        def noted(start: int) -> Any:
            starts.append(start)
            return batches()(start)

        return Recovery(noted, teach().loss, judge)

    narrowed(tmp_path, SEARCH, teaching=watched, layers=LAYERS)
    counts = [len(row["candidates"]) for row in said(tmp_path)]
    assert starts == [2 * i for i, count in enumerate(counts) for _ in range(count)] and len(counts) > 1


def reweighted() -> Recovery:
    return replace(teach_by_weights(), loss=Reweighted({"l1": Term(LOSSES["l1"])}))


@pytest.mark.slow
def test_what_a_loss_learned_with_one_proposal_does_not_reach_another(tmp_path: Path) -> None:
    short = replace(SEARCH.short, lr=0.05, steps=3)
    learning = partial(narrowed, options=replace(SEARCH, short=short, first_step=0.01), teaching=reweighted, part=0.995)
    learning(tmp_path / "both", layers=("decoder.blocks.0", "decoder.blocks.4"))
    learning(tmp_path / "one", layers=("decoder.blocks.4",))
    both, one = (said(tmp_path / name)[0]["candidates"] for name in ("both", "one"))
    assert [p["group"] for p in both] == ["decoder.blocks.0.3", "decoder.blocks.4.3"]
    assert both[1] == one[0]
