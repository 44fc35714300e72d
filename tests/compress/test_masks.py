"""Joint masks: the masked net is the net without the channels that are off, and the sparsity takes them off."""

from __future__ import annotations

import copy
import math
from functools import cache
from typing import Any

import pytest
import torch
from support.tiny_pruning_nets import SIZE, traced_net
from support.tiny_training import batches, loss
from torch import Tensor

from leadline.compress.cost.count import parameter_cost
from leadline.compress.options import Masks
from leadline.compress.pruning.groups import Channels
from leadline.compress.pruning.masks import Masked
from leadline.compress.pruning.select import within
from leadline.compress.pruning.surgery import mask_consumers, prune
from leadline.data.batch import Batch
from leadline.nn.build import Net
from leadline.training.fit import Loss
from leadline.training.losses.stereo import photometric

pytestmark = pytest.mark.usefixtures("one_thread")
every_net = pytest.mark.parametrize("name", ["add", "cat", "monodepth"])


@cache
def views() -> Batch:
    """Two smooth pictures beside each other, and no depth."""
    generator = torch.Generator().manual_seed(2)
    wide = torch.nn.functional.avg_pool2d(torch.rand(2, 3, SIZE[0], SIZE[1] + 4, generator=generator), 3, 1, 1)
    nothing = torch.zeros(2, 1, *SIZE)
    return Batch(wide[..., 4:], nothing, nothing > 0, ("a", "b"), right=wide[..., :-4])


def task(name: str) -> tuple[Loss, Batch]:
    """What such a net learns, and a batch."""
    return (photometric, views()) if name == "monodepth" else (loss, next(batches()(0)))


def masked(
    name: str, base: Loss | None = None, steps: int = 10, layers: tuple[str, ...] = (), **changes: Any
) -> tuple[Net, Channels, Masked]:
    net, channels = traced_net(name)
    channels = channels.only(within(channels, layers))
    made = Masked(base or task(name)[0], channels, parameter_cost(net), Masks(**changes), steps)
    return net, channels, made


def take_off_(made: Masked, seed: int = 0) -> dict[str, list[int]]:
    """Some channels of every group off, at random; which."""
    generator, drop = torch.Generator().manual_seed(seed), {}
    with torch.no_grad():
        for name, v in zip(made.names, made.values, strict=True):
            v.copy_(torch.rand(v.shape, generator=generator) - 0.4)
            v[0] = 0.01  # one is on
            drop[name] = (v <= 0).nonzero().flatten().tolist()
    return {name: which for name, which in drop.items() if which}


def value(made: tuple[Tensor, dict[str, float]]) -> float:
    return float(made[0].detach())


def doubled(batch: Batch) -> Batch:
    right = None if batch.right is None else batch.right.double()
    return Batch(batch.image.double(), batch.target.double(), batch.valid, batch.name, right=right)


@every_net
@pytest.mark.parametrize("start", [1.0, 0.3, 1.7])
def test_masks_that_are_on_change_no_bit(name: str, start: float) -> None:
    net, _, made = masked(name, mode="task", start=start, lr_scale=7.3)
    base, batch = task(name)
    for training in (False, True):
        net.train(training)
        found, _ = made(copy.deepcopy(net), batch)
        expected, _ = base(copy.deepcopy(net), batch)
        assert float(found.detach()) == float(expected.detach())
    assert made.kept() == 1.0 and made.prune_plan() == {}


@every_net
@pytest.mark.parametrize("training", [False, True])
def test_the_masked_loss_is_that_of_the_net_without_the_channels(name: str, training: bool) -> None:
    net, channels, made = masked(name, mode="task")
    drop = take_off_(made)
    base, batch = task(name)
    batch, net = doubled(batch), net.double().train(training)
    found, logs = made(copy.deepcopy(net), batch)
    assert drop == made.prune_plan() and len(drop) > 10
    for smaller in (mask_consumers(net, channels, drop), prune(net, channels, drop)):
        assert value(base(smaller, batch)) == pytest.approx(float(found.detach()), rel=1e-9)
    assert abs(value(base(net, batch)) - float(found.detach())) > 1e-6
    small = prune(net, channels, drop)
    parts = [sum(p.numel() for p in n.parameters()) for n in (small, net)]
    assert logs["kept"] == made.kept() == parts[0] / parts[1]


