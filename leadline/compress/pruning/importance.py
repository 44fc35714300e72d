"""Scores: how much each channel is worth, summed over all the places that are coupled with it.

A score is a function (net, channels) -> {group: float [size]}, more is better; what else it needs (batches, a loss) is
bound before. The numbers of the first four are those of one layer: `per_group` makes groups comparable.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from leadline.compress.pruning.groups import Channels, Group
from leadline.data.batch import Batch
from leadline.training.fit import Loss

Scores = dict[str, Tensor]
Score = Callable[[nn.Module, Channels], Scores]


def magnitude(net: nn.Module, channels: Channels, *, power: int = 2) -> Scores:
    """The sum of |w| (power 1) or w^2 (power 2, as NetAdapt and Li et al. 2017, arXiv 1608.08710) over each filter.

    Depthwise filters do not count: they pass on what a filter before them made.
    """
    state = net.state_dict()
    return {
        name: sum(
            (sums_over(state[t].abs() ** power, d)[group.param_axes[t, d]].sum(dim=1) for t, d in _filters(net, group)),
            torch.zeros(group.size),
        )
        for name, group in channels.free.items()
    }


def batch_norm_scale(net: nn.Module, channels: Channels) -> Scores:
    """The sum of |gamma| (Liu et al. 2017, arXiv 1708.06519). A group without batch norm is a ValueError."""
    found = {}
    for name, group in channels.free.items():
        norms = _norms(net, group)
        if not norms:
            raise ValueError(
                f"the channels of {name} pass no batch norm; choose another score, such as l2 or taylor, "
                "or other groups"
            )
        found[name] = _summed(group, {f"{norm}.weight": _weight(net, norm).detach().abs() for norm in norms})
    return found


def random(net: nn.Module, channels: Channels, *, seed: int = 0) -> Scores:
    """Uniform in 0..1: what any other score must beat."""
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.rand(group.size, generator=generator) for name, group in channels.free.items()}


def map_rank(net: nn.Module, channels: Channels, *, batches: Iterable[Batch], largest: int = 32) -> Scores:
    """The mean rank of each channel's feature maps (Lin et al. 2020, arXiv 2002.10179).

    Maps of more than `largest` rows or columns are first shrunk by averaging, since a rank costs the cube of the size.
    `net` is used in eval mode and left as it was.
    """
    net = copy.deepcopy(net).eval()
    modules = {m: group for group in channels.free.values() for m in outputs(net, group)}
    seen: dict[str, list[Tensor]] = {name: [] for name in modules}

    def note(name: str, out: Tensor) -> None:
        size = min(out.shape[-2], largest), min(out.shape[-1], largest)
        maps = nn.functional.adaptive_avg_pool2d(out.detach().float(), size)
        seen[name].append(torch.linalg.matrix_rank(maps).float().mean(dim=0))

    with hooked(net, modules, note), torch.no_grad():
        for batch in batches:
            net(batch.image)
    _need(all(seen.values()))
    means = {name: torch.stack(rows).mean(dim=0) for name, rows in seen.items()}
    return _over_modules(net, channels, means)


def taylor(net: nn.Module, channels: Channels, *, batches: Iterable[Batch], loss: Loss, at: str = "weight") -> Scores:
    """How much the loss would change without the channel, to first order, squared, mean over batches.

    1. `weight`: sum of (w dL/dw)^2 over the filter (Molchanov et al. 2019, arXiv 1906.10771, as LayerPrune uses it).
    2. `gate`: (g dL/dg)^2 of a gate g = 1 behind the batch norm: (gamma dL/dgamma + beta dL/dbeta)^2, or of the filter
       where there is none (ibid.).
    3. `output`: |mean over pixels of a dL/da| of the outputs a, mean over images, each layer to length 1 (Molchanov et
       al. 2017, arXiv 1611.06440).

    `net` is used in eval mode, so that images of a batch do not influence each other; its own gradients are left alone.
    """
    if at not in ("weight", "gate", "output"):
        raise ValueError(f"at is {at!r}; weight, gate or output is needed")
    net = copy.deepcopy(net).eval().requires_grad_()
    modules = {m: group for group in channels.free.values() for m in outputs(net, group)} if at == "output" else {}
    sums: dict[str, Tensor] = {}
    n = 0

    def add(name: str, value: Tensor) -> None:
        sums[name] = sums.get(name, torch.zeros_like(value)) + value

    def note(name: str, out: Tensor) -> None:
        value = out.detach().clone()  # a copy: an in-place activation may overwrite it
        hook: Any = out.register_hook  # torch does not annotate it
        hook(lambda grad: add(name, (value * grad).mean(dim=(-2, -1)).abs().mean(dim=0)))

    with hooked(net, modules, note):
        for batch in batches:
            net.zero_grad(set_to_none=True)
            torch.autograd.backward(loss(net, batch)[0])
            n += 1
            if at != "output":
                for name, value in _products(net, channels, at):
                    add(name, value)
    _need(n)
    means = {name: value / n for name, value in sums.items()}
    if at == "weight":
        return {name: _summed(group, means) for name, group in channels.free.items()}
    if at == "output":
        means = {name: value / value.norm().clamp_min(1e-12) for name, value in means.items()}
    return _over_modules(net, channels, means)


def per_group(scores: Scores) -> Scores:
    """Scores over their group's mean, so that layers whose weights are of another size can be compared."""
    return {name: score / score.mean().clamp_min(1e-12) for name, score in scores.items()}


