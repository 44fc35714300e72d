"""Which channels go, so that what is left meets a budget: one threshold for the scores of all groups."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from leadline.compress.cost import Cost
from leadline.compress.groups import Channels
from leadline.compress.surgery import kept_best, rounded
from leadline.errors import OutOfReach


def choose(
    channels: Channels, scores: Mapping[str, Tensor], cost: Cost, limit: float, *, multiple: int = 8
) -> dict[str, list[int]]:
    """What to drop so that `cost` is at most `limit`: the channels with the lowest scores of all groups in `scores`.

    Within a group as many stay as lie above the threshold, rounded to a multiple of `multiple`, one of them at least.
    The fewest channels go that do, none where the limit is met already. A limit that the smallest net does not meet is
    an OutOfReach that says what is.
    """
    check_reach(channels, cost, limit, scores, multiple)
    if cost(channels.shapes) <= limit:
        return {}
    order = torch.cat([torch.as_tensor(score, dtype=torch.float64) for score in scores.values()])
    ascending = torch.sort(order).values

    def widths(n: int) -> dict[str, int]:  # once the n lowest are gone, and those that equal the last of them
        threshold = ascending[n - 1]
        above = {name: int((score.double() > threshold).sum()) for name, score in scores.items()}
        return {name: rounded(count, len(scores[name]), multiple) for name, count in above.items()}

    low, high = 0, len(ascending)  # so many go: too few, enough
    while high - low > 1:
        middle = (low + high) // 2
        if cost(channels.shapes_with(widths(middle))) <= limit:
            high = middle
        else:
            low = middle
    return kept_best(scores, widths(high))


def check_reach(channels: Channels, cost: Cost, limit: float, names: Iterable[str], multiple: int) -> None:
    """An OutOfReach, which says the smallest cost, if narrowing the groups in `names` cannot bring it to `limit`."""
    least = {name: rounded(0, channels.group(name).size, multiple) for name in names}
    smallest = cost(channels.shapes_with(least))
    if smallest > limit:
        raise OutOfReach(
            f"a cost of {limit:.6g} cannot be reached by narrowing these {len(least)} groups of layers: with "
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
