"""LiteDepth's ablation on NYU Depth v2: the R2 crop, each loss, fixed against learnt weights, several seeds each.

    python -m recipes.ablations --data DATA --out runs/ablations

Each run is short (see STEPS), so that the rows compare with each other and with nothing else. Decide on the validation
split (75 training images that no run learns from); the test part is there to report. `--resume` skips what is finished
and goes on with what was cut off.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import tyro

from leadline.cli.train import run_training as train
from leadline.core.storage import write_atomically
from leadline.data.dataset import Dataset, hold_out
from leadline.data.layouts.detect import open_dataset
from leadline.evaluation.evaluate import evaluate_all
from leadline.predict.predictor import load_predictor
from leadline.training.options import Training
from recipes.litedepth import DYNAMIC, HALF, LOSSES, published

STEPS = 1200
"""Steps of 16 images: 27 epochs of NYU's labelled training images, 2 to 3 minutes on two cores."""

PROTOCOLS = ("nyu-eigen@1", "mai2022@1")
COLUMNS = {"delta1": "nyu-eigen@1", "abs_rel": "nyu-eigen@1", "rmse": "nyu-eigen@1", "si_rmse": "mai2022@1"}
ONES = tuple(f"{loss.partition(':')[0]}:1{'@map' if '@' in loss else ''}" for loss in LOSSES)


def runs(data: Path, out: Path, steps: int, seed: int) -> dict[str, Training]:
    """The table of the ablation: what each run is called, and the run."""
    whole = published(data, out, out, seed)
    fit = replace(whole.fit, steps=steps, warmup=steps // 10, save_every=max(1, steps // 4), log_every=100)
    whole = replace(whole, data=(f"{data / 'nyu'}:16",), batch=16, epochs=None, r2crop=HALF, fit=fit)
    names = [loss.partition(":")[0] for loss in LOSSES]
    table = {"all": whole, "no crop": replace(whole, r2crop=replace(HALF, crop=False))}
    for i, name in enumerate(names):
        table[f"without {name}"] = replace(whole, loss=LOSSES[:i] + LOSSES[i + 1 :])
    table["sig only"] = replace(whole, loss=LOSSES[:1])
    table["dynamic"] = replace(whole, loss=DYNAMIC, weighting="dynamic")
    table["all weights 1"] = replace(whole, loss=ONES)
    table["all weights 1, dynamic"] = replace(whole, loss=ONES, weighting="dynamic")
    folders = {name: out / f"{name.replace(',', '').replace(' ', '_')}-{seed}" for name in table}
    return {name: replace(run, out=folders[name]) for name, run in table.items()}


def finish(run: Training, resume: bool) -> dict[str, Any]:
    """The figures of one run, from its folder if it is finished, else after training it."""
    path = run.out / "ablation.json"
    if path.exists():
        if not resume:
            raise SystemExit(f"{run.out} holds a finished run: give --resume to keep it, or another --out")
        found: dict[str, Any] = json.loads(path.read_text())
        if found["steps"] != run.fit.steps:
            raise SystemExit(f"{run.out} was made with --steps {found['steps']}: give that, or another --out")
        return found
    net, _ = train(replace(run, resume=resume and (run.out / "state.safetensors").exists()))
    predict = load_predictor(run.out / f"{net.spec.name}.safetensors")
    folder = run.data[0].rpartition(":")[0]
    parts = {
        "validation": hold_out(open_dataset(folder, "train"), run.val_every)[1],
        "test": open_dataset(folder, "test"),
    }
    figures = {part: measured(predict, data) for part, data in parts.items()}
    result = {"steps": run.fit.steps, "n": {part: len(data) for part, data in parts.items()}, **figures}
    write_atomically(path, json.dumps(result, indent=2).encode())
    return result


def measured(predict: Any, data: Dataset) -> dict[str, float]:
    """The columns of the table."""
    reports = {report.protocol: report.metrics for report in evaluate_all(predict, data, PROTOCOLS)}
    return {column: reports[protocol][column] for column, protocol in COLUMNS.items()}


def spread(values: Sequence[float]) -> str:
    """Mean +- sample standard deviation; of one value only itself."""
    mean = f"{statistics.mean(values):.3f}"
    return f"{mean} ± {statistics.stdev(values):.3f}" if len(values) > 1 else mean


def markdown(found: Mapping[str, Sequence[Mapping[str, Any]]], steps: int) -> str:
    """The table, with what it is a table of."""
    some = next(iter(found.values()))[0]
    n, under = some["n"], ", ".join(f"{column} under `{protocol}`" for column, protocol in COLUMNS.items())
    lines = [
        f"`python -m recipes.ablations --steps {steps}`: {steps} steps of 16 images; mean ± sample standard deviation "
        f"over the seeds. {under}; {n['validation']} images of the validation split, {n['test']} of the test part.",
        "",
        f"| run | seeds | validation split: delta1 | {' | '.join(f'test: {column}' for column in COLUMNS)} |",
        f"|---|---|---|{'---|' * len(COLUMNS)}",
    ]
    for name, results in found.items():
        cells = [spread([r["validation"]["delta1"] for r in results])]
        cells += [spread([r["test"][column] for r in results]) for column in COLUMNS]
        lines.append(f"| {name} | {len(results)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def plot(found: Mapping[str, Sequence[Mapping[str, Any]]], path: Path) -> None:
    """delta1 of each run on both parts: every seed a dot, mean and sample standard deviation as a bar."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 0.45 * len(found) + 1.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for offset, part, colour in ((-0.15, "validation", "tab:gray"), (0.15, "test", "tab:blue")):
        for row, results in enumerate(found.values()):
            values = [r[part]["delta1"] for r in results]
            error = statistics.stdev(values) if len(values) > 1 else 0.0
            label = f"{part} part" if row == 0 else None
            mean, y = statistics.mean(values), row + offset
            axes.errorbar(mean, y, xerr=error, fmt="o", color=colour, capsize=3, label=label)
            axes.plot(values, [y] * len(values), "|", color=colour)
    axes.set_yticks(range(len(found)), list(found))
    axes.invert_yaxis()
    axes.set_xlabel("delta1 under nyu-eigen@1 (higher is better)")
    axes.grid(axis="x", alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=110)


def main(
    *, data: Path, out: Path, steps: int = STEPS, seeds: int = 3, only: tuple[str, ...] = (), resume: bool = False
) -> str:
    """Run the ablation; the table goes to OUT/table.md, the picture to OUT/ablation.png.

    Args:
        data: the folder that holds nyu
        out: the folder of the runs
        steps: length of each run
        seeds: how many seeds of each
        only: names of runs, as in the table; by default all
        resume: keep finished runs, go on with one that was cut off
    """
    known = list(runs(data, out, steps, 0))
    if unknown := [name for name in only if name not in known]:
        raise SystemExit(f"the run {unknown[0]!r} is unknown; known: {', '.join(known)}")
    if seeds < 1:
        raise SystemExit(f"seeds is {seeds}; at least 1 is needed")
    found: dict[str, list[dict[str, Any]]] = {}
    for seed in range(seeds):  # a seed of all before the next: a table can be read early
        for name, run in runs(data, out, steps, seed).items():
            if not only or name in only:
                found.setdefault(name, []).append(finish(run, resume))
                out.mkdir(parents=True, exist_ok=True)
                (out / "table.md").write_text(markdown(found, steps))
    plot(found, out / "ablation.png")
    return (out / "table.md").read_text()


if __name__ == "__main__":
    print(tyro.cli(main))
