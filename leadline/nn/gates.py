"""Gates: convolutions whose filters a small predictor switches on or off for each image, named in `Spec.gates`.

Fire Together Wire Together (Elkerdawy et al. 2022, arXiv 2110.08232): the predictor sees what the convolution sees. A
gated net computes every filter and multiplies by 0 or 1; what it could save is counted by `compress.dynamic`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

N = TypeVar("N", bound=nn.Module)

_ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.Hardswish)
_OPEN = 2.0
"""The first value of a predictor's biases: all filters are on, so a net with fresh gates is the net without."""


class Predictor(nn.Module):
    """What a convolution sees, [B,I,H,W] -> a number for each of its filters, [B,O,1,1]; the filter is on above 0.

    The mean over the map, softmax over channels, 1x1 convolution: the authors' code (their figure has the maximum).
    The softmax is multiplied by the root of the number of channels, so that its length is about 1 in every layer. The
    1x1 convolution can undo that; without it, wide layers hardly learn from their input.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 1)
        self.start()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(torch.softmax(x.mean((2, 3), keepdim=True), dim=1) * x.shape[1] ** 0.5)
        return out

    def start(self) -> None:
        """All filters on, whatever the image."""
        nn.init.zeros_(self.conv.weight)
        assert self.conv.bias is not None
        nn.init.constant_(self.conv.bias, _OPEN)


class Mask(nn.Module):
    """Maps [B,O,H,W] times 1 where the filter's number [B,O,1,1] is above 0, and 0 elsewhere. One filter stays on, that
    of the largest number. No gradient reaches the numbers.
    """

    def forward(self, maps: Tensor, numbers: Tensor) -> Tensor:
        return maps * switched_on(numbers)


def switched_on(numbers: Tensor) -> Tensor:
    """Of the predictor's numbers [B,O,1,1] which filters are on, float 0 or 1; at least one of each image."""
    numbers = numbers.detach()
    most = numbers.amax(dim=1, keepdim=True).clamp(max=0)
    return ((numbers > 0) | (numbers >= most)).to(numbers.dtype)


class Gated(nn.Module):
    """A convolution with its batch norm and activation, and its gate: mask(act(norm(conv(x))), predictor(x))."""

    def __init__(self, conv: nn.Conv2d, norm: nn.Module, act: nn.Module) -> None:
        super().__init__()
        self.conv, self.norm, self.act = conv, norm, act
        self.predictor = Predictor(conv.in_channels, conv.out_channels)
        self.mask = Mask()

    def forward(self, x: Tensor) -> Tensor:
        numbers = self.predictor(x)
        out: Tensor = self.mask(self.act(self.norm(self.conv(x))), numbers)
        return out


def gateable(net: nn.Module) -> tuple[str, ...]:
    """The names of the convolutions that can have a gate, in the order of the net's modules.

    Those that stand in an `nn.Sequential` before a batch norm. One that has a gate is not among them.
    """
    return tuple(_units(net))


def gates_of(net: nn.Module) -> dict[str, Gated]:
    """The gates of a net, by the name that its convolution has without them."""
    return {name: module for name, module in net.named_modules() if isinstance(module, Gated)}


def with_gates(net: N, names: Sequence[str] | None = None) -> N:
    """A copy of `net` with gates at the convolutions `names` (None: all that can have one), all filters on.

    Its Spec names them. ValueError for a name that `gateable` does not give, and if there is none to give.
    """
    possible = gateable(net)
    if not possible:
        raise ValueError(
            "the net has no convolution left that could have a gate: none is followed by a batch norm in an "
            "nn.Sequential, or all have one; give another net"
        )
    chosen = possible if names is None else tuple(names)
    new = copy.deepcopy(net)
    gate_(new, chosen)
    _say(new, (*gates_of(net), *chosen))
    return new


def without_gates(net: N) -> N:
    """A copy of `net` whose filters are always on."""
    new = copy.deepcopy(net)
    for name, gate in gates_of(new).items():
        parent, index = _place(new, name)
        parent[index] = gate.conv
        for offset, part in enumerate((gate.norm, gate.act), start=1):
            if not isinstance(part, nn.Identity):
                parent[index + offset] = part
    _say(new, ())
    return new


def gate_(net: nn.Module, names: Sequence[str]) -> None:
    """Put gates at the convolutions `names`, in place; the Spec stays as it is. An unknown name is a ValueError."""
    units = _units(net) if names else {}
    for name in names:
        if name not in units:
            raise ValueError(
                f"the net has no convolution {name!r} that could have a gate; it has: {', '.join(units) or 'none'}"
            )
    for name in names:
        parent, index = _place(net, name)
        parts = units[name]
        parent[index] = Gated(parts[0], parts[1], parts[2] if len(parts) > 2 else nn.Identity())  # type: ignore[arg-type]
        for offset in range(1, len(parts)):
            parent[index + offset] = nn.Identity()


def _say(net: Any, names: tuple[str, ...]) -> None:
    net.spec = replace(net.spec, gates=names)


def _units(net: nn.Module) -> dict[str, list[nn.Module]]:
    """By name of the convolution: itself, its batch norm, and its activation if there is one."""
    found = {}
    for above, module in net.named_modules():
        if not isinstance(module, nn.Sequential):
            continue
        children = list(module)
        for i, (own, conv) in enumerate(module.named_children()):
            if isinstance(conv, nn.Conv2d) and i + 1 < len(children) and isinstance(children[i + 1], nn.BatchNorm2d):
                act = children[i + 2 : i + 3]
                unit = [conv, children[i + 1], *(act if act and isinstance(act[0], _ACTIVATIONS) else [])]
                found[f"{above}.{own}" if above else own] = unit
    return found


def _place(net: nn.Module, name: str) -> tuple[nn.Sequential, int]:
    """The `nn.Sequential` that holds the module `name`, and its index there."""
    above, _, own = name.rpartition(".")
    parent = net.get_submodule(above)
    assert isinstance(parent, nn.Sequential)
    return parent, [key for key, _ in parent.named_children()].index(own)


def predictors(net: nn.Module) -> Iterator[Predictor]:
    """The predictors of all gates."""
    return (module for module in net.modules() if isinstance(module, Predictor))
