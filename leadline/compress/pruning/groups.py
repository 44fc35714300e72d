"""Groups: coupled channels, and the places where each of them lives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from leadline.compress.pruning.symbolic import ParamAxis

Drop = Mapping[str, Iterable[int]]
"""Group's name -> which of its channels go."""


@dataclass(frozen=True)
class Group:
    """Channels that live in the same places, so that only their number is a choice.

    `name` is the module that makes them first. `param_axes[tensor, dim]` is int64 [size, k]: the indices along that dim
    that belong to each channel. Some places `read` the channel (a weight's inputs), others `make` it (a filter). Where
    it may not shrink, `frozen` says why.
    """

    name: str
    size: int
    param_axes: Mapping[ParamAxis, Tensor]
    read: frozenset[ParamAxis]
    make: frozenset[ParamAxis]
    frozen: str | None = None

    @property
    def modules(self) -> list[str]:
        """The modules whose outputs these channels are, each once, in the order in which they run."""
        return list(dict.fromkeys(place[0].rpartition(".")[0] for place in self.param_axes if place in self.make))


@dataclass(frozen=True)
class Channels:
    """All groups of a net, in the order in which it makes them, and the operations that no rule knew."""

    groups: tuple[Group, ...]
    shapes: Mapping[str, tuple[int, ...]]
    unknown: tuple[str, ...] = ()

    @property
    def free(self) -> dict[str, Group]:
        """The groups that may shrink, by name."""
        return {group.name: group for group in self.groups if group.frozen is None}

    def group(self, name: str) -> Group:
        """The group of that name; a ValueError says which there are, or why it may not shrink."""
        found = {group.name: group for group in self.groups}.get(name)
        if found is None:
            raise ValueError(f"there is no group {name!r}; there are {', '.join(g.name for g in self.groups)}")
        if found.frozen is not None:
            raise ValueError(f"the group {name!r} may not shrink: {found.frozen}")
        return found

    def only(self, names: Iterable[str]) -> Channels:
        """The same, but no other groups than these may shrink."""
        wanted = set(names)
        others = (g if g.frozen or g.name in wanted else replace(g, frozen="not asked for") for g in self.groups)
        return replace(self, groups=tuple(others))

    def shapes_with(self, widths: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
        """The shapes of all tensors once the groups in `widths` have so many channels, for costs; nothing is built."""
        shapes = {name: list(shape) for name, shape in self.shapes.items()}
        for name, width in widths.items():
            group = self.group(name)
            if not 1 <= width <= group.size:
                raise ValueError(f"the group {name!r} has {group.size} channels; {width} are not among 1 to that")
            for (tensor, dim), indices in group.param_axes.items():
                shapes[tensor][dim] -= (group.size - width) * indices.shape[1]
        return {name: tuple(shape) for name, shape in shapes.items()}

    def explained(self) -> list[tuple[str, str, str, str]]:
        """A row for each group: its name, channels, what it ties, and whether it may shrink."""
        rows = []
        for group in self.groups:
            others = [module for module in group.modules if module != group.name]
            tied = ", ".join(others) or "nothing else"
            rows.append((group.name, str(group.size), tied, group.frozen or "free"))
        return rows
