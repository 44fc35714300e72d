"""Which channels are coupled: `trace` gives every channel of a net a name and finds the places that name it.

torch.export's graph runs on names (`naming`). Where sizes written in Python may stand behind the graph, a trial
decides: channels are removed from a copy, which must then compute what it computes with those channels unread. At last
half of everything is removed, and that must run.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from leadline.compress.cost.count import shapes_of
from leadline.compress.pruning.groups import Channels, Drop, Group
from leadline.compress.pruning.rules import RULES
from leadline.compress.pruning.surgery import mask_consumers, prune
from leadline.compress.pruning.symbolic import ChannelIds, ParamAxis, run
from leadline.core.text import reason
from leadline.nn.build import Net


def trace(net: nn.Module, example: Tensor) -> Channels:
    """The groups of `net`, for inputs shaped as `example` (which may be small: sizes do not matter, only that it runs).

    A Net is traced with all its raw maps, so that no output of a loss may shrink. A net that torch.export cannot follow
    is a ValueError. Groups whose channels a `view` or `split` cuts are tried out (see above) and frozen if that fails.
    """
    net = copy.deepcopy(net).eval()
    names = run(_Whole(net) if isinstance(net, Net) else net, example, RULES)
    channels, doubts = _grouped(names, net, "net." if isinstance(net, Net) else "")
    return _running(_tried(channels, doubts, net, example), net, example)


def traced(net: Net) -> Channels:
    """`trace` for images of the net's own size."""
    return trace(net, torch.zeros(1, 3, *net.spec.preprocess.size))


class _Whole(nn.Module):
    """The raw maps of a net, for the eyes of torch.export: what follows them has no channels."""

    def __init__(self, net: Net) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> list[Tensor]:
        return list(self.net(image, raw=True))


def _grouped(names: ChannelIds, net: nn.Module, prefix: str) -> tuple[Channels, dict[str, str]]:
    """The groups, and for those in doubt the reason."""
    shapes = shapes_of(net)
    lives: dict[int, dict[ParamAxis, list[int]]] = defaultdict(lambda: defaultdict(list))
    for (tensor, dim), ids in names.param_axes.items():
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
        if len(roots) == 1 and why is None:
            why = "it is one channel, or several that could only go together, and one stays"
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


def _tried(channels: Channels, doubts: dict[str, str], net: nn.Module, example: Tensor) -> Channels:
    """The groups in doubt stay free if the net without some of their channels computes what it does with them unread:
    each by itself, then all together.
    """
    doubtful = [name for name in channels.free if name in doubts]
    if not doubtful:
        return channels
    shaken, image = _shaken(net, example)
    why = {}
    for name in doubtful:
        odd = range(1, channels.group(name).size, 2)
        trials = [_agree(shaken, channels, {name: which}, image) for which in ([0], odd)]
        if None in trials:
            why[name] = f"{doubts[name]}, and a trial without some of them failed"
        elif not any(trials):
            why[name] = f"{doubts[name]}, and a trial did not see them"
    good = {name: range(1, channels.group(name).size, 2) for name in doubtful if name not in why}
    if good and _agree(shaken, channels, good, image) is None:
        why |= {name: f"{doubts[name]}, and a trial of all such groups failed" for name in good}
    return _frozen(channels, why)


def _running(channels: Channels, net: nn.Module, example: Tensor) -> Channels:
    """Groups without which the net does not run are frozen."""

    def failure(names: Iterable[str]) -> str | None:
        try:
            _maps(prune(net, channels, {name: range(1, channels.group(name).size, 2) for name in names}), example)
        except Exception as error:  # any layer may refuse, each in its own way
            return f"the net does not run without some of them: {reason(error, first_line=True)}"
        return None

    if failure(channels.free) is None:
        return channels
    channels = _frozen(channels, {name: why for name in channels.free if (why := failure([name]))})
    together = failure(channels.free)
    return channels if together is None else _frozen(channels, dict.fromkeys(channels.free, together))


def _frozen(channels: Channels, why: Mapping[str, str]) -> Channels:
    return replace(channels, groups=tuple(replace(g, frozen=why.get(g.name, g.frozen)) for g in channels.groups))


def _shaken(net: nn.Module, example: Tensor) -> tuple[nn.Module, Tensor]:
    """A copy of float64 in which no weight is special, since layers that start at zero would hide what they break; and
    an image. Its maps are not constant, as they are behind a ReLU that only sees negative numbers.
    """
    for seed in range(8):
        generator = torch.Generator().manual_seed(seed)
        shaken = copy.deepcopy(net).double()
        with torch.no_grad():
            for name, tensor in shaken.state_dict().items():
                if tensor.is_floating_point():
                    noise = 0.1 * torch.randn(tensor.shape, generator=generator, dtype=torch.float64).to(tensor.device)
                    tensor.add_(noise.abs() if name.endswith("running_var") else noise)
        image = torch.rand(example.shape, generator=generator, dtype=torch.float64).to(example.device)
        if all(bool((x != x.flatten()[0]).any()) for x in _maps(shaken, image)):
            break
    return shaken, image


def _agree(net: nn.Module, channels: Channels, drop: Drop, image: Tensor) -> bool | None:
    """None where pruning computes something else than not reading; otherwise whether not reading changes anything."""
    drop = {name: list(which) for name, which in drop.items()}
    try:
        expected, found = _maps(mask_consumers(net, channels, drop), image), _maps(prune(net, channels, drop), image)
    except Exception:  # sizes written in Python: any layer may refuse, each in its own way
        return None
    for a, b in zip(expected, found, strict=True):
        if a.shape != b.shape or not bool((a - b).abs().max() <= 1e-9 * a.abs().max()):
            return None
    return any(not torch.equal(a, b) for a, b in zip(expected, _maps(net, image), strict=True))


def _maps(net: nn.Module, image: Tensor) -> list[Tensor]:
    """All that the net gives: a Net's raw maps, another's tensors."""
    with torch.no_grad():
        given = net(image, raw=True) if isinstance(net, Net) else net(image)
    found, waiting = [], [given]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, Mapping | list | tuple):
            waiting += value.values() if isinstance(value, Mapping) else value
    return found
