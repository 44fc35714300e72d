"""What a block is worth: the mean of its filters' scores, all criteria from one pass over the same batches.

LayerPrune (Elkerdawy et al. 2020, arXiv 2007.05667) takes criteria that others made for filters. A block's score is
the mean over its convolutions of the mean over their filters. More is better; scores of one criterion compare.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from leadline.compress.options import Criterion
from leadline.compress.pruning.importance import hooked, sums_over
from leadline.data.batch import Batch
from leadline.nn.skip import skip_
from leadline.training.fit import Loss

BlockScores = dict[str, float]

_FILTERS = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


def filter_scores(
    net: nn.Module, blocks: Sequence[str], *, batches: Iterable[Batch], loss: Loss
) -> dict[Criterion, BlockScores]:
    """By criterion, the score of each of `blocks` (names of modules), from one pass over `batches`.

    1. `weight`: sum of w^2 of a filter.
    2. `taylor_weight`: sum of (w dL/dw)^2, mean over batches (Molchanov et al. 2019, arXiv 1906.10771).
    3. `taylor_output`: |mean over pixels of a dL/da| of a filter's outputs, mean over images, the layer to length 1
       (Molchanov et al. 2017, arXiv 1611.06440).
    4. `taylor_gate`: (dL/dg)^2 of a factor g = 1 behind the batch norm: the sum of a dL/da over an image's pixels, mean
       over batches.
    5. `bn`: |gamma|; left out where a block has no batch norm.

    The authors average over one epoch with a factor of 0.9; here the mean over `batches` is taken. `net` runs in eval
    mode, so that images of a batch do not influence each other, and is left as it is. ValueError without batches.
    """
    net = copy.deepcopy(net).eval().requires_grad_()
    filters = {name: _filters(net, name) for name in blocks}
    norms = {name: _norms(net, name) for name in blocks}
    outputs = {module for name in blocks for module in (norms[name] or filters[name])}
    sums: dict[tuple[str, str], Tensor] = {}
    n = 0

    def add(criterion: str, module: str, value: Tensor) -> None:
        known = sums.get((criterion, module))
        sums[criterion, module] = value if known is None else known + value

    def note(module: str, out: Tensor) -> None:
        value = out.detach().clone()  # an activation in place comes next
        dims = tuple(range(2, out.ndim))

        def see(grad: Tensor) -> None:
            product = value * grad
            mean = product.mean(dim=dims) if dims else product
            add("taylor_output", module, mean.abs().mean(dim=0))
            add("taylor_gate", module, (product.sum(dim=dims) if dims else product).sum(dim=0) ** 2)

        hook: Any = out.register_hook  # torch does not annotate it
        hook(see)

    with hooked(net, outputs, note):
        for batch in batches:
            net.zero_grad(set_to_none=True)
            torch.autograd.backward(loss(net, batch)[0])
            n += 1
            for module in {module for found in filters.values() for module in found}:
                weight = net.get_parameter(f"{module}.weight")
                if weight.grad is not None:
                    add("taylor_weight", module, _per_filter((weight * weight.grad).detach() ** 2, net, module))
    if not n:
        raise ValueError("the scores of blocks look at batches of data, and there were none; at least one is needed")
    found: dict[Criterion, BlockScores] = {"weight": {}, "taylor_weight": {}, "taylor_output": {}, "taylor_gate": {}}
    for name in blocks:
        squares = [_per_filter(_weight(net, module) ** 2, net, module) for module in filters[name]]
        found["weight"][name] = _mean(squares)
        found["taylor_weight"][name] = _mean([sums["taylor_weight", m] / n for m in filters[name]])
        seen = norms[name] or filters[name]
        found["taylor_gate"][name] = _mean([sums["taylor_gate", m] / n for m in seen])
        rows = [sums["taylor_output", m] for m in seen]
        found["taylor_output"][name] = _mean([row / row.norm().clamp_min(1e-12) for row in rows])
    if all(norms.values()):
        found["bn"] = {name: _mean([_weight(net, m).abs() for m in norms[name]]) for name in blocks}
    return found


def ensemble(scores: Mapping[Criterion, BlockScores]) -> BlockScores:
    """The sum of a block's ranks under each criterion: 0 for the least of one, as published.

    Equal scores share their mean rank.
    """
    names = list(next(iter(scores.values())))
    total = dict.fromkeys(names, 0.0)
    for each in scores.values():
        for name in names:
            less = sum(each[other] < each[name] for other in names)
            equal = sum(each[other] == each[name] for other in names) - 1
            total[name] += less + equal / 2
    return total


def removed_alone(net: Any, blocks: Sequence[str], validate: Callable[[Any], float]) -> BlockScores:
    """The accuracy that each block's absence costs, measured: what the criteria stand for. One validation a block."""
    whole = validate(net)
    found = {}
    for name in blocks:
        less = copy.deepcopy(net)
        skip_(less, [name])
        found[name] = whole - validate(less)
    return found


def _filters(net: nn.Module, block: str) -> list[str]:
    """The convolutions of a block but depthwise ones, which pass on what a filter before made; all, if only those."""
    parts = [
        (_joined(block, name), m) for name, m in net.get_submodule(block).named_modules() if isinstance(m, _FILTERS)
    ]
    makers = [name for name, m in parts if getattr(m, "groups", 1) == 1]
    return makers or [name for name, _ in parts]


def _norms(net: nn.Module, block: str) -> list[str]:
    found = net.get_submodule(block).named_modules()
    return [_joined(block, name) for name, module in found if isinstance(module, nn.BatchNorm2d)]


def _joined(block: str, name: str) -> str:
    return f"{block}.{name}" if name else block


def _weight(net: nn.Module, module: str) -> Tensor:
    return net.get_parameter(f"{module}.weight").detach()


def _per_filter(values: Tensor, net: nn.Module, module: str) -> Tensor:
    dim = 1 if isinstance(net.get_submodule(module), nn.ConvTranspose2d) else 0
    return sums_over(values, dim)


def _mean(rows: Sequence[Tensor]) -> float:
    return float(torch.stack([row.mean() for row in rows]).mean())
