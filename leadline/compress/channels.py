"""Which channels share a fate: `trace` gives every channel of a net a name and finds the places that name it.

torch.export's graph runs on names (`naming`). Where sizes written in Python may stand behind the graph, a trial
decides: channels are removed from a copy, which must then compute what it computes with those channels unread.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from leadline.compress.groups import Channels, Drop, Group
from leadline.compress.naming import Names, Place, run
from leadline.compress.naming_rules import RULES
from leadline.compress.surgery import prune, unread
from leadline.nn.build import Net


def trace(net: nn.Module, example: Tensor) -> Channels:
    """The groups of `net`, for inputs shaped as `example` (which may be small: sizes do not matter, only that it runs).

    A Net is traced with all its raw maps, so that no output of a loss may shrink. A net that torch.export cannot follow
    is a ValueError. Groups whose channels a `view` or `split` cuts are tried out (see above) and frozen if that fails.
    """
    net = copy.deepcopy(net).eval()
    names = run(_Whole(net) if isinstance(net, Net) else net, example, RULES)
    prefix = "net." if isinstance(net, Net) else ""
    channels, doubts = _grouped(names, net, prefix)
    if not doubts:
        return channels
    tried = _shaken(net)
    groups = []
    for group in channels.groups:
        if group.name in doubts and group.frozen is None and not _may_shrink(tried, channels, group, example):
            group = replace(group, frozen=f"{doubts[group.name]}, and a trial without some of them failed")
        groups.append(group)
    return replace(channels, groups=tuple(groups))


class _Whole(nn.Module):
    """All that a net gives, for the eyes of torch.export."""

    def __init__(self, net: Net) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> list[Tensor]:
        return [self.net(image), *self.net(image, raw=True)]


def _grouped(names: Names, net: nn.Module, prefix: str) -> tuple[Channels, dict[str, str]]:
    """The groups, and for those in doubt the reason."""
    shapes = {n: tuple(t.shape) for n, t in net.state_dict().items() if not n.endswith("num_batches_tracked")}
    lives: dict[int, dict[Place, list[int]]] = defaultdict(lambda: defaultdict(list))
    for (tensor, dim), ids in names.places.items():
        tensor = tensor.removeprefix(prefix)
        if tensor in shapes:
            for index, name in enumerate(ids.tolist()):
                lives[names.root(name)][tensor, dim].append(index)
    frozen: dict[int, str] = {}
    for name, why in names.why_frozen.items():
        frozen.setdefault(names.root(name), why)
    doubtful = {names.root(name): why for name, why in names.doubtful.items()}
    makers = list(dict.fromkeys((tensor.removeprefix(prefix), dim) for tensor, dim in names.producers))
    readers = {(tensor.removeprefix(prefix), dim) for tensor, dim in names.readers}
    members: dict[Any, list[int]] = defaultdict(list)
    for root, places in lives.items():
        if not any(place in readers for place in places) and root not in frozen:
            frozen[root] = "nothing reads it"
        signature = frozenset((place, len(indices)) for place, indices in places.items())
        members[signature, frozen.get(root), doubtful.get(root)].append(root)
    groups, doubts, taken = [], {}, set()
    rank = {place: i for i, place in enumerate(makers)}
    made = [(key, roots) for key, roots in members.items() if any(p in rank for p, _ in key[0])]
    for key, roots in sorted(made, key=lambda item: (min(rank[p] for p, _ in item[0][0] if p in rank), item[1][0])):
        signature, why, doubt = key
        order = sorted((p for p, _ in signature), key=lambda p: (rank.get(p, len(rank)), p))
        name = base = order[0][0].rpartition(".")[0] or order[0][0]
        while name in taken:
            name = f"{base}#{int(name.partition('#')[2] or 1) + 1}"
        taken.add(name)
        roots.sort(key=lambda root: lives[root][order[0]])
        indices = {place: torch.tensor([lives[root][place] for root in roots]) for place in order}
        read, make = (frozenset(p for p in order if p in which) for which in (readers, rank))
        groups.append(Group(name, len(roots), indices, read, make, why))
        if doubt is not None:
            doubts[name] = doubt
    return Channels(tuple(groups), shapes, tuple(names.unknown)), doubts


def _shaken(net: nn.Module) -> nn.Module:
    """A copy of float64 in which no weight is special: layers that start at zero would hide what they break."""
    generator = torch.Generator().manual_seed(0)
    shaken = copy.deepcopy(net).double()
    with torch.no_grad():
        for name, tensor in shaken.state_dict().items():
            if tensor.is_floating_point():
                noise = torch.randn(tensor.shape, generator=generator, dtype=torch.float64) * 0.1
                tensor.add_(noise.abs() if name.endswith("running_var") else noise)
    return shaken


def _may_shrink(net: nn.Module, channels: Channels, group: Group, example: Tensor) -> bool:
    """Whether the net without one, and without half of the group's channels, computes what it does with them unread."""
    if group.size < 2:
        return False
    return all(_agree(net, channels, {group.name: which}, example.double()) for which in ([0], range(1, group.size, 2)))


def _agree(net: nn.Module, channels: Channels, drop: Drop, example: Tensor) -> bool:
    drop = {name: list(which) for name, which in drop.items()}
    try:
        with torch.no_grad():
            expected, found = unread(net, channels, drop)(example), prune(net, channels, drop)(example)
    except Exception:  # sizes written in Python: any layer may refuse, each in its own way
        return False
    maps = (list(x) if isinstance(x, list | tuple) else [x] for x in (expected, found))
    return all(a.shape == b.shape and torch.allclose(a, b, rtol=1e-9, atol=1e-9) for a, b in zip(*maps, strict=True))
