"""Blocks taken away until the budget is met: the least important first, all that one round needs at once."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from leadline.compress.layers.fitting import fittable, skip_fitted_
from leadline.compress.layers.imprinting import imprinting
from leadline.compress.layers.scores import BlockScores, ensemble, filter_scores
from leadline.compress.options import Criterion
from leadline.core.errors import BudgetInfeasible
from leadline.data.batch import Batch
from leadline.nn.build import Net
from leadline.nn.skip import removable, skip_
from leadline.training.fit import Loss


def without(net: Net, blocks: Sequence[str], batches: Sequence[Batch] = ()) -> Net:
    """A copy of `net` that leaves these blocks out. Where one changes the channels, the layer behind it is fitted on
    `batches` (see `fitting.skip_fitted_`).
    """
    less = copy.deepcopy(net)
    same = removable(net)
    skip_(less, [name for name in blocks if name in same])
    for name in blocks:
        if name not in same:
            skip_fitted_(less, name, batches)
    return less


def removable_or_refuse(net: Net) -> tuple[str, ...]:
    """`nn.skip.removable` and `fitting.fittable`; a ValueError if there is nothing to take away."""
    found = (*removable(net), *fittable(net))
    if not found:
        raise ValueError(
            f"{net.spec.name} has no block that could be left out: none gives a map of the shape that it takes; prune "
            "its channels instead, with --method l2 or taylor"
        )
    return found


def block_scores(net: Net, criterion: Criterion, batches: Sequence[Batch], loss: Loss) -> BlockScores:
    """What each removable block of `net` is worth by `criterion`, more is better. `ensemble` joins all the others.

    ValueError for a criterion that these blocks do not have: `bn` without batch norms.
    """
    blocks = removable_or_refuse(net)
    if criterion == "imprinting":
        return imprinting(net, blocks, batches)
    scores = filter_scores(net, blocks, batches=batches, loss=loss)
    if criterion == "ensemble":
        return ensemble({**scores, "imprinting": imprinting(net, blocks, batches)})
    if criterion not in scores:
        raise ValueError(f"the criterion {criterion} has no value for blocks without batch norm; give another one")
    return scores[criterion]


def check_removable(net: Net, blocks: Sequence[str], cost: Callable[[Net], float], most: float) -> None:
    """BudgetInfeasible, with the smallest cost there is, if the net without all of `blocks` costs more than `most`."""
    if (found := cost(without(net, blocks))) > most:
        raise _infeasible(len(blocks), found, most)


def remove_to(
    net: Net,
    scores: Mapping[str, float],
    cost: Callable[[Net], float],
    most: float,
    found: float | None = None,
    batches: Sequence[Batch] = (),
) -> tuple[Net, float]:
    """(the net without as few of the lowest-scored blocks as bring its cost to `most`, that cost).

    `batches` are as in `without`. `found` is the cost of `net`, if it is known: a measured one takes a compiled file.
    BudgetInfeasible, with the smallest cost there is, if all blocks are not enough.
    """
    order = sorted(scores, key=lambda name: (scores[name], name))
    less, found = net, cost(net) if found is None else found
    for name in order:
        if found <= most:
            break
        less = without(less, [name], batches)
        found = cost(less)
    if found > most:
        raise _infeasible(len(order), found, most)
    return less, found


def _infeasible(n: int, found: float, most: float) -> BudgetInfeasible:
    return BudgetInfeasible(
        f"{most:.6g} cannot be reached by leaving out blocks: without all {n} that can go the net still costs "
        f"{found:.6g}, the smallest reachable"
    )


def named_scores(scores: Mapping[str, float]) -> dict[str, Any]:
    """Scores as a report has them: rounded, the least first."""
    return {name: float(f"{scores[name]:.6g}") for name in sorted(scores, key=lambda name: scores[name])}
