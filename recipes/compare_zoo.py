"""The whole zoo trained alike on NYU Depth v2, and measured: MACs and latency against accuracy.

    python -m recipes.compare_zoo --data DATA --out runs/alike

Every net gets the same images, as many of them, the same loss and schedule, at the input size of its publication. The
stereo nets get half of theirs (NYU is not wide) and a tenth of the learning rate (they have no batch norm). Encoders
for which ImageNet weights are at hand start from them, and the table says which do: that is worth more than any
difference between decoders. `--resume` skips what is finished.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import tyro

from leadline.bench.plot import front
from leadline.bench.rows import BenchOptions
from leadline.bench.run import bench
from leadline.cli.train import run_training as train
from leadline.compress.cost.count import macs, parameters
from leadline.core.storage import write_atomically
from leadline.data.layouts.detect import open_dataset
from leadline.data.options import View
from leadline.evaluation.evaluate import evaluate
from leadline.nn import zoo
from leadline.nn.build import build, calibrated
from leadline.nn.checkpoint import load, save
from leadline.predict.predictor import predictor_of
from leadline.training.options import FitOptions, Training

INIT = {
    "fastdepth": "mobilenet_v1_1.0_224_quant_embedding_extractor.tflite",
    "boosting_student": "mobilenetv2_imagenet.safetensors",
}
"""Files in DATA/init that hold a net's encoder."""

SIZES = {"monodepth_vgg": (128, 256), "monodepth_pruned": (128, 256)}
"""Input sizes that are not the Spec's."""

METRES = 0.2
"""The stereo nets give metres through this focal length x baseline: from 0.67 m, their largest disparity, upwards."""

PROTOCOL = "nyu-eigen@1"


def runs(data: Path, out: Path, steps: int, seed: int) -> dict[str, Training]:
    """A run for each net of the zoo."""
    fit = FitOptions(
        steps=steps, optimizer="adamw", lr=2e-3, weight_decay=0.01, warmup=steps // 10, clip=1.0, freeze_bn_after=0.9,
        save_every=max(1, steps // 4), log_every=100, seed=seed,
    )  # fmt: skip
    table = {}
    for name in zoo.names():
        size = SIZES.get(name, zoo.spec(name).preprocess.size)
        table[name] = Training(
            data=(f"{data / 'nyu'}:8",),
            out=out / f"{name}-{seed}",
            model=name,
            init=data / "init" / INIT[name] if name in INIT else None,
            batch=8,
            loss=("log_l1", "log_gradient:0.3"),
            view=View(size=size, zoom=(1.0, 1.35), stretch=1.15, colour_shift=0.1),
            # 31 million weights without a batch norm do not stand the others' learning rate
            fit=replace(fit, lr=2e-4) if name in SIZES else fit,
            protocol=PROTOCOL,
        )
    return table


def started(run: Training) -> Training:
    """The run, a stereo net with the head that gives metres."""
    if run.model not in SIZES:
        return run
    net = calibrated(build(zoo.spec(run.model), seed=run.fit.seed), METRES, run.view.size)
    return replace(run, model=str(save(net, run.out / "start" / f"{run.model}.safetensors")))


def measured(name: str, run: Training, data: Path) -> dict[str, Any]:
    """The row of one net: cost, accuracy, and the latency of its fastest float32 file."""
    file = run.out / f"{zoo.spec(name).name}.safetensors"
    net = load(file)
    size = net.spec.preprocess.size
    # without data: the files agree with PyTorch far beyond the digits that are shown, and one of them is enough
    options = BenchOptions(runtimes=("onnx", "openvino"), size=size, end_to_end=False, n=50)
    rows = [r for r in bench([str(file)], options).rows if "error" not in r]
    best = min((r for r in rows if r["runtime"] != "eager"), key=lambda r: r["latency_ms"]["median"])
    return {
        "net": name,
        "imagenet": run.init is not None,
        "size": list(size),
        "parameters": parameters(net),
        "macs": macs(net, size),
        "runtime": best["runtime"],
        "latency_ms": best["latency_ms"],
        "metrics": dict(evaluate(predictor_of(net), open_dataset(data / "nyu", "test"), PROTOCOL, name=name).metrics),
        "samples": run.fit.steps * run.batch,
    }


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table, cheapest first."""
    lines = [
        "| net | ImageNet encoder | input | parameters | GMAC | ms (runtime) | delta1 | abs_rel | RMSE m |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda row: float(row["macs"])):
        m, ms = row["metrics"], row["latency_ms"]["median"]
        lines.append(
            f"| `{row['net']}` | {'yes' if row['imagenet'] else 'no'} | {row['size'][0]}x{row['size'][1]} "
            f"| {row['parameters'] / 1e6:.2f} M | {row['macs'] / 1e9:.3f} | {ms:.2f} ({row['runtime']}) "
            f"| {m['delta1']:.3f} | {m['abs_rel']:.3f} | {m['rmse']:.3f} |"
        )
    return "\n".join(lines) + "\n"


def plot(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """MACs and latency to the right, delta1 upwards; the line joins the nets that no other one beats in both."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.8), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    for axes, words, cost in zip(
        figure.subplots(1, 2, sharey=True),
        ("multiply-accumulates, billions", "latency of the fastest float32 file, ms"),
        ([row["macs"] / 1e9 for row in rows], [row["latency_ms"]["median"] for row in rows]),
        strict=True,
    ):
        values = [row["metrics"]["delta1"] for row in rows]
        points = list(zip(cost, values, strict=True))
        axes.plot(*zip(*(points[i] for i in front(points, True)), strict=True), color="#999999", zorder=1)
        for row, (x, y) in zip(rows, points, strict=True):
            axes.scatter(x, y, s=60, color="#0072b2" if row["imagenet"] else "#d55e00", zorder=2)
            axes.annotate(row["net"], (x, y), (5, 5), textcoords="offset points", fontsize=8)
        axes.set_xscale("log")
        axes.set_xlabel(words)
        axes.margins(x=0.3)
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel(f"delta1, NYU test part, {PROTOCOL}")
    words = f"The zoo trained alike, {rows[0]['samples']} images each (blue: encoder from ImageNet)"
    figure.suptitle(words, fontsize=10)
    figure.savefig(path)


def main(
    *, data: Path, out: Path, steps: int = 1500, seed: int = 0, only: tuple[str, ...] = (), resume: bool = False
) -> None:
    """Train and measure; the table goes to OUT/table.md, the picture to OUT/pareto.png.

    Args:
        data: the folder that holds nyu and init
        out: the folder of the runs
        steps: length of each run, batches of 8
        seed: of weights and batches
        only: names of nets; by default all
        resume: keep finished runs, go on with one that was cut off
    """
    if unknown := [name for name in only if name not in zoo.names()]:
        raise SystemExit(f"the net {unknown[0]!r} is unknown; known: {', '.join(zoo.names())}")
    rows = []
    for name, run in runs(data, out, steps, seed).items():
        if only and name not in only:
            continue
        path = run.out / "alike.json"
        if not (resume and path.exists()):
            train(replace(started(run), resume=resume and (run.out / "state.safetensors").exists()))
            write_atomically(path, json.dumps(measured(name, run, data), indent=1).encode())
        rows.append(json.loads(path.read_text()))
        if rows[-1]["samples"] != run.fit.steps * run.batch:
            raise SystemExit(f"{run.out} was made with other --steps: give those, or another --out")
        (out / "table.md").write_text(markdown(rows), "utf-8")
        plot(rows, out / "pareto.png")
    print(markdown(rows))


if __name__ == "__main__":
    tyro.cli(main)
