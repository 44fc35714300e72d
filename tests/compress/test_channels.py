"""Every channel has a name: which share a fate, which may go, and why the others may not."""

from __future__ import annotations

import re
from functools import lru_cache

import pytest
import torch
from support.hard_cases import CASES
from support.small_nets import Choosing, conv, net
from torch import nn

from leadline.compress.pruning.groups import Channels
from leadline.compress.pruning.surgery import mask_consumers, prune
from leadline.compress.pruning.trace import trace
from leadline.nn import zoo
from leadline.nn.build import build

SMALL, OTHER = (1, 3, 12, 16), (1, 3, 17, 14)
every_case = pytest.mark.parametrize("name", CASES)


@lru_cache
def fastdepth() -> tuple[nn.Module, Channels]:
    made = build(zoo.fastdepth(), seed=0)
    return made, trace(made, torch.rand(1, 3, 64, 64))


@lru_cache
def traced(name: str) -> tuple[nn.Module, Channels]:
    torch.manual_seed(0)
    made = CASES[name].make().double().eval()
    return made, trace(made, torch.rand(SMALL, dtype=torch.float64))


def maps(x: object) -> list[torch.Tensor]:
    if isinstance(x, torch.Tensor):
        return [x]
    return [m for part in (x.values() if isinstance(x, dict) else x) for m in maps(part)]  # type: ignore[attr-defined]


@every_case
def test_what_is_understood_is_free_and_the_rest_says_why_not(name: str) -> None:
    case, (_, channels) = CASES[name], traced(name)
    assert {group: free.size for group, free in channels.free.items()} == case.free
    reasons = {group.name: group.frozen for group in channels.groups if group.frozen is not None}
    expected = {"out": "the net's output"} | case.frozen
    assert reasons.keys() == expected.keys()
    for group, why in expected.items():
        assert re.search(why, reasons[group] or ""), reasons[group]
    assert channels.unknown == case.unknown
    assert_disjoint(channels)


@every_case
@pytest.mark.parametrize("part", ["half", "another half", "all but one"])
def test_a_hard_case_pruned_computes_what_it_does_with_the_channels_unread(name: str, part: str) -> None:
    case, (made, channels) = CASES[name], traced(name)
    generator = torch.Generator().manual_seed(len(part))
    drop = {}
    for group, free in channels.free.items():
        order = torch.randperm(free.size, generator=generator).tolist()
        drop[group] = order[1:] if part == "all but one" else order[: free.size // 2]
    image = torch.rand(OTHER, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        whole, masked, pruned = (
            maps(x(image)) for x in (made, mask_consumers(made, channels, drop), prune(made, channels, drop))
        )
    for before, expected, found in zip(whole, masked, pruned, strict=True):
        assert found.shape == expected.shape
        if case.masked:
            torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
            assert bool((expected != before).any()) == bool(drop)
        else:
            assert bool(found.isfinite().all())


def assert_disjoint(channels: Channels) -> None:
    """The groups partition the channels: every index along a dim of a tensor is in one at most."""
    seen = set()
    for group in channels.groups:
        for (tensor, dim), indices in group.param_axes.items():
            assert indices.shape[0] == group.size
            for index in indices.flatten().tolist():
                assert 0 <= index < channels.shapes[tensor][dim]
                assert (tensor, dim, index) not in seen
                seen.add((tensor, dim, index))


def test_the_skips_of_fastdepth_tie_encoder_and_decoder_by_themselves() -> None:
    _, channels = fastdepth()
    assert_disjoint(channels)
    ties = {free.size: free.modules for free in channels.free.values() if len(free.modules) > 2}
    both = {size: [m for m in made if not m.endswith(".0")] for size, made in ties.items()}  # not the depthwise ones
    assert both == {
        64: ["encoder.blocks.1.3", "decoder.blocks.3.3"],
        128: ["encoder.blocks.3.3", "decoder.blocks.2.3"],
        256: ["encoder.blocks.5.3", "decoder.blocks.1.3"],
    }


def test_the_published_widths_of_fastdepth_are_in_reach() -> None:
    whole, channels = fastdepth()
    published = {n: tuple(t.shape) for n, t in build(zoo.fastdepth_pruned(), seed=0).state_dict().items()}
    widths = {name: published[next(iter(group.param_axes))[0]][0] for name, group in channels.free.items()}
    drop = {name: range(width, channels.group(name).size) for name, width in widths.items()}
    assert {n: tuple(t.shape) for n, t in prune(whole, channels, drop).state_dict().items()} == published
    shapes = channels.shapes_with(widths)
    assert shapes == {n: s for n, s in published.items() if not n.endswith("num_batches_tracked")}


def test_a_net_that_no_graph_can_follow_is_refused_with_the_reason() -> None:
    with pytest.raises(ValueError, match=r"(?s)torch\.export cannot follow this net.*data-dependent"):
        trace(Choosing(), torch.rand(SMALL))


def test_what_a_net_looks_like_after_training_starts_does_not_matter() -> None:
    layers = nn.Sequential(conv(3, 16), nn.BatchNorm2d(16), nn.ReLU(), nn.Dropout(0.5), conv(16, 1))
    state = {name: tensor.clone() for name, tensor in layers.state_dict().items()}
    assert trace(layers.train(), torch.rand(SMALL)).free.keys() == {"0"}
    assert layers.training
    assert all(torch.equal(tensor, state[name]) for name, tensor in layers.state_dict().items())


def test_groups_are_asked_for_by_name() -> None:
    _, channels = traced("one channel is not depthwise")
    assert channels.group("b").modules == ["b"]
    with pytest.raises(ValueError, match=r"there is no group 'z'; there are a, one, b, out"):
        channels.group("z")
    with pytest.raises(ValueError, match=r"the group 'out' may not shrink: the net's output"):
        channels.group("out")
    with pytest.raises(ValueError, match=r"the group 'a' has 16 channels; 17 are not among 1 to that"):
        channels.shapes_with({"a": 17})


def test_each_group_is_explained_in_a_row() -> None:
    _, channels = traced("concat into depthwise")
    assert channels.explained() == [
        ("a", "16", "dw", "free"),
        ("b", "16", "dw", "free"),
        ("out", "1", "nothing else", "the net's output"),
    ]


def test_layers_that_start_at_zero_hide_nothing_in_a_trial() -> None:
    made = net(lambda m, x: m.out(m.a(x).view(1, 4, 4, *x.shape[2:]).flatten(1, 2)))
    for parameter in made.parameters():
        nn.init.zeros_(parameter)
    assert trace(made, torch.rand(SMALL)).free == {}
