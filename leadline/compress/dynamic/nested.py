"""Nested widths: one net that can also run with fewer filters in each layer, the first ones, and needs no masks.

Masks that differ for each filter run no faster anywhere. So the filters are put in order once, by their mean heat, and
a width keeps the first ones of each layer: a plain smaller net, which every runtime runs faster. All widths share the
convolutions' weights and have batch norms of their own, as in slimmable nets (Yu et al. 2019, arXiv 1812.08928). The
widths come from the same rule as the gates': how many filters an image needs on average, by `gate_loss.needed_filters`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from leadline.compress.cost.count import Cost
from leadline.compress.dynamic.gate_loss import heat_shares, hottest
from leadline.compress.pruning.groups import Channels, Drop, Group
from leadline.compress.pruning.importance import hooked, outputs
from leadline.compress.pruning.surgery import kept_indices, prune, round_to_multiple
from leadline.core.errors import BudgetInfeasible
from leadline.data.batch import Batch
from leadline.nn.build import Net
from leadline.training.fit import Loss
from leadline.training.recorder import Recorder, answer_gap

Widths = dict[str, int]
"""Group of coupled channels -> how many of them a width keeps."""

_NORMS = (nn.BatchNorm2d,)


@dataclass(frozen=True)
class Heats:
    """What images need of each group of channels: its mean `heat` [size], and the mean share that is `needed` by ratio.

    Of several layers with the same channels the hottest counts, and the one that needs most.
    """

    heat: Mapping[str, Tensor]
    needed: Mapping[str, Mapping[float, float]]


def measured_heats(net: nn.Module, channels: Channels, batches: Iterable[Batch], ratios: Sequence[float]) -> Heats:
    """The Heats of the groups that may shrink, means over the images of `batches`. ValueError if there are none."""
    seen_at = {name: outputs(net, group) for name, group in channels.free.items()}
    modules = {module for own in seen_at.values() for module in own}
    sums: dict[str, Tensor] = {}
    counts = {module: dict.fromkeys(ratios, 0.0) for module in modules}
    n = 0

    def note(module: str, out: Tensor) -> None:
        share = heat_shares(F.relu(out))  # the norm's output, before its activation
        sums[module] = sums.get(module, torch.zeros(share.shape[1])) + share.sum(dim=0)
        for ratio in ratios:
            counts[module][ratio] += float(hottest(share, ratio).float().mean(dim=1).sum())

    with hooked(net, modules, note), torch.no_grad():
        for batch in batches:
            net(batch.image)
            n += len(batch.image)
    if not n:
        raise ValueError("the order of filters is by the mean of their maps, and there were no images; give some")
    heat, needed = {}, {}
    for name, own in seen_at.items():
        group = channels.group(name)
        heat[name] = torch.stack([_of_group(group, module, sums[module] / n) for module in own]).amax(dim=0)
        needed[name] = {ratio: max(counts[module][ratio] for module in own) / n for ratio in ratios}
    return Heats(heat, needed)


def _of_group(group: Group, module: str, values: Tensor) -> Tensor:
    """The values of a module's outputs that are channels of `group`."""
    place = next(p for p in group.param_axes if p[0] == f"{module}.weight" and p not in group.read)
    return values[group.param_axes[place]].mean(dim=1)


def in_order(net: Net, channels: Channels, heat: Mapping[str, Tensor]) -> Net:
    """A copy of `net` that computes the same, the channels of each group in falling order of `heat`."""
    new = copy.deepcopy(net)
    state = new.state_dict()
    with torch.no_grad():
        for name, values in heat.items():
            order = values.argsort(descending=True, stable=True)
            for (tensor, dim), indices in channels.group(name).param_axes.items():
                source = torch.arange(state[tensor].shape[dim])
                source[indices.flatten()] = indices[order].flatten()
                state[tensor].copy_(state[tensor].index_select(dim, source).clone())
    return new


def widths_for(channels: Channels, heats: Heats, cost: Cost, most: float, multiple: int = 8) -> tuple[Widths, float]:
    """(widths of the free groups, the ratio that they come from): the largest ratio whose widths cost at most `most`.

    BudgetInfeasible, with the smallest cost there is, if none is small enough.
    """
    ratios = sorted(next(iter(heats.needed.values())))
    least = 0.0
    for ratio in reversed(ratios):
        widths = {
            name: round_to_multiple(heats.needed[name][ratio] * group.size, group.size, multiple)
            for name, group in channels.free.items()
        }
        least = cost(channels.shapes_with(widths))
        if least <= most:
            return widths, ratio
    raise BudgetInfeasible(
        f"{most:.6g} cannot be reached by fewer filters in each layer: with ratio {ratios[0]} the net costs "
        f"{least:.6g}, the smallest reachable"
    )


def narrow_copy(net: Net, channels: Channels, widths: Mapping[str, int]) -> Net:
    """A copy of `net` with the first channels of each group, as many as `widths` say."""
    return prune(net, channels, _dropped(channels, widths))


