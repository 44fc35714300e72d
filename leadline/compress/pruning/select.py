"""Which channels go, so that what is left meets a budget: one threshold for the scores of all groups."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from leadline.compress.cost.count import Cost
from leadline.compress.pruning.groups import Channels
from leadline.compress.pruning.surgery import keep_topk, round_to_multiple
from leadline.core.errors import BudgetInfeasible


def choose(
    channels: Channels, scores: Mapping[str, Tensor], cost: Cost, limit: float, *, multiple: int = 8
) -> dict[str, list[int]]:
    """What to drop so that `cost` is at most `limit`: the channels with the lowest scores of all groups in `scores`.

    Within a group as many stay as are not among the lowest, rounded to a multiple of `multiple`, one of them at least.
    Of equal scores, which counts such as a rank have many of, groups give up theirs in step, each the same part of
    them. The fewest channels go that do, none where the limit is met already. A limit that the smallest net does not
    meet is a BudgetInfeasible that says what is.
    """
    check_reach(channels, cost, limit, scores, multiple)
    if cost(channels.shapes) <= limit:
        return {}
    order = _ascending(list(scores.values()))

    def widths(n: int) -> dict[str, int]:  # after the n channels with the lowest scores are removed
        gone = torch.bincount(order[:n], minlength=len(scores)).tolist()
        return {
            name: round_to_multiple(len(score) - lost, len(score), multiple)
            for (name, score), lost in zip(scores.items(), gone, strict=True)
        }

    low, high = 0, len(order)  # bisection: removing `low` channels is too few, `high` is enough
    while high - low > 1:
        middle = (low + high) // 2
        if cost(channels.shapes_with(widths(middle))) <= limit:
            high = middle
        else:
            low = middle
    return keep_topk(scores, widths(high))


def _ascending(scores: Sequence[Tensor]) -> Tensor:
    """Of all channels, the lowest score first, the number of the group that each belongs to."""
    values = torch.cat([torch.as_tensor(score, dtype=torch.float64) for score in scores])
    groups = torch.repeat_interleave(torch.arange(len(scores)), torch.tensor([len(score) for score in scores]))
    turns = torch.cat([_turns(torch.as_tensor(score, dtype=torch.float64)) for score in scores])
    by_turn = torch.argsort(turns, stable=True)
    return groups[by_turn[torch.argsort(values[by_turn], stable=True)]]


def _turns(score: Tensor) -> Tensor:
    """When each channel's turn is among those of its group with the same score: parts of 0 to 1, evenly apart."""
    which: Tensor
    counts: Tensor
    _, which, counts = torch.unique(score, return_inverse=True, return_counts=True)
    order = torch.argsort(which, stable=True)
    first = counts.cumsum(0) - counts
    place = torch.empty(len(score), dtype=torch.float64)
    place[order] = torch.arange(len(score), dtype=torch.float64)
    turn: Tensor = (place - first[which] + 0.5) / counts[which]
    return turn


def check_reach(channels: Channels, cost: Cost, limit: float, names: Iterable[str], multiple: int) -> None:
    """A BudgetInfeasible, which says the smallest cost, if pruning the groups in `names` cannot bring it to
    `limit`.
    """
    least = {name: round_to_multiple(0, channels.group(name).size, multiple) for name in names}
    smallest = cost(channels.shapes_with(least))
    if smallest > limit:
        raise BudgetInfeasible(
            f"a cost of {limit:.6g} cannot be reached by pruning these {len(least)} groups of layers: with "
            f"{multiple} channels in each it is still {smallest:.6g}, the smallest reachable "
            f"({smallest / cost(channels.shapes):.3g}x)"
        )


def within(channels: Channels, layers: tuple[str, ...]) -> list[str]:
    """The free groups whose names start with one of `layers`; all of them without any. None left is a ValueError."""
    found = [name for name in channels.free if not layers or name.startswith(layers)]
    if not found:
        raise ValueError(
            f"no group that may shrink starts with {', '.join(layers)}; there are {', '.join(channels.free) or 'none'}"
        )
    return found
