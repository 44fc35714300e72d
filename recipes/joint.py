"""Depth and labels from one net, against two nets: NYU's labelled images, from one start and with equal steps.

    python -m recipes.joint --data DATA --out runs/joint
    python -m recipes.joint --data DATA --out runs/joint --resume --test

Three nets start from the weights of `fastdepth_small` and see the same images in the same order: one gives depth, one
the 40 classes, one both. Decide on the validation split, such as about `--label-weight`; `--test` measures the test
part, too, once. `--resume` keeps what is finished, and goes on with what was cut off.

OUT/joint.json has a report for each net (accuracy, MACs, milliseconds in onnx on one thread and on two, measured in
turns), and what one net costs and loses against two.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from leadline.cli.train import run_training as train
from leadline.compress.cost.count import macs, parameters
from leadline.core.report import Report, table
from leadline.core.spec import Head
from leadline.core.storage import write_atomically
from leadline.core.tasks import NYU40
from leadline.core.timing import measure
from leadline.data.dataset import Dataset, hold_out
from leadline.data.layouts.detect import open_dataset
from leadline.data.options import View
from leadline.evaluation.evaluate import evaluate
from leadline.nn.checkpoint import load
from leadline.predict.predictor import Predictor, load_predictor
from leadline.runtime.export import export
from leadline.training.options import FitOptions, JointLoss, Training

STEPS = 4000
"""Steps of 8 images: 45 passes over the labelled images that are not kept for validation."""

DEPTH_LOSS = ("log_l1", "log_gradient:0.3")
MOST_TIME, MOST_DELTA1, MOST_MIOU = 0.65, 0.01, 0.015
"""What one net may take of the time of two, and lose against the net of one task."""
THREADS = (1, 2)


def runs(
    data: Path,
    out: Path,
    steps: int = STEPS,
    seed: int = 0,
    size: tuple[int, int] = (224, 224),
    lr: float = 1e-3,
    label_weight: float = 1.0,
) -> dict[str, Training]:
    """The three runs, which differ in the head and the loss alone."""
    fit = FitOptions(
        steps=steps, optimizer="adamw", lr=lr, weight_decay=0.01, warmup=max(1, steps // 20), clip=1.0,
        freeze_bn_after=0.9, save_every=max(1, steps // 8), log_every=100, seed=seed,
    )  # fmt: skip
    depth = Training(
        data=(f"{data / 'nyu'}:8",),
        out=out / "depth",
        model="fastdepth_small",
        pretrained=True,
        batch=8,
        loss=DEPTH_LOSS,
        view=View(size=size, zoom=(1.0, 1.35), stretch=1.15, colour_shift=0.1),
        fit=fit,
        licences=("NYU Depth v2 labelled frames: research use only",),
    )
    labels = replace(depth, out=out / "labels", head="labels", loss=("cross_entropy",))
    loss = JointLoss(depth=DEPTH_LOSS, label_weight=label_weight)
    both = replace(depth, out=out / "joint", head="joint", loss=("joint",), joint=loss)
    return {"depth": depth, "labels": labels, "joint": both}


def trained(run: Training, resume: bool) -> Path:
    """The checkpoint of a run, made now unless it is finished and may be kept."""
    kept = [*run.out.glob("fastdepth_small*.safetensors")]
    if kept and not resume:
        raise SystemExit(f"{run.out} holds a finished run: give --resume to keep it, or another --out")
    if not kept:
        train(replace(run, resume=resume and (run.out / "state.safetensors").exists()))
        kept = [*run.out.glob("fastdepth_small*.safetensors")]
    context = json.loads((run.out / "report.json").read_text())["context"]
    if context["steps"] != run.fit.steps:
        raise SystemExit(f"{run.out} was made with --steps {context['steps']}: give that, or another --out")
    return kept[0]


def measured(task: str, predictor: Predictor, data: Mapping[str, Dataset]) -> dict[str, float]:
    """delta1, abs_rel and rmse by `nyu-eigen@1`, miou and pixel_accuracy by `miou@1`: what the net of the task gives.

    `data` are the same images with depth and with labels.
    """
    found: dict[str, float] = {}
    if task != "labels":
        depth = predictor if task == "depth" else depth_alone(predictor)
        metrics = evaluate(depth, data["depth"], "nyu-eigen@1").metrics
        found |= {name: metrics[name] for name in ("delta1", "abs_rel", "rmse")}
    if task != "depth":
        labels = predictor.labels if task == "labels" else (lambda image: predictor.joint(image).labels)
        found |= evaluate(labels, data["labels"], "miou@1").metrics
    return found


def depth_alone(predictor: Predictor) -> Predictor:
    """A net of both as one of depth, whose scores nobody looks at."""
    return replace(predictor, runner=lambda x: predictor.runner(x)[:, :1], head=Head())


def parts(folder: Path, val_every: int, test: bool) -> dict[str, dict[str, Dataset]]:
    """The parts on which the nets are measured, each with depth and with labels."""

    def both(made: Callable[[str], Dataset]) -> dict[str, Dataset]:
        return {items: made(items) for items in ("depth", "labels")}

    found = {"validation": both(lambda items: hold_out(open_dataset(folder, "train", items=items), val_every)[1])}
    if test:
        found["test"] = both(lambda items: open_dataset(folder, "test", items=items))
    return found


def times(files: Mapping[str, Path], size: tuple[int, int]) -> dict[str, dict[str, float]]:
    """The median milliseconds of each net's ONNX file for each number of threads, all in turns."""
    image = np.random.default_rng(0).random((1, 3, *size), np.float32)
    made = {task: export(path, "onnx", path.with_suffix(".onnx")) for task, path in files.items()}
    found: dict[str, dict[str, float]] = {task: {} for task in files}
    for threads in THREADS:  # one after the other: pools of both would disturb each other
        calls = {task: partial(load_predictor(path, threads=threads).runner, image) for task, path in made.items()}
        for task, taken in measure(calls).items():
            found[task][f"onnx_{threads}_threads"] = taken.median
    return found


