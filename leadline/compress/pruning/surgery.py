"""Channels cut out of a net, physically: narrower tensors, no masks, the same class and Spec."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

from leadline.compress.pruning.groups import Channels, Drop
from leadline.compress.pruning.symbolic import ParamAxis
from leadline.nn.resize import resize_

N = TypeVar("N", bound=nn.Module)


def prune(net: N, channels: Channels, drop: Drop) -> N:
    """A copy of `net` without the channels in `drop`, in all the places where they live.

    It computes what `unread` computes, up to rounding (norms over channels, such as layer norm, see fewer of them and
    differ). At least one channel of each group stays. A name that is unknown or frozen, an index that is out of range
    and a group that would lose all are ValueErrors. That the shapes fit together is checked by whoever runs it next:
    `compress` does after each step.
    """
    kept = kept_indices(channels, drop)
    pruned = copy.deepcopy(net)
    state = {n: t for n, t in net.state_dict().items() if not n.endswith("num_batches_tracked")}
    for (name, dim), indices in kept.items():
        state[name] = state[name].index_select(dim, indices.to(state[name].device))
    resize_(pruned, {name: tuple(tensor.shape) for name, tensor in state.items()})
    with torch.no_grad():
        for name, tensor in pruned.state_dict().items():
            if name in state:
                tensor.copy_(state[name])
    return pruned


def kept_indices(channels: Channels, drop: Drop) -> dict[ParamAxis, Tensor]:
    """Which indices stay, by place, of all places that lose some; errors as in `prune`."""
    found = {}
    for (name, dim), indices in _param_axes(channels, drop).items():
        keep = torch.ones(channels.shapes[name][dim], dtype=torch.bool)
        keep[indices] = False
        found[name, dim] = keep.nonzero().flatten()
    return found


def mask_consumers(net: N, channels: Channels, drop: Drop) -> N:
    """A copy of `net` in which nothing reads the channels in `drop`: the weights that would are 0."""
    masked = copy.deepcopy(net)
    state = masked.state_dict()
    readers = {place for name in drop for place in channels.group(name).read}
    with torch.no_grad():
        for (name, dim), indices in _param_axes(channels, drop).items():
            if (name, dim) in readers:
                state[name].index_fill_(dim, indices.to(state[name].device), 0.0)
    return masked


def round_to_multiple(width: float, size: int, multiple: int = 8) -> int:
    """The multiple of `multiple` nearest to `width`, at least one of them and at most `size`.

    Runtimes compute in vectors of 8 or 16: a width between two multiples costs as much as the next one, or more.
    """
    if multiple < 1:
        raise ValueError(f"multiple is {multiple}; at least 1 is needed")
    return min(size, max(multiple, round(width / multiple) * multiple))


def keep_topk(scores: Mapping[str, Tensor], widths: Mapping[str, int]) -> dict[str, list[int]]:
    """What to drop so that each group in `widths` keeps that many channels, those with the highest scores.

    Of equal scores the first stay.
    """
    drop = {}
    for name, width in widths.items():
        order = torch.argsort(scores[name], descending=True, stable=True)
        drop[name] = sorted(order[width:].tolist())
    return {name: which for name, which in drop.items() if which}


def _param_axes(channels: Channels, drop: Drop) -> dict[ParamAxis, Tensor]:
    """All indices that go, by place."""
    gone: dict[ParamAxis, list[Tensor]] = {}
    for name, which in drop.items():
        group, chosen = channels.group(name), sorted(set(which))
        if not chosen:
            continue
        if not 0 <= chosen[0] <= chosen[-1] < group.size or len(chosen) == group.size:
            raise ValueError(
                f"of the {group.size} channels of {name!r}, {len(chosen)} from {chosen[0]} to {chosen[-1]} cannot go; "
                f"indices are 0 to {group.size - 1}, and one stays at least"
            )
        for place, indices in group.param_axes.items():
            gone.setdefault(place, []).append(indices[chosen].flatten())
    return {place: torch.cat(parts) for place, parts in gone.items()}
