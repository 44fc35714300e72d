"""Each score equals its slow twin, in float64, on a net with a sum, a transposed convolution and steps in place."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial

import pytest
import torch
from support.tiny_pruning_nets import traced_net
from torch import Tensor, nn
from torch.nn import functional as F

from leadline.compress.pruning import importance as scores
from leadline.compress.pruning.groups import Channels
from leadline.compress.pruning.importance import Score
from leadline.compress.pruning.trace import trace
from leadline.data.batch import Batch

pytestmark = pytest.mark.usefixtures("one_thread")


class Tied(nn.Module):
    """Two layers that are added, before a transposed one without a norm; `gates` are multiplied onto their outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(4)
        self.second = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(4)
        self.third = nn.ConvTranspose2d(4, 5, 2, stride=2)
        self.last = nn.Conv2d(5, 1, 1)

    def forward(self, image: Tensor, gates: Mapping[str, Tensor] | None = None) -> Tensor:
        def gated(name: str, x: Tensor) -> Tensor:
            return x if gates is None else x * gates[name][:, None, None]

        x = F.elu(gated("first_norm", self.first_norm(self.first(image))))
        x = x + F.elu(gated("second_norm", self.second_norm(self.second(x))), inplace=True)
        out: Tensor = self.last(F.elu(gated("third", self.third(x)), inplace=True))
        return out


@cache
def traced() -> tuple[Tied, Channels]:
    torch.manual_seed(3)
    net = Tied().double().eval()
    with torch.no_grad():
        for tensor in net.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand_like(tensor) + 0.5 if tensor.ndim == 1 else torch.randn_like(tensor))
    return net, trace(copy.deepcopy(net).float(), torch.zeros(1, 3, 6, 8))


@pytest.fixture
def tied() -> tuple[Tied, Channels]:
    net, channels = traced()
    return copy.deepcopy(net), channels


def pictures(n: int = 3) -> list[Batch]:
    generator = torch.Generator().manual_seed(5)
    found = []
    for i in range(n):
        image = torch.rand(2, 3, 6, 8, generator=generator, dtype=torch.float64)
        target = torch.rand(2, 1, 12, 16, generator=generator, dtype=torch.float64)
        found.append(Batch(image, target, target > 0, (f"{i}a", f"{i}b")))
    return found


def squares(net: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, float]]:
    return ((net(batch.image) - batch.target) ** 2).mean(), {}


LAYERS = {"first": {"first": 0, "second": 0}, "third": {"third": 1}}
"""Group -> its layers, and the dim of their filters."""
OUTPUTS = {"first": ("first_norm", "second_norm"), "third": ("third",)}


def close(found: Mapping[str, Tensor], expected: Mapping[str, list[float]]) -> None:
    assert list(found) == list(expected)
    for name, values in expected.items():
        assert found[name].tolist() == pytest.approx(values, rel=1e-9, abs=1e-15)
        assert len(set(found[name].tolist())) == len(values)


def test_groups_are_those_that_the_twins_assume(tied: tuple[Tied, Channels]) -> None:
    _, channels = tied
    assert {name: group.modules for name, group in channels.free.items()} == {k: list(v) for k, v in LAYERS.items()}


@pytest.mark.parametrize("power", [1, 2])
def test_magnitude_is_the_sum_over_all_filters_of_a_channel(tied: tuple[Tied, Channels], power: int) -> None:
    net, channels = tied
    expected = {}
    for name, layers in LAYERS.items():
        expected[name] = [0.0] * channels.group(name).size
        for layer, dim in layers.items():
            weight = net.get_parameter(f"{layer}.weight").tolist()
            for a, row in enumerate(weight):
                for b, kernel in enumerate(row):
                    for value in (v for line in kernel for v in line):
                        expected[name][(a, b)[dim]] += abs(value) ** power
    close(scores.magnitude(net, channels, power=power), expected)


def test_depthwise_filters_do_not_count() -> None:
    net, channels = traced_net("add")
    before = scores.magnitude(net, channels)
    assert list(before) == list(channels.free)
    with torch.no_grad():
        net.get_parameter("encoder.blocks.2.0.weight").mul_(10)
    assert all(
        torch.equal(a, b) for a, b in zip(before.values(), scores.magnitude(net, channels).values(), strict=True)
    )