def compared(reports: Mapping[str, Report], part: str) -> dict[str, float | bool]:
    """What one net takes of the two nets' MACs and time, what each task loses, and whether that is little enough."""
    depth, labels, both = (reports[name] for name in ("depth", "labels", "joint"))
    facts: dict[str, float | bool] = {"macs_ratio": both.cost["macs"] / (depth.cost["macs"] + labels.cost["macs"])}
    for name, ms in both.latency_ms.items():
        facts[f"{name}_ratio"] = ms / (depth.latency_ms[name] + labels.latency_ms[name])
    for metric, single in (("delta1", depth), ("miou", labels)):
        facts[f"{metric}_lost"] = single.metrics[f"{part}_{metric}"] - both.metrics[f"{part}_{metric}"]
    slowest = max(value for name, value in facts.items() if name.startswith("onnx"))
    facts["is_worth_it"] = bool(
        slowest <= MOST_TIME and facts["delta1_lost"] <= MOST_DELTA1 and facts["miou_lost"] <= MOST_MIOU
    )
    return facts


def main(
    *,
    data: Path,
    out: Path,
    steps: int = STEPS,
    size: tuple[int, int] = (224, 224),
    lr: float = 1e-3,
    label_weight: float = 1.0,
    seed: int = 0,
    only: tuple[str, ...] = (),
    test: bool = False,
    resume: bool = False,
) -> dict[str, Any] | None:
    """Train what is not trained yet, measure, and write OUT/joint.json. Returns what it holds.

    Args:
        data: the folder that holds nyu
        out: the folder of the runs
        steps: length of each run, batches of 8
        size: height and width of the nets' input
        lr: the highest learning rate
        label_weight: of the cross-entropy beside the depth's loss; choose it on the validation split
        seed: of batches, and of the layer of the classes
        only: depth, labels or joint: train these alone, and measure nothing unless all are there
        test: measure the test part, too
        resume: keep finished runs, go on with one that was cut off
    """
    table_of_runs = runs(data, out, steps, seed, size, lr, label_weight)
    if unknown := [name for name in only if name not in table_of_runs]:
        raise SystemExit(f"the run {unknown[0]!r} is unknown; known: {', '.join(table_of_runs)}")
    files = {task: trained(run, resume) for task, run in table_of_runs.items() if not only or task in only}
    if len(files) < len(table_of_runs):
        return None
    sets, taken, reports = parts(data / "nyu", table_of_runs["depth"].val_every, test), times(files, size), {}
    for task, file in files.items():
        net, predictor = load(file), load_predictor(file)
        found = {part: measured(task, predictor, own) for part, own in sets.items()}
        metrics = {f"{part}_{name}": value for part, figures in found.items() for name, value in figures.items()}
        cost = {"macs": macs(net, size), "parameters": parameters(net), "bytes": file.stat().st_size}
        context = {
            "data": "NYU Depth v2", "classes": len(NYU40), "size": list(size), "seed": seed, "steps": steps, "lr": lr,
            "label_weight": label_weight, "protocols": ["nyu-eigen@1", "miou@1"],
            "n": {part: len(own["depth"]) for part, own in sets.items()},
        }  # fmt: skip
        reports[task] = Report(net.spec.name, metrics=metrics, cost=cost, latency_ms=taken[task], context=context)
    result = {
        "reports": {task: report.to_json() for task, report in reports.items()},
        "one net against two": {part: compared(reports, part) for part in sets},
    }
    write_atomically(out / "joint.json", json.dumps(result, indent=1).encode())
    print(table([*reports.values()]))
    print(json.dumps(result["one net against two"], indent=1))
    return result


if __name__ == "__main__":
    tyro.cli(main)
