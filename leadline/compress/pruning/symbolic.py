"""Symbolic channels instead of numbers: an exported graph run on the names of its channels.

A tensor's value here is an array of integers: the name of the channel to which each element belongs, 0 for none. Data
movement runs on it unchanged; the rules in `naming_rules` say which names meet and are one from then on.
"""

from __future__ import annotations

import operator
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from leadline.core.text import reason

ParamAxis = tuple[str, int]
"""A tensor of the net, by its name in `state_dict`, and one of its dims."""


@dataclass(frozen=True)
class Named:
    """What a node gives: `ids` is int64, of size 1 in each dim along which names do not vary; `shape` the real one."""

    ids: Tensor
    shape: tuple[int, ...]

    def whole(self) -> Tensor:
        """`ids` of the real shape."""
        return self.ids.expand(self.shape)

    def varies(self) -> list[int]:
        """The dims along which names vary."""
        return [dim for dim, n in enumerate(self.ids.shape) if n > 1]


@dataclass(frozen=True)
class Stored:
    """A parameter or buffer of the net as a node's value; its names are given when a rule asks for them."""

    name: str
    shape: tuple[int, ...]


@dataclass
class ChannelIds:
    """The names given so far, which of them are one, and which may not go."""

    parent: list[int] = field(default_factory=lambda: [0])
    param_axes: dict[ParamAxis, Tensor] = field(default_factory=dict)
    readers: set[ParamAxis] = field(default_factory=set)
    producers: list[ParamAxis] = field(default_factory=list)
    why_frozen: dict[int, str] = field(default_factory=dict)
    doubtful: dict[int, str] = field(default_factory=dict)
    untouchable: dict[str, str] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)

    def of(self, stored: Stored, dim: int) -> Tensor:
        """The names along one dim of a stored tensor, fresh ones at the first time."""
        if (stored.name, dim) not in self.param_axes:
            start = len(self.parent)
            self.parent.extend(range(start, start + stored.shape[dim]))
            self.param_axes[stored.name, dim] = torch.arange(start, len(self.parent))
        return self.param_axes[stored.name, dim]

    def root(self, name: int) -> int:
        """The name that stands for all those that are one with `name`."""
        while self.parent[name] != name:
            self.parent[name] = self.parent[self.parent[name]]
            name = self.parent[name]
        return name

    def tie(self, one: Tensor, other: Tensor) -> None:
        """From now on names at the same position are one. A name that meets 0, which cannot go, is frozen."""
        for a, b in {(int(a), int(b)) for a, b in zip(one.flatten(), other.flatten(), strict=True)}:
            if a and b:
                self.parent[self.root(a)] = self.root(b)
            else:
                self.freeze(torch.tensor([a or b]), "it meets a tensor that has no channels to remove")

    def freeze(self, ids: Iterable[Any] | Tensor, why: str) -> None:
        """These names may not go."""
        for name in set(torch.as_tensor(ids).flatten().tolist()) - {0}:
            self.why_frozen.setdefault(int(name), why)

    def doubt(self, ids: Tensor, why: str) -> None:
        """These may go only if a trial shows that nothing else changes."""
        for name in set(ids.flatten().tolist()) - {0}:
            self.doubtful.setdefault(int(name), why)

    def per_channel(self, x: Named) -> Tensor:
        """The names along dim 1, one for each channel: those that occur within a channel become one."""
        if x.ids.shape[1] == 1 and x.shape[1] > 1:  # no channel has an id, or ids run along another dimension
            self.freeze(x.ids, "its channels are laid out over space")
            return torch.zeros(x.shape[1], dtype=torch.int64)
        columns = set(zip(*x.ids.transpose(0, 1).flatten(1).tolist(), strict=True))
        first, *others = (torch.tensor(column) for column in columns)
        for column in others:
            self.tie(first, column)
        return first


Rule = Callable[[ChannelIds, Any, Any], Any]
"""(names, Call, shape of the result, a list of them for several results) -> the node's value."""


@dataclass(frozen=True)
class Call:
    """A node's arguments, values in place of nodes."""

    target: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @property
    def name(self) -> str:
        """The operation's, as `view` or `add_`."""
        return str(getattr(self.target, "_opname", None) or getattr(self.target, "__name__", self.target))

    def get(self, position: int, name: str, default: Any = None) -> Any:
        """An argument by its position or its name."""
        return self.args[position] if len(self.args) > position else self.kwargs.get(name, default)

    def values(self) -> list[Named | Stored]:
        """Every tensor among the arguments, lists looked into."""
        found: list[Named | Stored] = []
        for value in [*self.args, *self.kwargs.values()]:
            found += [v for v in (value if isinstance(value, list | tuple) else [value]) if isinstance(v, _TENSORS)]
        return found


