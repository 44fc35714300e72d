"""How gates learn: each predictor imitates what the filters' own maps say about which of them an image needs.

Fire Together Wire Together (Elkerdawy et al. 2022, arXiv 2110.08232), after the authors' code. `GateLoss` is a loss of
`fit`: the task's, through the masks, and the binary cross-entropy of the predictors, the sum over filters and the mean
over images and gates.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leadline.compress.options import Gates
from leadline.data.batch import Batch
from leadline.nn.gates import Gated, gates_of
from leadline.training.fit import Loss

_DEAD = 1e-5
"""A filter with at most this share of the sum is off whatever r is; and sums of shares may exceed r by so much."""


def needed_filters(maps: Tensor, ratio: float) -> Tensor:
    """Which filters an image needs, bool [B,O], by their maps [B,O,H,W]: the `hottest` by `heat_shares`."""
    return hottest(heat_shares(maps), ratio)


def heat_shares(maps: Tensor) -> Tensor:
    """Each filter's part of the heat of all, float [B,O]. A filter's heat is the largest |value| of its map."""
    heat = maps.detach().float().abs().reshape(*maps.shape[:2], -1).amax(dim=2)
    return heat / heat.sum(dim=1, keepdim=True).clamp_min(1e-12)


def hottest(share: Tensor, ratio: float) -> Tensor:
    """The filters with the largest shares, as many as together have at most `ratio` (0 to 1), bool [B,O].

    The hottest one always counts, which in the authors' code it does not. ValueError for a ratio outside (0, 1].
    """
    if not 0 < ratio <= 1:
        raise ValueError(f"ratio is {ratio}; a number above 0, at most 1, is needed")
    order = share.argsort(dim=1, descending=True, stable=True)
    within = share.gather(1, order).cumsum(dim=1) <= ratio + _DEAD
    needed = torch.zeros_like(within).scatter(1, order, within) & (share > _DEAD)
    return needed.scatter(1, order[:, :1], True)


class Seen(NamedTuple):
    """What a gate has seen in a pass: `inputs` of its predictor, the `maps` before the mask, the `numbers`."""

    gate: Gated
    inputs: Tensor
    maps: Tensor
    numbers: Tensor


@contextmanager
def seen_by_gates(net: nn.Module) -> Iterator[dict[str, Seen]]:
    """Meanwhile each pass of `net` leaves here what its gates have seen, by the gates' names."""
    found: dict[str, Seen] = {}

    inputs: dict[str, Tensor] = {}
    hooks = []
    for name, gate in gates_of(net).items():

        def keep(_m: nn.Module, given: tuple[Tensor, ...], name: str = name) -> None:
            inputs[name] = given[0]

        def note(_m: nn.Module, given: tuple[Tensor, Tensor], name: str = name, gate: Gated = gate) -> None:
            found[name] = Seen(gate, inputs.pop(name), *given)

        hooks += [gate.register_forward_pre_hook(keep), gate.mask.register_forward_pre_hook(note)]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


class GateLoss(nn.Module):
    """A loss (net, batch) -> (task + gates, logs) for a net with gates; `base` is the task's, `ratio` as in
    `needed_filters`.

    In mode decoupled only the predictors learn from the gates' part; in mode joint it reaches the convolutions before
    them, too. After `options.until` of the run's `steps` the part is 0. Logs `gates_right`, the part of the predictors'
    answers that are right, and `filters_on`.
    """

    done: Tensor

    def __init__(self, base: Loss, options: Gates, ratio: float, steps: int) -> None:
        super().__init__()
        self.base, self.options, self.ratio, self.steps = base, options, ratio, steps
        self.register_buffer("done", torch.tensor(0))

    def forward(self, net: Any, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        with seen_by_gates(net) as seen:
            task, logs = self.base(net, batch)
        learning = int(self.done) < self.options.until * self.steps
        if net.training:
            self.done += 1
        value, right, on, n = task * 0, 0.0, 0.0, 0
        for one in seen.values():
            target = needed_filters(one.maps, self.ratio)
            answer = one.numbers.detach().flatten(1) > 0
            right, on, n = right + float((answer == target).sum()), on + float(answer.sum()), n + target.numel()
            if learning:
                value = value + self._error(one, target.float())
        logs = {**logs, "gates_right": right / max(1, n), "filters_on": on / max(1, n)}
        return task + self.options.weight * value / max(1, len(seen)), logs

    def _error(self, seen: Seen, target: Tensor) -> Tensor:
        # float: with bf16 arithmetic the net's maps are of another type than the predictor's weights
        apart = self.options.mode == "decoupled"
        numbers = seen.gate.predictor(seen.inputs.detach().float()) if apart else seen.numbers
        error = F.binary_cross_entropy_with_logits(numbers.float().flatten(1), target, reduction="none")
        return error.sum(dim=1).mean()
