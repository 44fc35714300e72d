"""Nested widths: filters in order, a narrower net made of the first ones, all trained together, and their file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support import tiny_training
from support.tiny_pruning_nets import SPECS
from support.tiny_training import loss
from torch import nn

from leadline.compress.cost.count import macs_cost, shapes_of
from leadline.compress.dynamic.nested import (
    NestedLoss,
    in_order,
    is_norms,
    measured_heats,
    narrow_copy,
    widths_for,
    with_norms,
)
from leadline.compress.pruning.groups import Channels
from leadline.compress.pruning.trace import trace
from leadline.core.errors import BudgetInfeasible
from leadline.data.batch import Batch
from leadline.nn.build import Net, build
from leadline.nn.checkpoint import load, read_beside, save
from leadline.nn.wrap import wrap
from leadline.training.fit import fit

SIZE = (32, 32)


def net_and_channels(name: str) -> tuple[Net, Channels]:
    net = build(SPECS[name], seed=1).eval()
    return net, trace(net, torch.zeros(1, 3, *SIZE))


def batches(n: int = 2) -> list[Batch]:
    stream = tiny_training.batches()(0)
    return [next(stream) for _ in range(n)]


@pytest.mark.parametrize("name", ["none", "add", "cat"])
def test_filters_in_order_compute_the_same_and_their_heat_falls(name: str) -> None:
    net, channels = net_and_channels(name)
    heats = measured_heats(net, channels, batches(), [0.5, 1.0])
    new = in_order(net, channels, heats.heat)
    image = torch.rand(2, 3, *SIZE)
    with torch.no_grad():
        assert torch.allclose(new(image), net(image), rtol=1e-4, atol=1e-5)
    again = measured_heats(new, channels, batches(), [0.5, 1.0])
    for group, heat in again.heat.items():
        assert torch.all(heat[:-1] >= heat[1:] - 1e-6), group
    assert any(not torch.equal(a, b) for a, b in zip(new.state_dict().values(), net.state_dict().values(), strict=True))
    assert all(0 < share[0.5] < share[1.0] <= 1 for share in heats.needed.values())


def test_a_norm_over_joined_channels_tells_the_heat_of_each_part() -> None:
    class Joined(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 4, 1, bias=False), nn.Conv2d(3, 6, 1, bias=False)
            self.norm, self.out = nn.BatchNorm2d(10), nn.Conv2d(10, 1, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.out(torch.relu(self.norm(torch.cat([self.a(x), self.b(x)], 1))))
            return out

    net = wrap(Joined().eval(), size=(16, 16))
    channels = trace(net, torch.zeros(1, 3, 16, 16))
    image = torch.rand(2, 3, 16, 16)
    batch = Batch(image, image[:, :1], torch.ones(2, 1, 16, 16, dtype=torch.bool), ("a", "b"))
    heats = measured_heats(net, channels, [batch], [0.5])
    assert {name: len(heat) for name, heat in heats.heat.items()} == {"module.a": 4, "module.b": 6}
    assert torch.allclose(in_order(net, channels, heats.heat)(image), net(image), atol=1e-5)


def test_widths_fit_the_budget_or_the_least_cost_is_told() -> None:
    net, channels = net_and_channels("add")
    heats = measured_heats(net, channels, batches(), [0.2, 0.5, 0.8, 1.0])
    cost = macs_cost(net, SIZE)
    whole = cost(shapes_of(net))
    widths, ratio = widths_for(channels, heats, cost, 0.7 * whole, multiple=1)
    assert cost(channels.shapes_with(widths)) <= 0.7 * whole and ratio in (0.2, 0.5, 0.8)
    assert set(widths) == set(channels.free)
    with pytest.raises(BudgetInfeasible, match=r"cannot be reached by fewer filters .* with ratio 0\.2 .*smallest"):
        widths_for(channels, heats, cost, 0.01 * whole)
    with pytest.raises(ValueError, match="there were no images"):
        measured_heats(net, channels, [], [1.0])


@pytest.mark.parametrize("name", ["add", "cat"])
def test_a_width_is_the_net_without_its_last_filters_and_learning_moves_both(name: str, tmp_path: Path) -> None:
    net, channels = net_and_channels(name)
    net.head.start_at(2.5)
    widths = [dict.fromkeys(channels.free, 8)]
    nested = NestedLoss(loss, net, channels, widths)
    image = torch.rand(2, 3, *SIZE)
    with torch.no_grad():
        (narrow,) = with_norms(net, channels, widths, nested.norms())
        assert torch.equal(narrow(image), narrow_copy(net, channels, widths[0])(image))
    before = nested.norms()["0.encoder.blocks.3.1.weight"].clone()
    taught, _ = fit(net, tiny_training.batches(), nested, tiny_training.options(steps=4, optimizer="sgd"))
    assert not torch.equal(nested.norms()["0.encoder.blocks.3.1.weight"], before)
    assert not torch.equal(
        taught.state_dict()["encoder.blocks.3.0.weight"], net.state_dict()["encoder.blocks.3.0.weight"]
    )

    file = save(taught, tmp_path / "nested.safetensors", beside=nested.norms())
    (now,) = with_norms(load(file), channels, widths, read_beside(file))
    (expected,) = with_norms(taught, channels, widths, nested.norms())
    with torch.no_grad():
        assert torch.allclose(now(image), expected(image), rtol=1e-4)
        assert torch.allclose(load(file)(image), taught(image), rtol=1e-4)
    own = [n for n in now.state_dict() if not is_norms(now, n) and not n.endswith("num_batches_tracked")]
    for tensor in own:  # all but the norms is shared with the whole net
        part = now.state_dict()[tensor]
        assert torch.isin(part, taught.state_dict()[tensor]).all()


def test_a_width_runs_in_training_as_the_narrow_net_would() -> None:
    net, channels = net_and_channels("add")
    net.head.start_at(2.5)
    widths = [dict.fromkeys(channels.free, 8)]
    nested = NestedLoss(loss, net, channels, widths, distill=0.0)
    (batch,) = batches(1)
    value = nested(net.train(), batch)[0]
    alone = narrow_copy(net, channels, widths[0]).train()
    expected = loss(net, batch)[0] + loss(alone, batch)[0]
    assert torch.allclose(value, expected, rtol=1e-5)
    value.backward()
    grown = {n for n, p in net.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert "encoder.blocks.3.0.weight" in grown


def test_norms_of_other_widths_are_refused() -> None:
    net, channels = net_and_channels("add")
    nested = NestedLoss(loss, net, channels, [dict.fromkeys(channels.free, 8)])
    for widths in ([dict.fromkeys(channels.free, 9)], [{}, {}]):
        with pytest.raises(ValueError, match="missing or of another size"):
            with_norms(net, channels, widths, nested.norms())


def test_one_level_with_nothing_narrower_is_the_whole_net_twice() -> None:
    net, channels = net_and_channels("add")
    (same,) = with_norms(net, channels, [{}], NestedLoss(loss, net, channels, [{}]).norms())
    image = torch.rand(1, 3, *SIZE)
    with torch.no_grad():
        assert torch.equal(same(image), net(image)) and same.spec == replace(net.spec)