def test_batch_norm_scale_is_summed_over_all_norms_of_a_channel(tied: tuple[Tied, Channels]) -> None:
    net, channels = tied
    with pytest.raises(ValueError, match=r"the channels of third pass no batch norm; choose another score"):
        scores.batch_norm_scale(net, channels)
    with torch.no_grad():
        net.second_norm.weight.neg_()
    only = Channels(tuple(g for g in channels.groups if g.name != "third"), channels.shapes)
    first, second = net.first_norm.weight.tolist(), net.second_norm.weight.tolist()
    close(scores.batch_norm_scale(net, only), {"first": [abs(a) + abs(b) for a, b in zip(first, second, strict=True)]})


def test_random_scores_follow_the_seed(tied: tuple[Tied, Channels]) -> None:
    net, channels = tied
    one, again, other = (scores.random(net, channels, seed=seed) for seed in (1, 1, 2))
    assert [len(one[name]) for name in ("first", "third")] == [4, 5]
    assert all(torch.equal(one[name], again[name]) and not torch.equal(one[name], other[name]) for name in one)


def test_taylor_of_the_weights_is_the_sum_of_squared_products(tied: tuple[Tied, Channels]) -> None:
    net, channels = tied
    expected = {name: [0.0] * channels.group(name).size for name in LAYERS}
    for batch in pictures():
        net.zero_grad()
        squares(net, batch)[0].backward()
        for name, layers in LAYERS.items():
            for layer, dim in layers.items():
                weight = net.get_parameter(f"{layer}.weight")
                assert weight.grad is not None
                for channel in range(weight.shape[dim]):
                    w, g = (t.detach().select(dim, channel).flatten().tolist() for t in (weight, weight.grad))
                    expected[name][channel] += sum((a * b) ** 2 for a, b in zip(w, g, strict=True)) / len(pictures())
    close(scores.taylor(net, channels, batches=pictures(), loss=squares), expected)


def test_taylor_of_a_gate_is_the_squared_gradient_of_a_gate_of_ones(tied: tuple[Tied, Channels]) -> None:
    net, channels = tied
    expected = {name: [0.0] * channels.group(name).size for name in OUTPUTS}
    for batch in pictures():
        gates = {n: torch.ones(len(expected[g]), dtype=torch.float64) for g, names in OUTPUTS.items() for n in names}
        for gate in gates.values():
            gate.requires_grad_()
        squares(partial(net, gates=gates), batch)[0].backward()  # type: ignore[arg-type]
        for group, names in OUTPUTS.items():
            for name in names:
                gradient = gates[name].grad
                assert gradient is not None
                for channel, value in enumerate(gradient.tolist()):
                    expected[group][channel] += value**2 / len(pictures())
    close(scores.taylor(net, channels, batches=pictures(), loss=squares, at="gate"), expected)


def test_only_the_groups_that_are_asked_for_are_scored(tied: tuple[Tied, Channels]) -> None:
    net, channels = tied
    with pytest.raises(ValueError, match=r"the channels of third pass no batch norm; .* or other groups"):
        scores.batch_norm_scale(net, channels)
    assert list(scores.batch_norm_scale(net, channels.only(["first"]))) == ["first"]
    assert list(channels.only(["first"]).free) == ["first"] and len(channels.only([]).groups) == len(channels.groups)


def test_taylor_of_the_outputs_is_the_mean_product_of_each_image(tied: tuple[Tied, Channels]) -> None:
    net, channels = tied
    means = {name: [0.0] * channels.group(g).size for g, names in OUTPUTS.items() for name in names}
    for batch in pictures():
        maps: dict[str, Tensor] = {}
        gates = {name: _Kept(name, maps) for name in means}
        squares(partial(net, gates=gates), batch)[0].backward()  # type: ignore[arg-type]
        for name, x in maps.items():
            gradient = x.grad
            assert gradient is not None
            for image in range(2):
                for channel in range(x.shape[1]):
                    a, g = (t.detach()[image, channel].flatten().tolist() for t in (x, gradient))
                    mean = sum(p * q for p, q in zip(a, g, strict=True)) / len(a)
                    means[name][channel] += abs(mean) / 2 / len(pictures())
    lengths = {name: sum(v**2 for v in values) ** 0.5 for name, values in means.items()}
    expected = {
        group: [sum(means[n][c] / lengths[n] for n in names) for c in range(channels.group(group).size)]
        for group, names in OUTPUTS.items()
    }
    close(scores.taylor(net, channels, batches=pictures(), loss=squares, at="output"), expected)