def _dropped(channels: Channels, widths: Mapping[str, int]) -> Drop:
    groups = channels.free
    return {name: range(n, groups[name].size) for name, n in widths.items()}


class NestedLoss(nn.Module):
    """A loss (net, batch) -> (sum over all widths, logs) for `fit`, which trains the net and the norms of the others.

    `base` is the task's. Each width learns from it, and from the whole net's answer (`distill` times the cross-entropy
    of classes, or mean |ln p - ln t| of depth), as in universally slimmable nets (Yu and Huang 2019, arXiv 1903.05134).
    `narrow[i]` are the widths as nets, whose batch norms learn; their other weights are cut from the net's.
    """

    def __init__(
        self, base: Loss, net: Net, channels: Channels, widths: Sequence[Mapping[str, int]], distill: float = 1.0
    ) -> None:
        super().__init__()
        self.base, self.distill, self.kind = base, distill, net.spec.head.kind
        self.narrow = nn.ModuleList(narrow_copy(net, channels, one) for one in widths)
        self.kept = [_kept(narrow, channels, one) for narrow, one in zip(self.narrow, widths, strict=True)]
        for narrow, kept in zip(self.narrow, self.kept, strict=True):
            for name, parameter in narrow.named_parameters():
                parameter.requires_grad_(name not in kept)

    def forward(self, net: Any, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        whole = Recorder(net)
        value, logs = self.base(whole, batch)
        if logs.get("skipped"):
            return value, logs
        answer = whole.calls[0][2].detach()
        weights = {name.removeprefix("net."): p for name, p in net.named_parameters()}
        for i, (one, kept) in enumerate(zip(self.narrow, self.kept, strict=True)):
            one.train(net.training)
            part = Recorder(_Narrow(one, _cut(weights, kept), getattr(net, "bf16", False)))
            own, own_logs = self.base(part, batch)
            value = value + own + self.distill * answer_gap(self.kind, part.calls[0][2], answer)
            logs = {**logs, **{f"{name}_{i}": number for name, number in own_logs.items()}}
        return value, logs

    def norms(self) -> dict[str, Tensor]:
        """The batch norms' tensors of all widths, named `NUMBER.TENSOR`: what the whole net's file lacks."""
        return {
            f"{i}.{name}": tensor
            for i, one in enumerate(self.narrow)
            for name, tensor in one.state_dict().items()
            if is_norms(one, name)
        }


def is_norms(net: nn.Module, tensor: str) -> bool:
    """Whether that tensor of the state of `net` is a batch norm's; counters of batches are not stored."""
    module = net.get_submodule(tensor.rpartition(".")[0])
    return isinstance(module, _NORMS) and not tensor.endswith("num_batches_tracked")


def with_norms(
    net: Net, channels: Channels, widths: Sequence[Mapping[str, int]], norms: Mapping[str, Tensor]
) -> list[Net]:
    """The widths as nets of their own: the weights of `net`, the norms of `NestedLoss.norms`. A ValueError if those are
    of other widths.
    """
    found = []
    for i, one in enumerate(widths):
        new = narrow_copy(net, channels, one)
        own = {name: norms.get(f"{i}.{name}") for name in new.state_dict() if is_norms(new, name)}
        for name, tensor in own.items():
            target = new.state_dict()[name]
            if tensor is None or tensor.shape != target.shape:
                raise ValueError(f"the norm {name} of width {i} is missing or of another size: the file is damaged")
            with torch.no_grad():
                target.copy_(tensor)
        found.append(new.eval())
    return found


_Cuts = Mapping[str, list[tuple[int, Tensor]]]
"""Each tensor that a width has of the whole net -> along which dims which indices."""


def _kept(narrow: nn.Module, channels: Channels, widths: Mapping[str, int]) -> _Cuts:
    """What the width `narrow` has of the whole net: all but the batch norms."""
    found: dict[str, list[tuple[int, Tensor]]]
    found = {name: [] for name, _ in narrow.named_parameters() if not is_norms(narrow, name)}
    for (tensor, dim), indices in kept_indices(channels, _dropped(channels, widths)).items():
        if tensor in found:
            found[tensor].append((dim, indices))
    return found


def _cut(weights: Mapping[str, Tensor], kept: _Cuts) -> dict[str, Tensor]:
    """The whole net's weights as a width has them; gradients reach the whole net."""
    found = {}
    for name, cuts in kept.items():
        value = weights[name]
        for dim, indices in cuts:
            value = value.index_select(dim, indices.to(value.device))
        found[name] = value
    return found


class _Narrow:
    """A width of the net, in the run's precision: what the task's loss calls."""

    def __init__(self, net: Any, weights: Mapping[str, Tensor], bf16: bool) -> None:
        self.net, self.weights, self.bf16 = net, dict(weights), bf16

    def __call__(self, image: Tensor, raw: bool = False) -> Any:
        with torch.autocast(image.device.type, torch.bfloat16, enabled=self.bf16):
            out = functional_call(self.net, self.weights, (image,), {"raw": raw})
        return [x.float() for x in out] if isinstance(out, list) else out.float()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.net, name)
