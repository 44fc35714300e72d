"""The rows of `recipes.filters_layers_gates`: each is trained, or pruned and trained, and measured once."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from leadline.cli.command import progress
from leadline.cli.say import inform
from leadline.cli.train import run_training
from leadline.core.errors import BudgetInfeasible
from leadline.core.storage import write_atomically
from leadline.nn import zoo
from leadline.nn.build import Net, build
from leadline.nn.checkpoint import find, load, read_provenance
from leadline.pipelines.prune import run as prune
from recipes.filters_measure import accuracies, costs, here
from recipes.filters_plan import (
    BASELINE,
    HANDCRAFTED,
    Learning,
    Row,
    Study,
    parts_of,
    pruning_of,
    smaller,
    training_of,
    with_length,
)

_WARM_UP = 0.1
"""Part of a training from nothing over which the learning rate rises."""
_PRUNED = ("expected_macs", "ratio", "kept_by_masks", "rounds")
"""What of a pruned checkpoint's provenance goes into its row."""


def run_baseline(
    study: Study, data: Path, out: Path, source: Path | None, how: Learning, *, resume: bool
) -> dict[str, Any]:
    """The row of the whole net, trained here or taken from `source`."""
    folder = out / study.net / f"{BASELINE}-{how.seed}"
    row, file, begun = Row(method=BASELINE), folder / f"{study.net}.safetensors", time.monotonic()
    if resume and (known := _known(folder)) is not None:
        return known
    facts = {"seed": how.seed, "precision": how.precision}
    if source is not None:
        found = find(str(source))
        if (given := load(found).spec.encoder.name) != (own := zoo.spec(study.net).encoder.name):
            raise SystemExit(f"{source} has the encoder {given}, and {study.net} is {own}; give a checkpoint of that")
        write_atomically(file, found.read_bytes())
        fit = read_provenance(file).get("fit", {})
        facts |= {"precision": fit.get("precision"), "steps": fit.get("steps"), "seed": fit.get("seed", how.seed)}
        return _measured(study, row, folder, load(file), data, facts | {"given": True})
    fit = with_length(
        study.start, study, len(parts_of(study, data)[0]), how.epochs or study.start_epochs, how.steps, _WARM_UP
    )
    training = training_of(study, data, folder, fit, how)
    net, _ = run_training(replace(training, resume=resume and (folder / "state.safetensors").exists()))
    return _measured(study, row, folder, net, data, facts | {"steps": fit.steps} | _spent(begun, resume))


def run_row(study: Study, row: Row, data: Path, out: Path, how: Learning, *, resume: bool) -> dict[str, Any]:
    """A row: the baseline pruned to the budget and trained, or a smaller net from nothing."""
    folder, begun = out / study.net / f"{row.name}-{how.seed}", time.monotonic()
    if resume and (known := _known(folder)) is not None:
        return known
    learned, before = len(parts_of(study, data)[0]), folder.exists()
    facts: dict[str, Any] = {"seed": how.seed, "precision": how.precision}
    if row.method == HANDCRAFTED:
        spec = smaller(study, row.budget)
        fit = with_length(study.start, study, learned, how.epochs or study.start_epochs, how.steps, _WARM_UP)
        training = training_of(study, data, folder, fit, how)
        made = None if spec.name in zoo.names(None) else build(spec, seed=how.seed)
        resume = resume and (folder / "state.safetensors").exists()
        net, _ = run_training(replace(training, model=spec.name, resume=resume), made)
        return _measured(study, row, folder, net, data, facts | {"steps": fit.steps} | _spent(begun, before))
    fit = with_length(study.fit, study, learned, how.epochs or study.epochs, how.steps)
    training = training_of(study, data, folder, fit, how)
    file = folder / f"{study.net}.safetensors"
    options = pruning_of(row, training, net_file(study, out), file)
    try:
        if row.method == "layers":
            shape = replace(options, out=folder / "shape.safetensors", finetune=False)
            removed = prune(shape, resume=resume, say=inform, progress=progress).after.spec.skipped
            if (twin := _twin(out / study.net, folder, removed, facts | {"steps": fit.steps})) is not None:
                return _measured_as(twin, study, row, folder, facts | _spent(begun, before))
            at = file.with_suffix("") / "pruned.safetensors"
            if not at.exists():  # the same blocks again, whatever a second measurement would say
                write_atomically(at, (folder / "shape" / "pruned.safetensors").read_bytes())
        pruned = prune(options, resume=resume, say=inform, progress=progress)
    except BudgetInfeasible as error:
        return _written(folder, _named(study, row) | facts | here() | {"infeasible": str(error)})
    provenance = read_provenance(file)["pruning"]
    facts |= {key: provenance[key] for key in _PRUNED if key in provenance}
    facts |= {"steps": fit.steps, "removed": sorted(pruned.after.spec.skipped), **_spent(begun, before)}
    if pruned.narrower:
        facts["widths"] = [costs(net, study, data) | accuracies(net, study, data) for net in pruned.narrower]
    return _measured(study, row, folder, pruned.after, data, facts)