_TENSORS = (Named, Stored)


def compressed(ids: Tensor) -> Named:
    """A Named of an array of the real shape."""
    small = ids
    for dim in range(ids.ndim):
        first = small.narrow(dim, 0, 1) if small.shape[dim] else small
        if small.shape[dim] > 1 and bool((small == first).all()):
            small = first
    return Named(small.contiguous(), tuple(ids.shape))


def nameless(shape: Iterable[int]) -> Named:
    """A tensor whose elements belong to no channel."""
    shape = tuple(shape)
    return Named(torch.zeros([1] * len(shape), dtype=torch.int64), shape)


def opaque(names: ChannelIds, call: Call, shape: Any, why: str = "{} mixes its channels") -> Any:
    """What comes out is nameless, and what is touched is frozen: the operation is not understood."""
    why = why.format(call.name)
    for value in call.values():
        if isinstance(value, Stored):
            names.untouchable.setdefault(value.name, why)
        else:
            names.freeze(value.ids, why)
    return [opaque(names, Call(None, (), {}), part) for part in shape] if isinstance(shape, list) else nameless(shape)


def run(net: nn.Module, example: Tensor, rules: dict[str, Rule]) -> ChannelIds:
    """The names of the channels of `net`, from its graph for inputs shaped as `example`.

    What `torch.export` refuses is a ValueError with its reason.
    """
    program = _exported(net, example)
    signature = program.graph_signature
    stored = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    names = ChannelIds()
    values: dict[Any, Any] = {}
    for node in program.graph.nodes:
        if node.op == "placeholder":
            value = node.meta["val"]
            shape = tuple(value.shape) if isinstance(value, Tensor) else ()
            values[node] = Stored(stored[node.name], shape) if node.name in stored else nameless(shape)
        elif node.op == "get_attr":  # the body of an operation such as autocast, which no rule knows
            values[node] = None
        elif node.op == "call_function":
            args, kwargs = torch.fx.map_arg((node.args, node.kwargs), lambda n: values[n])
            values[node] = _called(names, Call(node.target, tuple(args), dict(kwargs)), node, rules)
        elif node.op == "output":
            for value in Call(None, (list(torch.fx.node.map_arg(node.args[0], lambda n: values.get(n))),), {}).values():
                if isinstance(value, Named):
                    names.freeze(value.ids, "the net's output")
    names.untouchable |= _fixed(net)
    for place, ids in names.param_axes.items():
        if place[0] in names.untouchable:
            names.freeze(ids, names.untouchable[place[0]])
    return names


def _fixed(net: nn.Module) -> dict[str, str]:
    """The tensors that surgery cannot narrow, with the reason."""
    state = net.state_dict(keep_vars=True)
    owners: dict[int, list[str]] = {}
    for name, tensor in state.items():
        owners.setdefault(id(tensor), []).append(name)
    shared = {name: f"{' and '.join(n)} are one tensor" for n in owners.values() if len(n) > 1 for name in n}
    lost = {name: f"the buffer {name} is not in state_dict" for name, _ in net.named_buffers() if name not in state}
    return shared | lost


def _exported(net: nn.Module, example: Tensor) -> torch.export.ExportedProgram:
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        try:
            return torch.export.export(net, (example,))
        except Exception as error:  # torch._dynamo has dozens of kinds
            fault = reason(error, first_line=True)
            raise ValueError(
                f"torch.export cannot follow this net, so its channels cannot be told apart: {fault}"
            ) from error


def _called(names: ChannelIds, call: Call, node: torch.fx.Node, rules: dict[str, Rule]) -> Any:
    result = node.meta.get("val")
    if call.target is operator.getitem:
        return call.args[0][call.args[1]]
    shape = _shape(result)
    rule = rules.get(call.name.rstrip("_"))
    if result is None:  # a check
        return None
    if rule is not None and shape is not None:
        return rule(names, call, shape)
    if any(isinstance(v, Stored) or bool(v.ids.any()) for v in call.values()) and call.name not in names.unknown:
        names.unknown.append(call.name)
    made = opaque(names, call, shape or (), "leadline has no rule for the operation {}")
    return result if shape is None else made


def _shape(result: Any) -> Any:
    """The shape of a tensor, the list of those of several; None for anything else."""
    if isinstance(result, list | tuple):
        return [_shape(part) or () for part in result]
    return tuple(result.shape) if isinstance(result, Tensor) else None
