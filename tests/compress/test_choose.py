"""What goes is the least that meets the limit, the lowest scores of all groups first."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tiny_pruning_nets import SIZE, macs_cost_once, traced_net
from torch import Tensor

from leadline.compress.cost.count import Cost, macs, macs_cost, parameter_cost, parameters
from leadline.compress.pruning.groups import Channels
from leadline.compress.pruning.select import check_reach, choose, within
from leadline.compress.pruning.surgery import prune, round_to_multiple
from leadline.compress.pruning.trace import trace
from leadline.core.errors import BudgetInfeasible

pytestmark = pytest.mark.usefixtures("one_thread")

names = st.sampled_from(["add", "cat", "monodepth"])
multiples = st.sampled_from([1, 4, 8])


def drawn(channels: Channels, seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    # whole numbers: some scores are equal
    return {n: torch.randint(0, 60, (g.size,), generator=generator).float() for n, g in channels.free.items()}


def first_that_do(
    channels: Channels, scores: Mapping[str, Tensor], cost: Cost, limit: float, multiple: int
) -> dict[str, int]:
    """The widths that meet the limit first when channels go one by one, the lowest score first; of equal scores each
    group gives up the same part of its own."""
    queue = []
    for name, score in scores.items():
        values = score.tolist()
        for i, value in enumerate(values):
            place, n = values[:i].count(value), values.count(value)
            queue.append((value, (place + 0.5) / n, list(scores).index(name), name))
    counts = {name: len(score) for name, score in scores.items()}
    for *_, name in sorted(queue):
        counts[name] -= 1
        widths = {name: round_to_multiple(count, len(scores[name]), multiple) for name, count in counts.items()}
        if cost(channels.shapes_with(widths)) <= limit:
            return widths
    raise AssertionError("out of reach")


def widths_of(channels: Channels, drop: Mapping[str, list[int]]) -> dict[str, int]:
    return {name: group.size - len(drop.get(name, [])) for name, group in channels.free.items()}


@settings(max_examples=25)
@given(names, multiples, st.integers(0, 1000), st.floats(0.3, 0.99), st.booleans())
@pytest.mark.slow
def test_the_limit_is_met_by_the_fewest_of_the_lowest_that_do(
    name: str, multiple: int, seed: int, part: float, by_macs: bool
) -> None:
    net, channels = traced_net(name)
    cost = macs_cost_once(net, SIZE) if by_macs else parameter_cost(net)
    scores, limit = drawn(channels, seed), part * cost(channels.shapes)
    least = {n: round_to_multiple(0, g.size, multiple) for n, g in channels.free.items()}
    if cost(channels.shapes_with(least)) > limit:
        with pytest.raises(BudgetInfeasible):
            choose(channels, scores, cost, limit, multiple=multiple)
        return
    drop = choose(channels, scores, cost, limit, multiple=multiple)
    widths = widths_of(channels, drop)
    assert cost(channels.shapes_with(widths)) <= limit
    assert widths == first_that_do(channels, scores, cost, limit, multiple)
    assert all(width % multiple == 0 for width in widths.values())
    for group, gone in drop.items():
        left = [float(v) for i, v in enumerate(scores[group]) if i not in gone]
        assert max(float(scores[group][i]) for i in gone) <= min(left)
    more = choose(channels, scores, cost, 1.02 * limit, multiple=multiple)
    assert all(set(gone) <= set(drop.get(group, [])) for group, gone in more.items())


@pytest.mark.parametrize("name", ["add", "cat", "monodepth"])
def test_equal_scores_do_not_overshoot_the_budget(name: str) -> None:
    net, channels = traced_net(name)
    cost = parameter_cost(net)
    equal = {n: torch.ones(g.size) for n, g in channels.free.items()}
    for part in (0.9, 0.75, 0.6, 0.5):
        limit = part * cost(channels.shapes)
        drop = choose(channels, equal, cost, limit, multiple=1)
        widths = widths_of(channels, drop)
        reached = cost(channels.shapes_with(widths))
        assert reached <= limit
        back = [cost(channels.shapes_with({**widths, n: w + 1})) for n, w in widths.items() if w < len(equal[n])]
        assert max(back) > limit  # one channel more, somewhere, would be too many
        parts = [width / len(equal[n]) for n, width in widths.items()]
        assert max(parts) - min(parts) < 0.2  # and no group pays for the others


@pytest.mark.slow
def test_the_pruned_net_costs_what_was_promised() -> None:
    net, channels = traced_net("add")
    for cost, counted in ((parameter_cost(net), parameters), (macs_cost(net, SIZE), lambda n: macs(n, SIZE))):
        drop = choose(channels, drawn(channels, 1), cost, 0.6 * cost(channels.shapes), multiple=1)
        small = prune(net, channels, drop)
        assert counted(small) == cost(channels.shapes_with(widths_of(channels, drop))) <= 0.6 * counted(net)
        assert torch.isfinite(small(torch.rand(1, 3, *SIZE))).all()
        assert {n: g.size for n, g in trace(small, torch.zeros(1, 3, *SIZE)).free.items()} == widths_of(channels, drop)


def test_a_limit_that_is_met_already_takes_nothing() -> None:
    net, channels = traced_net("add")
    cost = parameter_cost(net)
    for multiple in (1, 8):
        assert choose(channels, drawn(channels, 0), cost, cost(channels.shapes), multiple=multiple) == {}


def test_only_groups_with_scores_shrink() -> None:
    net, channels = traced_net("monodepth")
    cost, chosen = parameter_cost(net), within(channels, ("encoder.convs.1", "decoder.upconvs"))
    ones = ["encoder.convs.1", *(f"encoder.convs.{i}" for i in range(10, 14))]
    assert chosen == [*ones, *(f"decoder.upconvs.{i}" for i in range(7))]
    scores = {name: drawn(channels, 0)[name] for name in chosen}
    drop = choose(channels, scores, cost, 0.8 * cost(channels.shapes))
    assert drop and set(drop) <= set(chosen)
    assert within(channels, ()) == list(channels.free)
    with pytest.raises(ValueError, match=r"no group that may shrink starts with encoder\.x, y; there are encoder\.con"):
        within(channels, ("encoder.x", "y"))
    with pytest.raises(ValueError, match=r"no group that may shrink starts with decoder\.disparities"):
        within(channels, ("decoder.disparities",))


def test_what_cannot_be_reached_is_told_with_what_can() -> None:
    net, channels = traced_net("add")
    cost = parameter_cost(net)
    least = dict.fromkeys(channels.free, 8)
    smallest = cost(channels.shapes_with(least))
    said = rf"a cost of 100 cannot be .* these {len(least)} groups of layers: with 8 channels in each it is still "
    with pytest.raises(BudgetInfeasible, match=rf"{said}{smallest:.6g}, the smallest reachable"):
        choose(channels, drawn(channels, 0), cost, 100)
    drop = choose(channels, drawn(channels, 0), cost, smallest)
    assert widths_of(channels, drop) == least
    check_reach(channels, cost, smallest, channels.free, 8)
    with pytest.raises(BudgetInfeasible):
        check_reach(channels, cost, smallest - 1, channels.free, 8)
