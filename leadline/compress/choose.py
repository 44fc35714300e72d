"""Which channels go, so that what is left meets a budget: one threshold for the scores of all groups."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from leadline.compress.groups import Channels
from leadline.compress.surgery import kept_best, rounded
from leadline.errors import OutOfReach

Cost = Callable[[Mapping[str, tuple[int, ...]]], float]


def choose(
    channels: Channels, scores: Mapping[str, Tensor], cost: Cost, limit: float, *, multiple: int = 8
) -> dict[str, list[int]]:
    """What to drop so that `cost` is at most `limit`: the channels with the lowest scores of all groups in `scores`.

    Within a group as many stay as lie above the threshold, rounded to a multiple of `multiple`, one of them at least.
    The fewest channels go that do. A limit that the smallest net does not meet is an OutOfReach that says what is.
    """
    smallest = cost(channels.shapes_with({name: rounded(0, len(score), multiple) for name, score in scores.items()}))
    if smallest > limit:
        raise OutOfReach(
            f"a cost of {limit:.6g} cannot be reached by narrowing these layers: with {multiple} channels each it is "
            f"still {smallest:.6g}, the smallest reachable"
        )
    order = torch.cat([torch.as_tensor(score, dtype=torch.float64) for score in scores.values()])
    ascending = torch.sort(order).values

    def widths(n: int) -> dict[str, int]:
        if n == 0:
            return {name: len(score) for name, score in scores.items()}
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
