"""Joint masks: which filters stay is learned together with the weights (Elkerdawy et al. 2019, arXiv 1905.05212).

One number v for each channel; the channel is on where sigmoid(v) > 0.5, and the step passes v's gradient straight
through. A mask multiplies the weights that *read* the channel, so the masked net computes exactly what the net without
those channels will compute. `Masked` is a loss: task + strength x the regulariser of the channels that are on.

The training code was never published. Our choices for what the paper leaves open: v starts above 0 (all on); the
regulariser of a channel is sigmoid(v), so that it also falls while the channel is still on; plain, or weighted with
what the channel costs (the cost of the net less that without it). v moves `lr_scale` times as fast as a weight under
Adam. To hit a target, its weight is the higher the further the net is above the plan: `strength` exp(gap / tolerance).
The gap is measured with soft masks, sigmoid(3 v / start), until the plan has come to its end: hard ones answer only
after v has come all the way down, and what waits for them overshoots (0.4 asked, 0.1 left).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from leadline.compress.cost.count import Cost
from leadline.compress.options import Masks
from leadline.compress.pruning.groups import Channels
from leadline.compress.pruning.select import choose
from leadline.compress.pruning.surgery import keep_topk, round_to_multiple
from leadline.data.batch import Batch
from leadline.training.fit import Loss


class Masked(nn.Module):
    """A loss (net, batch) -> (task + sparsity, logs) with masks as its own weights; `fit` trains both.

    `base` is the task's loss; every group of `channels` that may shrink is masked. With options.target the part of
    `cost` that the net shall keep is planned to fall from 1 to that during the first `target_at` of the run's `steps`.
    """

    prices: Tensor
    done: Tensor

    def __init__(self, base: Loss, channels: Channels, cost: Cost, options: Masks, steps: int) -> None:
        super().__init__()
        self.base, self.channels, self.cost, self.options, self.steps = base, channels, cost, options, steps
        self.names = list(channels.free)
        sizes = [group.size for group in channels.free.values()]
        self.values = nn.ParameterList(nn.Parameter(torch.full((n,), options.start / options.lr_scale)) for n in sizes)
        self.register_buffer("prices", torch.tensor(_prices(channels, cost, self.names, options.regulariser)))
        self.register_buffer("done", torch.tensor(0))
        self.full = cost(channels.shapes)

    def forward(self, net: Any, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        values = [_faster(v, self.options.lr_scale) for v in self.values]
        masks = [_step(v) for v in values]
        task, logs = self.base(_Reading(net, self._read(net, masks)), batch)
        logs = {**logs, "kept": self.kept()}
        if net.training:
            self.done += 1
        if self.options.mode == "task":
            return task, logs
        regulariser = sum(p * torch.sigmoid(v).sum() for p, v in zip(self.prices, values, strict=True))
        strength = self._strength()
        return task + strength * regulariser, {**logs, "strength": strength}

    def kept(self) -> float:
        """The cost of what is on, as a part of the whole net's."""
        return self._part([(v > 0).float() for v in self.values])

    def scores(self) -> dict[str, Tensor]:
        """What each masked channel is worth: v, above 0 where it is on."""
        return {n: self.options.lr_scale * v.detach().cpu() for n, v in zip(self.names, self.values, strict=True)}

    def off(self) -> dict[str, list[int]]:
        """The channels that are off; of each group one stays, the best."""
        return {
            name: sorted(torch.argsort(v, descending=True, stable=True)[max(1, int((v > 0).sum())) :].tolist())
            for name, v in self.scores().items()
        }

    def prune_plan(self, limit: float | None = None, multiple: int = 1) -> dict[str, list[int]]:
        """What to drop: the channels that are off, as many as leave a multiple of `multiple`; with a `limit` on the
        cost that this does not meet, more, those with the lowest v.
        """
        scores, off = self.scores(), self.off()
        widths = {name: round_to_multiple(len(v) - len(off[name]), len(v), multiple) for name, v in scores.items()}
        if limit is not None and self.cost(self.channels.shapes_with(widths)) > limit:
            return choose(self.channels, scores, self.cost, limit, multiple=multiple)
        return keep_topk(scores, widths)

    def _read(self, net: nn.Module, masks: Iterable[Tensor]) -> dict[str, Tensor]:
        """The weights that read a masked channel, times the masks, under their names in `net`."""
        found: dict[str, Tensor] = {}
        parameters = dict(net.named_parameters())
        prefix = "net." if all(name.startswith("net.") for name in parameters) else ""
        for name, mask in zip(self.names, masks, strict=True):
            group = self.channels.group(name)
            for tensor, dim in group.read:
                key = prefix + tensor
                weight = found.get(key, parameters[key])
                whole = torch.ones(weight.shape[dim], device=weight.device)
                indices = group.param_axes[tensor, dim].to(weight.device)
                whole = whole.index_put((indices.flatten(),), mask.repeat_interleave(indices.shape[1]))
                found[key] = weight * whole.reshape([-1 if d == dim else 1 for d in range(weight.ndim)])
        return found

    def _part(self, masks: Iterable[Tensor]) -> float:
        widths = {n: max(1, round(float(m.detach().sum()))) for n, m in zip(self.names, masks, strict=True)}
        return self.cost(self.channels.shapes_with(widths)) / self.full

    def _strength(self) -> float:
        """The weight of the regulariser: fixed, or with a target what the gap to the plan asks for."""
        how = self.options
        if how.target is None:
            return how.strength
        part = float(self.done) / (how.target_at * self.steps)
        planned = 1 - (1 - how.target) * min(1.0, part)
        soft = how.start / 3  # sigmoid(3) = 0.95: nearly all channels are on at the start
        now = self._part([torch.sigmoid(how.lr_scale * v / soft) for v in self.values]) if part <= 1 else self.kept()
        gap = now - planned
        return how.strength * math.exp(max(-10.0, min(10.0, gap / how.tolerance)))


