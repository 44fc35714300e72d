"""What the nets with names cost, written down: counting them anew needs torch and takes seconds."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import NamedTuple


class Cost(NamedTuple):
    """Trainable values, and multiply-accumulates for one image of the net's own size."""

    parameters: int
    macs: int


@cache
def recorded_costs() -> dict[str, Cost]:
    """The costs of the nets of the zoo and of those that ship, by name; `tests/nn/test_costs.py` counts them anew."""
    text = (resources.files("leadline.nn") / "costs.json").read_text(encoding="utf-8")
    return {name: Cost(**cost) for name, cost in json.loads(text).items()}