@every_net
def test_the_gradient_passes_the_step_as_it_is(name: str) -> None:
    """dL/dv is the sum of w dL/dw over the weights that read the channel, over the speed; where it is off, too."""
    net, channels, made = masked(name, mode="task", lr_scale=3.0)
    drop = take_off_(made)
    base, batch = task(name)
    batch, net = doubled(batch), net.double()
    made(net, batch)[0].backward()
    zeroed = mask_consumers(net, channels, drop)
    zeroed.zero_grad()
    base(zeroed, batch)[0].backward()
    for group_name, v in zip(made.names, made.values, strict=True):
        group = channels.group(group_name)
        expected = [0.0] * group.size
        for tensor, dim in group.read:
            weight, gradient = net.get_parameter(tensor).detach(), zeroed.get_parameter(tensor).grad
            assert gradient is not None
            for channel in range(group.size):
                for index in group.param_axes[tensor, dim][channel].tolist():
                    expected[channel] += float((weight * gradient).select(dim, index).sum()) / 3.0
        assert v.grad is not None
        assert v.grad.tolist() == pytest.approx(expected, rel=1e-4, abs=1e-7)
    assert any(float(v.grad.abs().max()) > 1e-5 for v in made.values if v.grad is not None)


def test_weights_learn_through_their_masks() -> None:
    """What is read by nobody gets no gradient; the rest gets that of the smaller net."""
    net, channels, made = masked("add", mode="task")
    drop = take_off_(made)
    base, batch = task("add")
    batch, net = doubled(batch), net.double()
    smaller = prune(net, channels, drop)
    made(net, batch)[0].backward()
    base(smaller, batch)[0].backward()
    for (key, p), small in zip(net.named_parameters(), smaller.parameters(), strict=True):
        assert p.grad is not None and small.grad is not None
        assert float(p.grad.abs().sum()) == pytest.approx(float(small.grad.abs().sum()), rel=1e-9, abs=1e-12), key


def test_the_sparsity_is_the_price_of_what_is_on() -> None:
    net, _, made = masked("add", strength=0.25)
    batch = task("add")[1]
    take_off_(made)
    total, logs = made(net.eval(), batch)
    plain = masked("add", mode="task")[2]
    plain.load_state_dict(made.state_dict())
    price = sum(float(torch.sigmoid(100.0 * v.detach().double()).sum()) for v in made.values)
    assert value((total, {})) - value(plain(net, batch)) == pytest.approx(0.25 * price, rel=1e-4)
    assert logs["strength"] == 0.25 and "strength" not in plain(net, batch)[1]


def test_prices_follow_what_a_channel_costs_and_are_1_on_average() -> None:
    _, channels, made = masked("monodepth", regulariser="cost")
    cost, whole = made.cost, made.cost(channels.shapes)
    saved = [whole - cost(channels.shapes_with({n: channels.group(n).size - 1})) for n in made.names]
    ratios = [float(p) / s for p, s in zip(made.prices, saved, strict=True)]
    assert ratios == pytest.approx([ratios[0]] * len(ratios), rel=1e-5) and len(set(saved)) > 3
    sizes = torch.tensor([channels.group(n).size for n in made.names])
    assert float((made.prices * sizes).sum() / sizes.sum()) == pytest.approx(1.0, rel=1e-6)
    assert masked("monodepth")[2].prices.tolist() == [1.0] * len(made.names)


def test_the_published_layers_are_masked_and_no_other() -> None:
    _, channels, made = masked("monodepth", layers=("encoder.convs", "decoder.upconvs"))
    assert made.names == [*(f"encoder.convs.{i}" for i in range(14)), *(f"decoder.upconvs.{i}" for i in range(7))]
    with torch.no_grad():
        for v in made.values:
            v[3:] = -1.0
    net, _ = traced_net("monodepth")
    small = prune(net, channels, made.prune_plan())
    widths = {key: t.shape[0] for key, t in small.state_dict().items() if key.endswith(".weight") and t.ndim == 4}
    for key, width in widths.items():
        kind = key.split(".")[1]
        assert width == {"convs": 3, "upconvs": 3, "iconvs": 16, "disparities": 2}[kind]


def test_the_strength_follows_the_plan() -> None:
    """It is `strength` where the cost is the planned one, and e times as much for each `tolerance` above it."""
    net, _, made = masked("add", target=0.5, steps=10, target_at=0.5, strength=1e-3, tolerance=0.05)
    batch = task("add")[1]
    made(net.eval(), batch)
    assert int(made.done) == 0  # looking changes nothing
    net.train()
    soft = made._part([torch.sigmoid(made.options.lr_scale * v * 3 / made.options.start) for v in made.values])
    assert 0.85 < soft < 0.95 and made.kept() == 1.0
    strengths = [made(net, batch)[1]["strength"] for _ in range(6)]
    gaps = [soft - planned for planned in (0.9, 0.8, 0.7, 0.6, 0.5)] + [1.0 - 0.5]  # then the hard masks count
    assert strengths == pytest.approx([1e-3 * math.exp(min(10.0, gap / 0.05)) for gap in gaps], rel=1e-4)
    with torch.no_grad():
        for v in made.values:
            v[4:] = -1.0
    assert made.kept() < 0.4 and made(net, batch)[1]["strength"] < 1e-3 * math.exp(-2)
    fixed = masked("add", strength=1e-3)[2]
    assert [fixed(net, batch)[1]["strength"] for _ in range(2)] == [1e-3, 1e-3]
