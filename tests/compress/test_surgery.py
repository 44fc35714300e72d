"""Channels cut out: the net that is left computes what the whole one does without reading them."""

from __future__ import annotations

import itertools
from functools import lru_cache
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.small_nets import conv
from torch import Tensor, nn

from leadline.compress.cost import count as cost
from leadline.compress.pruning.groups import Channels
from leadline.compress.pruning.surgery import keep_topk, mask_consumers, prune, round_to_multiple
from leadline.compress.pruning.trace import trace
from leadline.core.spec import Spec
from leadline.nn import checkpoint, zoo
from leadline.nn.build import Net, build

TRACED, OTHER = (1, 3, 128, 160), (1, 3, 97, 131)
QUICK = ("fastdepth", "litedepth")
VARIANTS: dict[str, Spec] = {
    **{name: zoo.spec(name) for name in zoo.names()},
    "fastdepth cat": zoo.fastdepth("cat", depthwise=False),
    "resnet50": zoo.fastdepth_resnet(50),
    **{f"decoder {d}": zoo.fastdepth_decoder(d) for d in ("nnconv5", "blconv3dw", "shuffle5dw", "upconv", "upproj")},
    "decoder deconv3": zoo.fastdepth_decoder("deconv3"),
}
slow = [pytest.param(name, marks=pytest.mark.slow) for name in VARIANTS if name not in QUICK]
every_net = pytest.mark.parametrize("name", [*QUICK, *slow])


@lru_cache(maxsize=4)
def made(name: str) -> tuple[Net, Channels]:
    """The net in float64, its batch norms with statistics as after a training, and its channels."""
    net = build(VARIANTS[name], seed=0).double().eval()
    torch.manual_seed(0)
    for norm in net.modules():
        if isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None and norm.running_var is not None:
            nn.init.normal_(norm.running_mean, 0, 0.1)
            nn.init.uniform_(norm.running_var, 0.5, 1.5)
    if isinstance(last := getattr(net.head, "conv", None), nn.Conv2d):  # else a ReLU may leave nothing to compare
        last.weight.data.abs_()
    return net, trace(net, torch.rand(TRACED, dtype=torch.float64))


