"""Pruning by gates: the ratio that fits the budget, found before any training, and the net with its gates."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

import torch

from leadline.compress.cost.budget import Budget
from leadline.compress.cost.count import macs
from leadline.compress.dynamic.count import check_ratio, expected_macs, gated_macs, ratio_for
from leadline.compress.options import Pruning
from leadline.core.preprocess import prepare
from leadline.core.text import figure
from leadline.data.batch import Batch
from leadline.data.dataset import Dataset, evenly
from leadline.nn.build import Net
from leadline.nn.gates import with_gates

_LOOKED_AT = 500
"""So many images say what a gated net costs on a data set."""


def check_budget(budget: Budget, method: str) -> None:
    """A ValueError for a budget that gates and widths cannot meet: what each image needs is known in MACs alone."""
    if budget.kind != "macs":
        raise ValueError(
            f"the budget is one of {budget.kind}, and {method} save multiply-accumulates for each image alone; give "
            "--budget macs=0.5x"
        )


def check_gates(net: Net, batches: Iterable[Batch], most: float) -> None:
    """ValueError if the net takes no gates, BudgetInfeasible if they cannot meet the budget."""
    check_ratio(net, list(islice(batches, 1)), most)


def gated(
    net: Net, options: Pruning, batches: Iterable[Batch], most: float, say: Callable[[str], None]
) -> tuple[Net, dict[str, Any]]:
    """The net with gates, all filters on, and the facts: `ratio`, the curve of expected MACs, `cost`, those at it."""
    few, ratio = list(islice(batches, options.n_batches)), options.gates.ratio
    if ratio is None:
        ratio, curve = ratio_for(net, few, most)
    else:
        curve = expected_macs(net, few, [ratio])
    whole = macs(net, net.spec.preprocess.size)
    say(f"expected before any training, with ratio {ratio}: {figure(curve[ratio])} MACs, {curve[ratio] / whole:.0%}")
    expected = {str(r): round(found) for r, found in curve.items()}
    return with_gates(net), {"ratio": ratio, "expected_macs": expected, "cost": curve[ratio]}


def macs_on(net: Net, data: Dataset) -> float:
    """The mean MACs of a gated net for images of `data`, of some evenly spaced ones if there are many."""

    def batches() -> Iterable[Batch]:
        for i in evenly(_LOOKED_AT, len(data)):
            image = torch.from_numpy(prepare(data[i].image, net.spec.preprocess))
            yield Batch(image, torch.zeros(1), torch.zeros(1, dtype=torch.bool), (str(i),))

    return gated_macs(net, batches())
