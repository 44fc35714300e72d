"""`leadline compare`."""

from __future__ import annotations

from typing import Annotated

from tyro.conf import arg

from leadline.cli.command import print_json
from leadline.cli.short_help import short_help


@short_help(
    {"Flags": "--json"},
    "leadline compare runs/first runs/second",
    "leadline compare fastdepth runs/half.safetensors --json",
)
def compare(models: Annotated[tuple[str, ...], arg(metavar="RUN|FILE|NAME ...")], /, *, json: bool = False) -> int:
    """Show runs side by side: the options that differ, cost, seed, date and metrics.

    Args:
        models: folders of `leadline train`, `distill` or `prune`, checkpoints, or nets that ship
        json: print one JSON object, with all options
    """
    if len(models) < 2:
        raise ValueError("one run alone cannot be compared; give two or more")
    from leadline.pipelines.compare import differing, read_facts, tables

    facts = [read_facts(model) for model in models]
    if json:
        print_json({"runs": [one.to_json() for one in facts], "differing": differing([one.options for one in facts])})
    else:
        print(tables(facts))
    return 0