def maps(net: Net) -> list[Tensor]:
    image = torch.rand(OTHER, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found: list[Tensor] = net(image.to(next(net.parameters()).dtype), raw=True)
    return found


def some(channels: Channels, part: float = 0.5, seed: int = 0) -> dict[str, list[int]]:
    """A random part of every group that is free."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randperm(group.size, generator=generator)[: int(group.size * part)].tolist()
        for name, group in channels.free.items()
    }


@every_net
def test_a_pruned_net_computes_what_the_whole_one_does_without_reading_the_channels(name: str) -> None:
    net, channels = made(name)
    assert channels.unknown == ()
    assert {group.frozen for group in channels.groups} <= {None, "the net's output", ONE}
    drop = some(channels)
    pruned = prune(net, channels, drop)
    for whole, expected, found in zip(maps(net), maps(mask_consumers(net, channels, drop)), maps(pruned), strict=True):
        assert (found - expected).abs().max() <= 1e-9 * expected.abs().max()
        assert not torch.equal(expected, whole)
    assert pruned.spec == net.spec and type(pruned) is Net
    assert cost.parameters(pruned) < cost.parameters(net)
    assert cost.macs(pruned, OTHER[2:]) < cost.macs(net, OTHER[2:])
    widths = {name: group.size - len(drop[name]) for name, group in channels.free.items()}
    assert cost.shapes_of(pruned) == channels.shapes_with(widths)


ONE = "it is one channel, or several that could only go together, and one stays"


@every_net
def test_every_index_is_in_one_group_at_most(name: str) -> None:
    _, channels = made(name)
    seen = set()
    for group in channels.groups:
        for (tensor, dim), indices in group.param_axes.items():
            here = {(tensor, dim, index) for index in indices.flatten().tolist()}
            assert len(here) == indices.numel() and not here & seen
            seen |= here
    filters = {(n, 0, i) for n, p in made(name)[0].named_parameters() if p.ndim == 4 for i in range(p.shape[0])}
    assert filters <= seen  # transposed convolutions name their inputs first


@every_net
def test_a_pruned_net_survives_its_file_bit_by_bit(name: str, tmp_path: Path) -> None:
    net, channels = made(name)
    pruned = prune(net, channels, some(channels)).float()
    loaded = checkpoint.load(checkpoint.save(pruned, tmp_path / "net.safetensors"))
    assert loaded.spec == net.spec
    assert loaded.state_dict().keys() == pruned.state_dict().keys()
    assert all(torch.equal(a, b) for a, b in zip(maps(pruned), maps(loaded), strict=True))
    for (path, one), (_, other) in zip(pruned.named_modules(), loaded.named_modules(), strict=True):
        assert one.extra_repr() == other.extra_repr(), path  # the widths that layers state


@every_net
def test_every_parameter_of_a_pruned_net_gets_a_gradient(name: str) -> None:
    net, channels = made(name)
    pruned = prune(net, channels, some(channels)).train()
    sum(out.square().mean() for out in pruned(torch.rand(2, *OTHER[1:], dtype=torch.float64), raw=True)).backward()
    assert [n for n, p in pruned.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []
    assert all(p.grad.abs().sum() > 0 for p in itertools.islice(pruned.encoder.parameters(), 1))


@pytest.mark.parametrize("name", ["litedepth", pytest.param("fastdepth", marks=pytest.mark.slow)])
def test_pruning_twice_is_pruning_both_at_once(name: str) -> None:
    net, channels = made(name)
    both = some(channels, 0.6)
    first = {group: which[: len(which) // 2] for group, which in both.items()}
    once = prune(net, channels, first)
    again = trace(once, torch.rand(TRACED, dtype=torch.float64))
    rest = {}
    for group, which in both.items():
        left = [i for i in range(channels.group(group).size) if i not in first[group]]
        rest[group] = [left.index(i) for i in which[len(first[group]) :]]
    twice = prune(once, again, rest).state_dict()
    assert all(torch.equal(tensor, twice[n]) for n, tensor in prune(net, channels, both).state_dict().items())


def test_pruning_nothing_is_the_identity() -> None:
    net, channels = made("litedepth")
    for drop in ({}, {name: [] for name in channels.free}):
        same = prune(net, channels, drop)
        assert same is not net
        assert all(torch.equal(t, same.state_dict()[n]) for n, t in net.state_dict().items())
        assert all(
            torch.equal(t, mask_consumers(net, channels, drop).state_dict()[n]) for n, t in net.state_dict().items()
        )


def test_the_net_that_is_pruned_stays_as_it_was() -> None:
    net, channels = made("litedepth")
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    prune(net, channels, some(channels))
    mask_consumers(net, channels, some(channels))
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def test_what_does_not_learn_and_the_mode_stay_as_they_are() -> None:
    net = nn.Sequential(conv(3, 16), nn.BatchNorm2d(16), conv(16, 1)).train()
    net[0].requires_grad_(False)
    pruned = prune(net, trace(net, torch.rand(1, 3, 8, 8)), {"0": [0, 3]})
    assert pruned.training
    assert {n: p.requires_grad for n, p in pruned.named_parameters()} == {
        n: p.requires_grad for n, p in net.named_parameters()
    }
    assert list(dict(pruned.named_buffers())) == list(dict(net.named_buffers()))


@pytest.mark.parametrize(
    ("which", "message"),
    [
        ([0, 16], r"of the 16 channels of '0', 2 from 0 to 16 cannot go; indices are 0 to 15, and one stays at least"),
        ([-1], r"1 from -1 to -1 cannot go"),
        (range(16), r"of the 16 channels of '0', 16 from 0 to 15 cannot go"),
    ],
)
def test_what_cannot_go_is_refused(which: list[int], message: str) -> None:
    net = nn.Sequential(conv(3, 16), conv(16, 1))
    channels = trace(net, torch.rand(1, 3, 8, 8))
    for cut in (prune, mask_consumers):
        with pytest.raises(ValueError, match=message):
            cut(net, channels, {"0": which})
        with pytest.raises(ValueError, match=r"the group '1' may not shrink: the net's output"):
            cut(net, channels, {"1": [0]})


@given(width=st.floats(1, 600), size=st.integers(1, 600), multiple=st.sampled_from([1, 2, 8, 16]))
def test_a_rounded_width_is_a_multiple_or_the_whole(width: float, size: int, multiple: int) -> None:
    found = round_to_multiple(width, size, multiple)
    assert 1 <= found <= size
    assert found % multiple == 0 or found == size
    if multiple <= width <= size - size % multiple:
        assert abs(found - width) <= multiple / 2


@pytest.mark.parametrize("name", ["litedepth"])
def test_a_net_pruned_to_rounded_widths_has_multiples_of_eight(name: str) -> None:
    net, channels = made(name)
    widths = {group: round_to_multiple(0.6 * free.size, free.size) for group, free in channels.free.items()}
    generator = torch.Generator().manual_seed(0)
    scores = {group: torch.rand(channels.group(group).size, generator=generator) for group in widths}
    pruned = prune(net, channels, keep_topk(scores, widths))
    for group, width in widths.items():
        size = channels.group(group).size
        assert width % 8 == 0 or width == size < 8
        for (tensor, dim), indices in channels.group(group).param_axes.items():
            whole = channels.shapes[tensor][dim]
            assert pruned.state_dict()[tensor].shape[dim] <= whole - (size - width) * indices.shape[1]
    assert maps(pruned)[0].isfinite().all()


def test_the_best_stay_and_of_equal_ones_the_first() -> None:
    scores = {"a": torch.tensor([0.1, 3.0, 2.0, 0.5]), "b": torch.ones(3), "c": torch.ones(2)}
    assert keep_topk(scores, {"a": 2, "b": 1, "c": 2}) == {"a": [0, 3], "b": [1, 2]}