class _Reading:
    """The net with other weights for those that read masked channels: what the task's loss calls."""

    def __init__(self, net: nn.Module, weights: dict[str, Tensor]) -> None:
        self.net, self.weights = net, weights

    def __call__(self, image: Tensor, raw: bool = False) -> Any:
        with warnings.catch_warnings():
            # torch.compile reads .grad of every weight; these are results of a multiplication, which warn and have none
            warnings.filterwarnings("ignore", r"The \.grad attribute of a Tensor that is not a leaf", UserWarning)
            return functional_call(self.net, self.weights, (image,), {"raw": raw})

    def __getattr__(self, name: str) -> Any:
        return getattr(self.net, name)


def _faster(v: Tensor, speed: float) -> Tensor:
    """speed x v, whose gradient is 1 / speed x its own: Adam moves v as ever, and no clipping of norms sees it."""
    return speed * v.detach() + (v - v.detach()) / speed


def _step(v: Tensor) -> Tensor:
    """1 where sigmoid(v) > 0.5, else 0; the gradient passes straight through (Bengio et al. 2013, arXiv 1308.3432)."""
    hard = (v.detach() > 0).to(v.dtype)
    return hard + (v - v.detach())  # v - v.detach() is exactly 0, so the value is exactly `hard`; the gradient is v's


def _prices(channels: Channels, cost: Cost, names: list[str], how: str) -> list[float]:
    """What one channel of each group costs, of mean 1 over all channels."""
    if how == "plain":
        return [1.0] * len(names)
    full = cost(channels.shapes)
    sizes = [channels.group(name).size for name in names]
    saved = [
        full - cost(channels.shapes_with({name: size - 1})) if size > 1 else 0.0
        for name, size in zip(names, sizes, strict=True)
    ]
    mean = sum(s * n for s, n in zip(saved, sizes, strict=True)) / sum(sizes)
    return [s / mean for s in saved]