def _no_loss(net: Any, batch: Batch) -> tuple[Tensor, dict[str, float]]:
    raise ValueError("taylor scores need the loss that the net shall keep small; none was given")


def named(
    name: str,
    batches: Callable[[], Iterator[Batch]] | None = None,
    loss: Loss = _no_loss,
    *,
    n: int = 8,
    seed: int = 0,
) -> Score:
    """The score of that name, ready for a choice among all groups; `n` batches are looked at where it needs some."""
    if (name.startswith("taylor") or name == "rank") and batches is None:
        raise ValueError(f"the score {name} looks at batches of data; none were given")

    def few() -> list[Batch]:
        return [] if batches is None else list(itertools.islice(batches(), n))

    table: dict[str, Callable[[], Any]] = {
        "l1": lambda: partial(magnitude, power=1),
        "l2": lambda: magnitude,
        "bn": lambda: batch_norm_scale,
        "random": lambda: partial(random, seed=seed),
        "rank": lambda: partial(map_rank, batches=few()),
        "taylor": lambda: partial(taylor, batches=few(), loss=loss),
        "taylor_gate": lambda: partial(taylor, batches=few(), loss=loss, at="gate"),
        "taylor_output": lambda: partial(taylor, batches=few(), loss=loss, at="output"),
    }
    if name not in table:
        raise ValueError(f"the score {name!r} is unknown; known: {', '.join(table)}")
    score = table[name]()
    return (lambda net, channels: per_group(score(net, channels))) if name in ("l1", "l2", "bn", "rank") else score


def _need(batches: int) -> None:
    if not batches:
        raise ValueError("the score looks at batches of data, and there were no batches; at least one is needed")


def sums_over(values: Tensor, dim: int) -> Tensor:
    """Sums over everything but one dim."""
    # the reshape keeps a norm's weight, which has one dimension
    return values.movedim(dim, 0).reshape(values.shape[dim], -1).sum(dim=1)


def _weight(net: nn.Module, module: str) -> Tensor:
    return net.get_parameter(f"{module}.weight")


def _is_depthwise(net: nn.Module, module: str) -> bool:
    return bool(getattr(net.get_submodule(module), "groups", 1) > 1 and _weight(net, module).shape[1] == 1)


def _filters(net: nn.Module, group: Group) -> list[tuple[str, int]]:
    """The places where the group's channels are made; depthwise ones only where there are no others."""
    makers = [place for place in group.param_axes if place in group.make]
    return [p for p in makers if not _is_depthwise(net, p[0].rpartition(".")[0])] or makers


def _norms(net: nn.Module, group: Group) -> list[str]:
    modules = [tensor.rpartition(".")[0] for tensor, _ in group.param_axes if tensor.endswith(".weight")]
    return [m for m in dict.fromkeys(modules) if isinstance(net.get_submodule(m), nn.BatchNorm2d)]


def outputs(net: nn.Module, group: Group) -> list[str]:
    """The modules whose output holds the group's channels: its batch norms, or its filters where it has none."""
    return _norms(net, group) or [tensor.rpartition(".")[0] for tensor, _ in _filters(net, group)]


def _summed(group: Group, values: dict[str, Tensor]) -> Tensor:
    """Values of a tensor's channels, those along its places' dims, summed over the places that have some."""
    found = [
        values[t][group.param_axes[t, d]].sum(dim=1)
        for t, d in group.param_axes
        if t in values and (t, d) not in group.read
    ]
    return torch.stack(found).sum(dim=0) if found else torch.zeros(group.size)


def _over_modules(net: nn.Module, channels: Channels, values: dict[str, Tensor]) -> Scores:
    """Values of modules' output channels as scores of groups."""
    by_tensor = {f"{module}.weight": value for module, value in values.items()}
    return {name: _summed(group, by_tensor) for name, group in channels.free.items()}


def _products(net: nn.Module, channels: Channels, at: str) -> Iterator[tuple[str, Tensor]]:
    """Of the last backward pass: by tensor (`weight`) or module (`gate`), what each output channel is worth."""
    groups = channels.free.values()  # groups may share a tensor, as behind a concat; it counts once
    if at == "weight":
        for tensor, dim in dict.fromkeys(place for group in groups for place in _filters(net, group)):
            weight = net.get_parameter(tensor)
            if weight.grad is not None:
                yield tensor, sums_over((weight * weight.grad).detach() ** 2, dim)
        return
    for module, group in {m: one for one in groups for m in outputs(net, one)}.items():
        part = net.get_submodule(module)
        dim = next(d for t, d in group.param_axes if t == f"{module}.weight" and (t, d) not in group.read)
        products = [
            sums_over((p * p.grad).detach(), dim if p.ndim > 1 else 0)
            for p in (part.weight, part.bias)
            if isinstance(p, Tensor) and p.grad is not None
        ]
        if products:
            yield module, sum(products[1:], products[0]) ** 2


@contextmanager
def hooked(net: nn.Module, modules: Iterable[str], note: Callable[[str, Tensor], None]) -> Iterator[None]:
    """Meanwhile `note(name, output)` sees what these modules give."""
    hooks = [
        net.get_submodule(name).register_forward_hook(lambda _m, _x, out, name=name: note(name, out))
        for name in modules
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
