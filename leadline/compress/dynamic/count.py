"""What a gated net costs an image: the filters that are on, times the channels that they read, and the predictors.

A filter that is off is not computed, and a channel that is off is not read. Depthwise filters count, which the authors'
code leaves out; so do the predictors' own 1x1 convolutions. Which channels are off behind additions, concatenations
and pools is found by a second pass, in which each layer gives ones and zeros in place of values.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from leadline.compress.cost.count import layer_use
from leadline.compress.dynamic.gate_loss import Seen, heat_shares, hottest, seen_by_gates
from leadline.core.errors import BudgetInfeasible
from leadline.data.batch import Batch
from leadline.nn.build import Net
from leadline.nn.gates import Gated, gates_of, switched_on, with_gates
from leadline.nn.modes import evaluating

On = Mapping[str, Tensor]
"""By gate, which filters are on for each image, bool [B,O]."""

_LEAST = 0.05
"""The smallest ratio that is looked at."""
_LAYERS = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
_PASSED = (nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm, nn.ReLU, nn.ReLU6, nn.PReLU, nn.ELU, nn.Sigmoid, nn.Hardswish)


def gated_macs(net: Net, batches: Iterable[Batch]) -> float:
    """The mean multiply-accumulates for an image of `batches`, by what the predictors of `net` say."""

    def predicted(seen: Mapping[str, Seen]) -> list[On]:
        return [{name: switched_on(one.numbers).flatten(1) > 0 for name, one in seen.items()}]

    return _mean_macs(net, batches, predicted)[0]


def expected_macs(net: Net, batches: Iterable[Batch], ratios: Sequence[float]) -> dict[float, float]:
    """By ratio r, the mean multiply-accumulates that gates would leave of `net`, which has none yet: its own maps say
    which filters each image needs. Nothing is trained. The predictors' cost is in it.

    ValueError for a ratio outside (0, 1], for a net that no gate fits, and without batches.
    """

    def needed(seen: Mapping[str, Seen]) -> list[On]:
        shares = {name: heat_shares(one.maps) for name, one in seen.items()}
        return [{name: hottest(share, ratio) for name, share in shares.items()} for ratio in ratios]

    return dict(zip(ratios, _mean_macs(with_gates(net), batches, needed), strict=True))


def check_ratio(net: Net, batches: Sequence[Batch], most: float) -> None:
    """BudgetInfeasible, with the least there is, if no ratio is small enough for multiply-accumulates of `most`."""
    _refuse_above(expected_macs(net, batches, [_LEAST])[_LEAST], most)


def ratio_for(net: Net, batches: Sequence[Batch], most: float) -> tuple[float, dict[float, float]]:
    """(the largest ratio whose expected multiply-accumulates are at most `most`, the curve that was looked at).

    BudgetInfeasible as `check_ratio`.
    """
    curve = expected_macs(net, batches, [i / 20 for i in range(1, 21)])
    _refuse_above(curve[_LEAST], most)
    low = max(r for r, found in curve.items() if found <= most)
    if low < 1:
        curve |= expected_macs(net, batches, [round(low + i / 100, 2) for i in range(1, 5)])
        low = max(r for r, found in curve.items() if found <= most)
    return low, dict(sorted(curve.items()))


def _refuse_above(least: float, most: float) -> None:
    if least > most:
        raise BudgetInfeasible(
            f"{most:.6g} MACs cannot be reached by gates: with ratio {_LEAST} {least:.6g} are expected; give a larger "
            "budget"
        )


def _mean_macs(net: Net, batches: Iterable[Batch], rule: Callable[[Mapping[str, Seen]], list[On]]) -> list[float]:
    """The mean cost of an image, with the predictors', for each choice of filters that `rule` makes."""
    shadow, totals, n = Shadow(net), list[float](), 0
    with evaluating(net), torch.no_grad():
        for batch in batches:
            with seen_by_gates(net) as seen:
                net(batch.image)
            found = [float(shadow.macs(on, batch.image.shape).sum()) for on in rule(seen)]
            totals = [a + b for a, b in zip(totals or [0.0] * len(found), found, strict=True)]
            n += len(batch.image)
    if not n:
        raise ValueError("the cost of a gated net is a mean over images, and there were none; at least one is needed")
    own = sum(gate.predictor.conv.weight.numel() for gate in gates_of(net).values())
    return [total / n + own for total in totals]


class Shadow:
    """A copy of a net that passes on ones and zeros: which channels hold something, for each image."""

    def __init__(self, net: Net) -> None:
        self.net = copy.deepcopy(net).eval()
        self.layers: dict[str, _Layer] = {}
        _replace_(self.net, "", self.layers)
        how = net.spec.preprocess
        self.one = torch.tensor(how.mean).view(1, 3, 1, 1) + torch.tensor(how.std).view(1, 3, 1, 1)  # normalised to 1

    def macs(self, on: On, shape: Sequence[int]) -> Tensor:
        """Multiply-accumulates of each image of a batch of `shape`, float64 [B], without the predictors'."""
        for name, layer in self.layers.items():
            layer.on, layer.found = on.get(name), []
        with torch.no_grad():
            self.net(self.one.expand(*shape).contiguous(), raw=True)
        return torch.stack([found for layer in self.layers.values() for found in layer.found]).sum(dim=0)


class _Layer(nn.Module):
    """Stands for a layer with weights: counts what it multiplies, and gives ones where its filters are on."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer = copy.deepcopy(layer).to("meta")
        self.on: Tensor | None = None
        self.found: list[Tensor] = []

    @property
    def weight(self) -> Any:
        """The layer's own: some nets look at its type."""
        return self.layer.weight

    def forward(self, x: Tensor, *_: Any) -> Tensor:
        empty = torch.empty((1, *x.shape[1:]), device="meta")
        made = self.layer(empty)
        use = layer_use("weight", self.layer, empty, made)
        reads = (x != 0).reshape(*x.shape[:2], -1).any(dim=2)
        on = torch.ones(len(x), made.shape[1], dtype=torch.bool) if self.on is None else self.on
        n_read, n_made = (c.double().reshape(len(x), use.groups, -1).sum(dim=2) for c in (reads, on))
        self.found.append((n_read * n_made).sum(dim=1) * math.prod(use.kernel) * use.positions)
        return on.float().reshape(*on.shape, *(1,) * (made.ndim - 2)).expand(len(x), *made.shape[1:])


def _replace_(module: nn.Module, above: str, layers: dict[str, _Layer]) -> None:
    for own, child in module.named_children():
        name = f"{above}.{own}" if above else own
        if isinstance(child, (Gated, *_LAYERS)):
            layers[name] = _Layer(child.conv if isinstance(child, Gated) else child)
            setattr(module, own, layers[name])
        elif isinstance(child, _PASSED):
            setattr(module, own, nn.Identity())
        else:
            _replace_(child, name, layers)
