"""Runs and checkpoints side by side: in which options they differ, what they cost and what they reached."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from leadline.compress.cost.count import macs, parameters
from leadline.compress.options import Pruning
from leadline.core.errors import BadCheckpoint
from leadline.core.old_keys import OLD_KEYS, OLD_SPLIT
from leadline.core.report import from_json, grid
from leadline.nn.checkpoint import find, is_run, load, read_provenance
from leadline.pipelines.resume import flat
from leadline.training.state import planned_steps, read_json


@dataclass(frozen=True)
class Facts:
    """What is known of one run or checkpoint; what it does not say is not in it."""

    name: str
    """As it was given."""
    options: Mapping[str, Any]
    """Dotted names, such as `fit.lr`, and their values."""
    metrics: Mapping[str, float]
    """On the validation split, `indoor-metric@1 delta1`, and `loss`."""
    cost: Mapping[str, int]
    """parameters, macs (one image of the net's size) and bytes of the file; empty where no net is saved yet."""
    about: Mapping[str, Any]
    """net, steps, seed, started, commit."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {key: value if key == "name" else dict(value) for key, value in vars(self).items()}


def read_facts(source: str) -> Facts:
    """The facts of a run's folder (of `train`, `distill` or `prune`), of a checkpoint, or of a name that ships.

    BadCheckpoint if it is none of these; TrainingFailed if a file of the run is damaged.
    """
    folder = Path(source)
    if not is_run(folder):
        return _of_net(source)
    if (folder / "plan.json").is_file():
        plan = {key.removeprefix("training."): value for key, value in read_json(folder / "plan.json").items()}
        options = {key: value for key, value in plan.items() if key not in ("requested", "source")}
        about: dict[str, Any] = {"steps": options.get("fit.steps"), "seed": options.get("fit.seed")}
    else:
        said = read_json(folder / "run.json") if (folder / "run.json").is_file() else {}
        options = _options(said | {"fit": said.get("options", {})})
        about = {"steps": options.get("fit.steps"), "seed": options.get("fit.seed")}
        about |= {key: said.get(key) for key in ("started", "commit")}
    if (steps := planned_steps(folder / "state.safetensors")) is not None:  # the record of a run keeps its first length
        options, about = {**options, "fit.steps": steps}, {**about, "steps": steps}
    try:
        net = _of_net(source)
    except BadCheckpoint:  # it has not saved one yet
        net = Facts(source, {}, {}, {}, {})
    metrics = dict(net.metrics)
    if (folder / "report.json").is_file():
        report = from_json(read_json(folder / "report.json", needs=("name",)))
        metrics = {key if key == "loss" else f"{report.protocol} {key}": v for key, v in report.metrics.items()}
    known = {key: value for key, value in about.items() if value is not None}
    return Facts(source, options or net.options, metrics, net.cost, {**net.about, **known})


def _of_net(source: str) -> Facts:
    """The facts of a saved net, by its provenance."""
    net, said = load(source), read_provenance(source)
    options = _options(said.get("pruning", said))
    size, n_bytes = net.spec.preprocess.size, find(source).stat().st_size
    cost = {"parameters": parameters(net), "macs": macs(net, size), "bytes": n_bytes}
    figures = flat(_mapping(said.get("metrics")))
    metrics = {_SPLIT.sub("", key).replace(".", " "): v for key, v in figures.items() if isinstance(v, int | float)}
    context = _mapping(said.get("context"))
    about = {
        "net": net.spec.name,
        "steps": options.get("fit.steps", context.get("steps")),
        "seed": options.get("fit.seed", context.get("seed")),
        "commit": said.get("commit"),
    }
    return Facts(source, options, metrics, cost, {key: value for key, value in about.items() if value is not None})


def _options(said: Mapping[str, Any]) -> dict[str, Any]:
    """The options that a run's record, or a net's provenance, holds, under their flags' names."""
    own = {key: said[key] for key in _PRUNING if key in said}
    training, fit, distillation = (_mapping(said.get(key)) for key in ("training", "fit", "distillation"))
    found = flat({**training, "fit": dict(fit), **distillation, **own})
    return {".".join(OLD_KEYS.get(part, part) for part in key.split(".")): value for key, value in found.items()}


_PRUNING = tuple(one.name for one in fields(Pruning) if one.name not in ("training", "out", "name"))


_SPLIT = re.compile(rf" \((validation split|{OLD_SPLIT})\)")


def _mapping(value: Any) -> Mapping[str, Any]:
    """A JSON object that another version may have written otherwise, or not at all."""
    return value if isinstance(value, dict) else {}


def tables(facts: Sequence[Facts]) -> str:
    """Markdown tables, a column for each of `facts`: the options that differ, what the nets cost, what they reached."""
    found = [_table("option", facts, differing([one.options for one in facts]))]
    found.append(_table("cost", facts, _rows([{**one.about, **one.cost} for one in facts])))
    found.append(_table("validation", facts, _rows([one.metrics for one in facts])))
    return "\n\n".join(filter(None, found)) or "nothing is known of them"


def differing(options: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Names whose values are not the same in all of `options`, and the values in their order; None: it has none."""
    return {name: row for name, row in _rows(options).items() if any(value != row[0] for value in row)}


def _rows(facts: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    names = dict.fromkeys(name for one in facts for name in one)
    return {name: [one.get(name) for one in facts] for name in names}


def _table(title: str, facts: Sequence[Facts], rows: Mapping[str, list[Any]]) -> str:
    if not rows:
        return ""
    return grid([[title, *(one.name for one in facts)], *([name, *map(_cell, row)] for name, row in rows.items())])


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        value = " ".join(map(str, value))
    text = "-" if value is None else str(value)
    return text if len(text) <= MAX_CELL else f"{text[: MAX_CELL - 3]}..."


MAX_CELL = 40
"""Characters of a table's cell; JSON has whole values."""