def net_file(study: Study, out: Path) -> Path:
    """The baseline's checkpoint; without one the program ends with what makes it."""
    file = out / study.net / f"{BASELINE}-0" / f"{study.net}.safetensors"
    if not file.exists():
        raise SystemExit(f"{file} is not there; `baseline {study.net}` makes it, or takes a finished one with --from")
    return file


def _measured(study: Study, row: Row, folder: Path, net: Net, data: Path, facts: dict[str, Any]) -> dict[str, Any]:
    """What is known of a finished row, written into its folder."""
    own = {"file": f"{net.spec.name}.safetensors", "name": net.spec.name}
    known = {**_named(study, row), **own, **costs(net, study, data), **facts, **here(), **accuracies(net, study, data)}
    return _written(folder, known)


def _measured_as(twin: Path, study: Study, row: Row, folder: Path, facts: dict[str, Any]) -> dict[str, Any]:
    """A row whose net another one has trained already: it lost the same blocks, and batches and length are the same."""
    known = json.loads((twin / "row.json").read_text("utf-8"))
    return _written(folder, known | _named(study, row) | facts | here() | {"file": "", "same_as": twin.name})


def _twin(table: Path, own: Path, removed: tuple[str, ...], how: dict[str, Any]) -> Path | None:
    """The folder of a finished row of layers that lost just these blocks and learned in the same way, or None."""
    for folder in sorted(table.glob(f"layers-*-{how['seed']}")):
        known = _known(folder)
        if known is None or folder == own or not known.get("file"):
            continue
        if known["removed"] == sorted(removed) and all(known[key] == value for key, value in how.items()):
            return folder
    return None


def _named(study: Study, row: Row) -> dict[str, Any]:
    """Which row it is, and the command that makes it."""
    words = [row.method, row.budget, *(("--criterion", row.criterion) if row.criterion else ())]
    what = f"{BASELINE} {study.net}" if row.method == BASELINE else f"row {study.net} {' '.join(words)}"
    command = f"python -m recipes.filters_layers_gates {what} --data DATA --out OUT"
    named = {"net": study.net, "row": row.name, "method": row.method, "criterion": row.criterion, "budget": row.budget}
    return {**named, "protocol": study.protocol, "metric": study.metric, "command": command}


def _spent(begun: float, resumed: bool) -> dict[str, Any]:
    """Seconds of work of this call; of a run that was cut off before, the last call's alone."""
    return {"seconds": round(time.monotonic() - begun, 1), "resumed": resumed}


def _known(folder: Path) -> dict[str, Any] | None:
    path = folder / "row.json"
    found: dict[str, Any] | None = json.loads(path.read_text("utf-8")) if path.exists() else None
    return found


def _written(folder: Path, known: dict[str, Any]) -> dict[str, Any]:
    write_atomically(folder / "row.json", json.dumps(known, indent=1).encode())
    return known
