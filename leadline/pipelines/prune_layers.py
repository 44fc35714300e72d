"""Pruning by layers: blocks left out, in rounds, until the budget is met."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import islice
from typing import Any

from leadline.compress.cost.count import shapes_of
from leadline.compress.layers.remove import block_scores, check_removable, named_scores, removable_or_refuse, remove_to
from leadline.compress.options import Pruning
from leadline.compress.pruning.netadapt import CostModel
from leadline.core.text import figure
from leadline.data.batch import Batch
from leadline.nn.build import Net
from leadline.pipelines.training_setup import Parts
from leadline.training.fit import fit

Say = Callable[[str], None]
Seen = Callable[[], Iterator[Batch]]


def check_layers(options: Pruning, made: Parts, costs: CostModel, most: float) -> None:
    """ValueError if the net has no block that can go, BudgetInfeasible if all of them are not enough."""
    blocks = named_so(dict.fromkeys(removable_or_refuse(made.net), 0.0), options)
    check_removable(made.net, list(blocks), partial(cost_now, costs=costs), most)


def cost_now(net: Net, *, costs: CostModel) -> float:
    """What a net costs: measured where the budget is a latency, else counted."""
    return costs.cost_of(net)(shapes_of(net)) if costs.measure is None else costs.measure(net)


def named_so(scores: Mapping[str, float], options: Pruning) -> dict[str, float]:
    """The scores of the blocks whose names begin as `options.layers` say."""
    found = {name: score for name, score in scores.items() if name.startswith(options.layers or "")}
    if not found:
        raise ValueError(
            f"layers is {', '.join(options.layers)}; no block that can go is called so: {', '.join(scores)}"
        )
    return found


def less_deep(
    net: Net, options: Pruning, made: Parts, costs: CostModel, most: float, look: Seen, say: Say
) -> tuple[Net, dict[str, Any]]:
    """LayerPrune: blocks left out, in `rounds` steps from what the net costs to the budget."""
    cost = partial(cost_now, costs=costs)
    before, first, history = net.spec.skipped, cost(net), []
    found = first
    for i in range(options.rounds):
        last = i + 1 == options.rounds
        batches = list(islice(look(), options.n_batches))
        scores = named_so(block_scores(net, options.criterion, batches, made.loss), options)
        limit = first * (most / first) ** ((i + 1) / options.rounds)
        had = len(net.spec.skipped)
        net, found = remove_to(net, scores, cost, most if last else limit, found, batches)
        gone = net.spec.skipped[had:]
        history.append({"scores": named_scores(scores), "removed": list(gone), "cost": found})
        say(f"round {i + 1} of {options.rounds}: {len(gone)} of {len(scores)} blocks left out, cost {figure(found)}")
        if not last:
            own = copy.deepcopy(made.loss)  # the long training begins with the loss as it was
            net, _ = fit(net, made.loading(workers=made.workers), own, options.between, finish=made.finish)
    return net, {"cost": found, "removed": list(net.spec.skipped[len(before) :]), "layers": history}
