"""Complete runs: plain functions that return what `leadline train` takes. `python -m recipes.fastdepth --help`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from leadline.training.options import Training


def start(runs: Mapping[str, Callable[..., Training]], name: str, *given: Any, resume: bool) -> None:
    """Train what the function called `name` makes of `given`; an unknown name ends the program with those known."""
    from leadline.cli.train import run_training as train

    if name not in runs:
        raise SystemExit(f"the recipe {name!r} is unknown; known: {', '.join(runs)}")
    train(replace(runs[name](*given), resume=resume))
