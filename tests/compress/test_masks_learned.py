"""Masks that are trained with a net: towards a target, across a stop, with other losses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from support.tiny_pruning_nets import SIZE, traced_net
from support.tiny_training import batches, options
from test_masks import masked, take_off_, views
from torch import Tensor

from leadline.compress.pruning.masks import Masked
from leadline.compress.pruning.surgery import prune, round_to_multiple
from leadline.core.errors import BudgetInfeasible
from leadline.core.machine import compiler
from leadline.data.batch import Batch
from leadline.training.fit import fit

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.slow
def test_training_takes_channels_off_towards_the_target() -> None:
    toy = options(steps=100, optimizer="adam", lr=2e-3, weight_decay=0.0, schedule="constant")
    net, channels, made = masked("add", steps=100, target=0.5, lr_scale=10.0)
    trained, report = fit(net, batches(), made, toy)
    assert 0.3 < made.kept() < 0.7
    assert report.context["loss_parameters"].keys() == {f"values.{i}" for i in range(len(made.names))}
    assert int(made.done) == 100
    drop = made.prune_plan(0.5 * made.full, 1)
    small = prune(trained, channels, drop)
    assert sum(p.numel() for p in small.parameters()) <= 0.5 * sum(p.numel() for p in net.parameters())
    alone = masked("add", mode="task", lr_scale=10.0)[2]
    fit(net, batches(), alone, replace(toy, steps=20))
    assert alone.kept() > 0.9  # the task alone takes little off
    assert not all(torch.equal(v.detach(), w) for v, w in zip(alone.values, masked("add")[2].values, strict=True))


def test_a_harvest_meets_its_limit() -> None:
    net, channels, made = masked("add")
    take_off_(made)
    for part in (0.4, 0.55, 0.7):
        for multiple in (1, 8):
            small = prune(net, channels, made.prune_plan(part * made.full, multiple))
            assert sum(p.numel() for p in small.parameters()) <= part * made.full
    rounding = made.prune_plan(multiple=8)
    on = {name: int((v > 0).sum()) for name, v in zip(made.names, made.values, strict=True)}
    for name, width in on.items():
        assert 16 - len(rounding.get(name, [])) == round_to_multiple(width, 16, 8)
    with torch.no_grad():
        for v in made.values:
            v.fill_(-1.0)
    assert {len(which) for which in made.prune_plan().values()} == {15}  # one stays
    assert 0 < made.kept() < 0.1
    with pytest.raises(BudgetInfeasible):
        made.prune_plan(1.0)


def stopped(start: int) -> Iterator[Batch]:
    for i, batch in enumerate(batches()(start), start):
        if i == 7:
            raise KeyboardInterrupt
        yield batch


def test_a_run_that_was_stopped_goes_on_to_the_same_masks(tmp_path: Path) -> None:
    plan = options(steps=12, optimizer="adam", lr=1e-2, schedule="constant", save_every=3)

    def fresh() -> Masked:
        return masked("add", steps=12, target=0.4, lr_scale=10.0)[2]

    net, _ = traced_net("add")
    whole, again, other = fresh(), fresh(), fresh()
    expected, _ = fit(net, batches(), whole, plan)
    with pytest.raises(KeyboardInterrupt):
        fit(net, stopped, other, plan, out=tmp_path)
    found, report = fit(net, batches(), again, plan, out=tmp_path, resume=True)
    assert report.context["steps_now"] == 6
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), again.state_dict().values(), strict=True))
    assert int(again.done) == 12
    pairs = zip(expected.named_parameters(), found.parameters(), strict=True)
    assert all(torch.equal(a, b) for (_, a), b in pairs)
    over = fresh()
    fit(net, batches(), over, plan, out=tmp_path, resume=True)  # nothing is left to do
    assert torch.equal(over.values[0], whole.values[0])


def test_pairs_of_views_teach_masks_too() -> None:
    net, _, made = masked("monodepth", steps=4, strength=1e-2, layers=("encoder.convs", "decoder.upconvs"))

    def pairs(start: int) -> Iterator[Batch]:
        while True:
            yield views()

    before = [v.detach().clone() for v in made.values]
    trained, report = fit(net, pairs, made, options(steps=4, optimizer="adam"))
    assert all(not torch.equal(v, w) for v, w in zip(made.values, before, strict=True))
    assert set(trained.state_dict()) == set(net.state_dict()) and "loss" in report.metrics


def test_a_loss_that_asks_the_net_for_more_gets_it() -> None:
    """Losses call the net with raw maps, and some its `enlarged`."""
    net, _, made = masked("add", partial(_asking, seen := []), mode="task")
    made(net, next(batches()(0)))
    assert len(seen) == 2 and seen[0].shape == seen[1].shape


def _asking(seen: list[Tensor], net: Any, batch: Batch) -> tuple[Tensor, dict[str, float]]:
    (raw,) = net(batch.image, raw=True)
    seen += [net.enlarged(raw, SIZE), net(batch.image)]
    return (seen[0] - batch.target).abs().mean(), {}


@pytest.mark.slow
@pytest.mark.skipif(not compiler(), reason="no C++ compiler")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own
def test_a_compiled_net_learns_the_same_masks() -> None:
    found = []
    for compiled in (False, True):
        net, _, made = masked("add", steps=6, target=0.5, strength=1e-2)
        trained, _ = fit(net, batches(), made, options(steps=6, optimizer="adam", lr=3e-3, compile=compiled))
        found.append((made, trained))
    for a, b in zip(found[0][0].values, found[1][0].values, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=2e-3)
    for a, b in zip(found[0][1].parameters(), found[1][1].parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-2, atol=1e-2)
