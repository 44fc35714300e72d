"""The options of a run as they were given, kept in its folder: `--resume` takes them from there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from leadline.core.errors import TrainingFailed
from leadline.core.spec import to_json
from leadline.pipelines.training_data import Say
from leadline.training.optim import learning_rate
from leadline.training.options import FitOptions
from leadline.training.state import planned_steps, read_json

_OF_THE_CALL = ("out", "resume")
"""What belongs to one call, and not to the run: a run's folder may be moved."""


def requested(**options: Any) -> dict[str, Any]:
    """The options dataclasses of a run by their names (training, distillation, pruning), as JSON; None is left out."""
    plain = {name: to_json(value) for name, value in options.items() if value is not None}
    for part in (*plain.values(), plain.get("pruning", {}).get("training", {})):
        for key in _OF_THE_CALL:
            part.pop(key, None)
    return dict(json.loads(json.dumps(plain)))


def read_requested(folder: Path) -> dict[str, Any] | None:
    """What `requested` gave for the run in `folder`; None where no run of this version has begun there. A damaged file
    is a TrainingFailed.
    """
    for name in ("plan.json", "run.json"):  # of a pruning run, of a training
        if (path := folder / name).is_file() and (found := read_json(path).get("requested")) is not None:
            if not isinstance(found, dict) or not all(isinstance(part, dict) for part in found.values()):
                raise TrainingFailed(f"{path} is damaged (requested): give all options again, or another --out")
            return found
    return None


def flat(options: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Nested options under dotted names, such as `fit.lr`; `before` is put before each."""
    found: dict[str, Any] = {}
    for key, value in options.items():
        found |= flat(value, f"{before}{key}.") if isinstance(value, dict) else {f"{before}{key}": value}
    return found


def tell_lengthened(folder: Path, options: FitOptions, say: Say) -> None:
    """Say so if the run that was stopped in `folder` had fewer steps than `options`, and what that changes."""
    before = planned_steps(folder / "state.safetensors")
    if before is None or before >= options.steps:
        return
    was, now = (learning_rate(FitOptions(**{**vars(options), "steps": n}), before - 1) for n in (before, options.steps))
    rate = f"at step {before} it is {now:.3g} where it was {was:.3g}" if was != now else "it goes on as it was"
    say(
        f"the run is lengthened from {before} to {options.steps} steps: the learning rate ({options.schedule}) and the "
        f"batch norms follow the new length; {rate}"
    )