class _Kept:
    """In place of a gate: keeps the map that it is multiplied onto, and its gradient."""

    def __init__(self, name: str, maps: dict[str, Tensor]) -> None:
        self.name, self.maps = name, maps

    def __getitem__(self, _: object) -> _Kept:
        return self

    def __rmul__(self, x: Tensor) -> Tensor:
        x.retain_grad()
        self.maps[self.name] = x
        return x * 1.0


SCORES: dict[str, Callable[..., Score]] = {
    "taylor": lambda batches: partial(scores.taylor, batches=batches, loss=squares),
    "taylor_gate": lambda batches: partial(scores.taylor, batches=batches, loss=squares, at="gate"),
    "taylor_output": lambda batches: partial(scores.taylor, batches=batches, loss=squares, at="output"),
    "rank": lambda batches: partial(scores.map_rank, batches=batches),
}


@pytest.mark.parametrize("name", ["taylor", "taylor_gate", "taylor_output"])
def test_a_channel_that_nothing_reads_is_worth_nothing(tied: tuple[Tied, Channels], name: str) -> None:
    net, channels = tied
    with torch.no_grad():
        net.second.weight[:, 1] = 0
        net.third.weight[1] = 0
        net.last.weight[:, 3] = 0
    found = SCORES[name](pictures())(net, channels)
    assert [i for i, value in enumerate(found["first"].tolist()) if value == 0] == [1]
    assert [i for i, value in enumerate(found["third"].tolist()) if value == 0] == [3]


@pytest.mark.parametrize("name", SCORES)
def test_the_net_and_its_gradients_are_left_as_they_were(tied: tuple[Tied, Channels], name: str) -> None:
    net, channels = tied
    net.train()
    net.last.weight.requires_grad_(False)
    net.first.weight.grad = torch.ones_like(net.first.weight)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    eval_net = copy.deepcopy(net).eval()
    found, expected = (SCORES[name](pictures())(n, channels) for n in (net, eval_net))
    assert all(torch.equal(found[key], expected[key]) for key in found)
    assert net.training and not net.last.weight.requires_grad
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert torch.equal(net.first.weight.grad, torch.ones_like(net.first.weight))
    assert all(p.grad is None for p in net.parameters() if p is not net.first.weight)
    assert not any(module._forward_hooks for module in net.modules())


def test_scores_have_names_and_those_of_weights_are_comparable_between_groups(tied: tuple[Tied, Channels]) -> None:
    net, channels = tied
    asked: list[int] = []

    def endless() -> Iterator[Batch]:
        for i in range(100):
            asked.append(i)
            yield pictures(1)[0]

    for name in ("l1", "l2", "rank"):
        found = scores.named(name, endless, n=2)(net, channels)
        assert [float(v.mean()) for v in found.values()] == pytest.approx([1.0, 1.0])
    assert asked == [0, 1]
    raw = scores.magnitude(net, channels)
    ratio = scores.named("l2")(net, channels)["third"] * raw["third"].mean()
    assert torch.allclose(ratio, raw["third"])
    for name, at in (("taylor", "weight"), ("taylor_gate", "gate"), ("taylor_output", "output")):
        found = scores.named(name, lambda: iter(pictures()), squares, n=2)(net, channels)
        expected = scores.taylor(net, channels, batches=pictures(2), loss=squares, at=at)
        assert all(torch.equal(found[key], expected[key]) for key in expected)
    same = scores.named("random", seed=4)(net, channels)
    assert torch.equal(same["first"], scores.random(net, channels, seed=4)["first"])


def test_what_a_score_lacks_is_said(tied: tuple[Tied, Channels]) -> None:
    net, channels = tied
    for name in ("taylor", "taylor_gate", "taylor_output", "rank"):
        with pytest.raises(ValueError, match=rf"the score {name} looks at batches of data; none were given"):
            scores.named(name)
    with pytest.raises(ValueError, match=r"taylor scores need the loss that the net shall keep small"):
        scores.named("taylor", lambda: iter(pictures()))(net, channels)
    with pytest.raises(ValueError, match=r"the score 'l3' is unknown; known: l1, l2, bn, random, rank"):
        scores.named("l3")
    with pytest.raises(ValueError, match=r"at is 'filter'; weight, gate or output is needed"):
        scores.taylor(net, channels, batches=pictures(), loss=squares, at="filter")
    for name in SCORES:
        with pytest.raises(ValueError, match=r"no batches"):
            SCORES[name]([])(net, channels)
