"""Blocks of a single path that change the number of channels: left out, with the next layer fitted to their input.

LayerPrune's authors advise an identity and the next layer's input adjusted by hand. Here the linear map that comes
nearest to the block is found by least squares on some images, and goes into the weights that read its output.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from leadline.compress.cost.count import shapes_of
from leadline.compress.pruning.groups import Channels, Group
from leadline.compress.pruning.trace import traced
from leadline.data.batch import Batch
from leadline.nn.build import Net
from leadline.nn.modes import evaluating
from leadline.nn.resize import resize_
from leadline.nn.skip import skip_, widening

_PIXELS = 4096
"""So many pixels of each batch are looked at."""


def fittable(net: Net) -> tuple[str, ...]:
    """The blocks that change the channels, keep the size, and whose output is read by plain layers alone: of VGG, those
    that begin a stage. Not the first one, which sees the image.
    """
    names = widening(net)
    if not names:
        return ()
    channels = traced(net)
    return tuple(name for name in names if _made_by(net, name, channels) is not None)


def skip_fitted_(net: Net, name: str, batches: Iterable[Batch]) -> None:
    """Leave the block `name` out of `net`, in place, and fit the layers that read it; the Spec names it.

    Without batches, channel i stands for channel i. ValueError if the block is not `fittable`.
    """
    channels = traced(net)
    group = _made_by(net, name, channels) if name in widening(net) else None
    if group is None:
        raise ValueError(f"the block {name!r} cannot be left out: something else than a plain layer reads its output")
    fit = _nearest(net, name, batches, group.size)
    with torch.no_grad():
        new = {tensor: torch.einsum("oc...,ic->oi...", net.get_parameter(tensor), fit) for tensor, _ in group.read}
    skip_(net, [name])
    resize_(net, {**shapes_of(net), **{tensor: tuple(weight.shape) for tensor, weight in new.items()}})
    with torch.no_grad():
        for tensor, weight in new.items():
            net.get_parameter(tensor).copy_(weight)


def _made_by(net: Net, block: str, channels: Channels) -> Group | None:
    """The channels that only `block` makes and only plain layers outside of it read, if all of its output is so."""
    inside = f"{block}."
    for group in channels.free.values():
        made = [tensor for tensor, _ in group.make]
        outside = [place for place in group.read if not place[0].startswith(inside)]
        if outside and len(outside) == len(group.read) and all(tensor.startswith(inside) for tensor in made):
            plain = all(_is_plain(net, tensor, dim, group.size) for tensor, dim in outside)
            return group if plain and _is_fed(block, channels) else None
    return None


def _is_plain(net: Net, tensor: str, dim: int, size: int) -> bool:
    """Whether a weight is that of a convolution or linear layer which reads these channels and no others."""
    module = net.get_submodule(tensor.rpartition(".")[0])
    plain = isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.groups == 1)
    return plain and dim == 1 and net.get_parameter(tensor).shape[1] == size


def _is_fed(block: str, channels: Channels) -> bool:
    """Whether a layer before the block makes what it reads: the image is made by none."""
    return any(
        any(tensor.startswith(f"{block}.") for tensor, _ in group.read)
        and not all(tensor.startswith(f"{block}.") for tensor, _ in group.make)
        for group in channels.groups
    )


def _nearest(net: Net, block: str, batches: Iterable[Batch], outputs: int) -> Tensor:
    """The map [inputs, outputs] that comes nearest to the block, by least squares over pixels."""
    rows: list[tuple[Tensor, Tensor]] = []

    def note(_m: nn.Module, x: tuple[Tensor, ...], out: Tensor) -> None:
        rows.append((_flat(x[0]), _flat(out)))

    hook = net.get_submodule(block).register_forward_hook(note)
    try:
        with evaluating(net), torch.no_grad():
            for batch in batches:
                net(batch.image)
            if not rows:
                net(torch.zeros(1, 3, *net.spec.preprocess.size))
                return torch.eye(rows[0][0].shape[1], outputs)
    finally:
        hook.remove()
    x, y = (torch.cat(parts).double() for parts in zip(*rows, strict=True))
    size = x.shape[1]
    ridge = 1e-6 * x.pow(2).sum() / size * torch.eye(size, dtype=torch.float64)
    found: Tensor = torch.linalg.solve(x.T @ x + ridge, x.T @ y)
    return found.float()


def _flat(maps: Tensor) -> Tensor:
    """Maps [B,C,H,W] as rows [N,C], some of all pixels, evenly spaced."""
    rows = maps.detach().movedim(1, -1).flatten(0, -2)
    return rows[:: max(1, len(rows) // _PIXELS)].clone()
