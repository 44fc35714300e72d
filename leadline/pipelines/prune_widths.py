"""Pruning to nested widths: filters in order, the widths that fit the budget, and the net with all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from leadline.compress.cost.count import macs_cost, shapes_of
from leadline.compress.dynamic.nested import in_order, measured_heats, widths_for, with_norms
from leadline.compress.options import Pruning
from leadline.compress.pruning.groups import Channels
from leadline.compress.pruning.trace import traced
from leadline.core.errors import BadCheckpoint
from leadline.core.text import figure
from leadline.data.batch import Batch
from leadline.nn.build import Net
from leadline.nn.checkpoint import load, read_beside, read_provenance

_RATIOS = tuple(i / 40 for i in range(1, 41))


def nested(
    net: Net, channels: Channels, options: Pruning, batches: Iterable[Batch], most: float, say: Callable[[str], None]
) -> tuple[Net, dict[str, Any]]:
    """The net with its filters in order, and the facts: `width_levels`, the narrowest first, and `cost`, the least."""
    heats = measured_heats(net.eval(), channels, islice(batches, options.n_batches), _RATIOS)
    cost = macs_cost(net, net.spec.preprocess.size)
    whole, n = cost(shapes_of(net)), options.nested.levels
    limits = [whole * (most / whole) ** ((n - i) / n) for i in range(n)]
    found = []
    for i, limit in enumerate(limits, 1):
        widths, ratio = widths_for(channels, heats, cost, limit, options.multiple)
        found.append(widths)
        now = cost(channels.shapes_with(widths))
        say(f"width {i} of {n}: {figure(now)} MACs, {now / whole:.0%} of the whole net's, with ratio {ratio}")
    facts = {"width_levels": found, "cost": cost(channels.shapes_with(found[0]))}
    return in_order(net, channels, heats.heat), facts


def load_nested(file: Path | str) -> list[Net]:
    """The nets of a file of nested widths, the narrowest first, the whole net last.

    ValueError for a checkpoint that has no widths, BadCheckpoint for a damaged one.
    """
    net, widths = load(file), widths_of(file)
    if not widths:
        raise ValueError(
            f"{file} has one width only; `leadline prune {file} --method widths --budget macs=0.4x` makes a file that "
            "can run narrower"
        )
    try:
        return [*with_norms(net, traced(net), widths, read_beside(file)), net]
    except (ValueError, KeyError) as error:
        raise BadCheckpoint(f"{file} does not fit the widths that it names: {error}") from error


def widths_of(file: Path | str) -> list[Mapping[str, int]]:
    """The widths in a checkpoint, the narrowest first; empty for a net of one width."""
    found = read_provenance(file).get("pruning", {}).get("width_levels", [])
    return found if isinstance(found, list) and all(isinstance(one, dict) for one in found) else []
