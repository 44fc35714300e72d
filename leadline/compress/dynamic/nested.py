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
from leadline.compress.dynamic.gate_loss import needed_filters
from leadline.compress.pruning.groups import Channels
from leadline.compress.pruning.importance import hooked, outputs
from leadline.compress.pruning.surgery import prune, round_to_multiple
from leadline.core.errors import BudgetInfeasible
from leadline.data.batch import Batch
from leadline.nn.build import Net
from leadline.training.fit import Loss
from leadline.training.recorder import Recorder

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
    groups = channels.free
    modules = {module: name for name, group in groups.items() for module in outputs(net, group)}
    sums: dict[str, Tensor] = {}
    counts: dict[str, dict[float, float]] = {}
    n = 0

    def note(module: str, out: Tensor) -> None:
        maps = F.relu(out.detach())  # the norm's output, before its activation
        share = maps.abs().amax(dim=(2, 3))
        share = share / share.sum(dim=1, keepdim=True).clamp_min(1e-12)
        sums[module] = sums.get(module, torch.zeros(share.shape[1])) + share.sum(dim=0)
        found = counts.setdefault(module, dict.fromkeys(ratios, 0.0))
        for ratio in ratios:
            found[ratio] += float(needed_filters(maps, ratio).float().mean(dim=1).sum())

    with hooked(net, modules, note), torch.no_grad():
        for batch in batches:
            net(batch.image)
            n += len(batch.image)
    if not n:
        raise ValueError("the order of filters is by the mean of their maps, and there were no images; give some")
    heat: dict[str, Tensor] = {}
    needed: dict[str, dict[float, float]] = {}
    for module, name in modules.items():
        own = _of_group(groups[name], module, sums[module] / n)
        heat[name] = torch.maximum(heat[name], own) if name in heat else own
        before = needed.get(name, dict.fromkeys(ratios, 0.0))
        needed[name] = {ratio: max(before[ratio], counts[module][ratio] / n) for ratio in ratios}
    return Heats(heat, needed)


def _of_group(group: Any, module: str, values: Tensor) -> Tensor:
    """The values of a module's outputs that are channels of `group`."""
    place = next(p for p in group.param_axes if p[0] == f"{module}.weight" and p not in group.read)
    own: Tensor = values[group.param_axes[place]].mean(dim=1)
    return own


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
    groups = channels.free
    return prune(net, channels, {name: range(n, groups[name].size) for name, n in widths.items()})


class NestedLoss(nn.Module):
    """A loss (net, batch) -> (sum over all widths, logs) for `fit`, which trains the net and the norms of the others.

    `base` is the task's. Each width learns from it, and from the whole net's answer (`distill` times the cross-entropy
    of classes, or mean |ln p - ln t| of depth), as in universally slimmable nets (Yu and Huang 2019, arXiv 1903.05134).
    `narrow[i]` are the widths as nets; `with_weights` fills them in.
    """

    def __init__(
        self, base: Loss, net: Net, channels: Channels, widths: Sequence[Mapping[str, int]], distill: float = 1.0
    ) -> None:
        super().__init__()
        self.base, self.distill, self.kind = base, distill, net.spec.head.kind
        self.narrow = nn.ModuleList(narrow_copy(net, channels, one) for one in widths)
        self.kept = [_kept(channels, one) for one in widths]
        for one in self.narrow:
            own = _own(one)
            for name, parameter in one.named_parameters():
                parameter.requires_grad_(name in own)

    def forward(self, net: Any, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        whole = Recorder(net)
        value, logs = self.base(whole, batch)
        if logs.get("skipped"):
            return value, logs
        answer = whole.calls[0][2].detach()
        weights = {name.removeprefix("net."): p for name, p in net.named_parameters()}
        for i, (one, kept) in enumerate(zip(self.narrow, self.kept, strict=True)):
            one.train(net.training)
            part = Recorder(_Narrow(one, _cut(weights, one, kept), getattr(net, "bf16", False)))
            own, own_logs = self.base(part, batch)
            value = value + own + self.distill * self._gap(part.calls[0][2], answer)
            logs = {**logs, **{f"{name}_{i}": number for name, number in own_logs.items()}}
        return value, logs

    def _gap(self, answer: Tensor, wanted: Tensor) -> Tensor:
        if self.kind in ("classes", "labels"):
            return F.cross_entropy(answer, torch.softmax(wanted, dim=1))
        if self.kind == "joint":
            labels = F.cross_entropy(answer[:, 1:], torch.softmax(wanted[:, 1:], dim=1))
            answer, wanted = answer[:, :1], wanted[:, :1]
            return labels + (answer.clamp_min(1e-3).log() - wanted.clamp_min(1e-3).log()).abs().mean()
        return (answer.clamp_min(1e-3).log() - wanted.clamp_min(1e-3).log()).abs().mean()

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


def _own(net: nn.Module) -> set[str]:
    """The parameters that each width has for itself: those of batch norms."""
    norms = [name for name, module in net.named_modules() if isinstance(module, _NORMS)]
    return {f"{name}.{part}" for name in norms for part in ("weight", "bias")}


def _kept(channels: Channels, widths: Mapping[str, int]) -> dict[str, list[tuple[int, Tensor]]]:
    """By tensor, along which dims which indices a width keeps."""
    gone: dict[tuple[str, int], list[Tensor]] = {}
    for name, n in widths.items():
        for place, indices in channels.group(name).param_axes.items():
            gone.setdefault(place, []).append(indices[n:].flatten())
    found: dict[str, list[tuple[int, Tensor]]] = {}
    for (tensor, dim), parts in gone.items():
        keep = torch.ones(channels.shapes[tensor][dim], dtype=torch.bool)
        keep[torch.cat(parts)] = False
        if not keep.all():
            found.setdefault(tensor, []).append((dim, keep.nonzero().flatten()))
    return found


def _cut(
    weights: Mapping[str, Tensor], net: nn.Module, kept: Mapping[str, list[tuple[int, Tensor]]]
) -> dict[str, Tensor]:
    """The whole net's weights as a width has them; gradients reach the whole net."""
    found, own = {}, _own(net)
    for name, _ in net.named_parameters():
        if name in own:
            continue
        value = weights[name]
        for dim, indices in kept.get(name, ()):
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
