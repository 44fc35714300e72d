"""What `recipes.street_nets` has measured, as one report and one picture."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from leadline.bench.plot import COLOURS, front
from leadline.core.report import Report

ROOT = Path(__file__).resolve().parents[1]
REPORT = ROOT / "benchmarks" / "results" / "street_nets.json"
PICTURE = ROOT / "docs" / "pictures" / "street-nets.png"
COMMAND = "python -m recipes.street_nets table --out runs/streets"


def today() -> str:
    """The date, as the reports spell it."""
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def said_device(facts: Mapping[str, Any]) -> str:
    """A machine in words, from what `bench.device.fingerprint` says of it."""
    isa = " ".join(facts.get("isa", ()))
    has = [f"{'' if mark in isa else 'no '}{name}" for mark, name in (("avx512", "AVX-512"), ("amx", "AMX"))]
    return f"{facts['usable_cores']} cores, {facts.get('cpu', 'unknown processor')} ({', '.join(has)})"


def street_report(rows: Sequence[Mapping[str, Any]], seed: int) -> Report:
    """The report of all nets: the test part's mIoU by name as metrics, all the rest as context.

    `rows` are those of `street_nets.merged`; what is None there has not been measured.
    """
    measured = {row["net"]: row["accuracy"]["test"] for row in rows if row["accuracy"] is not None}
    parts = [part for row in rows for part in (row["accuracy"], row["speed"]) if part is not None]
    devices = list(dict.fromkeys(part["device"] for part in parts if "device" in part))
    context = {
        "section": "street",
        "order": 500,
        "data": "CamVid in SegNet's split, 11 classes",
        "device": "; ".join(devices) or "not measured",
        "seed": seed,
        "date": max((part["date"] for part in parts if "date" in part), default=today()),
        "source": "measured",
        "command": COMMAND,
        "rows": list(rows),
    }
    metrics = {name: test["miou"] for name, test in measured.items()}
    n = {test["n"] for test in measured.values()}
    return Report(
        "street_nets", protocol="miou@1", n=n.pop() if len(n) == 1 else None, metrics=metrics, context=context
    )


def points(rows: Sequence[Mapping[str, Any]], threads: int = 1) -> list[tuple[Mapping[str, Any], float, float]]:
    """(net, frames/s of its fastest float32 file, mIoU in percent) of the nets of which both are measured."""
    found = []
    for row in rows:
        if row["accuracy"] is None or row["speed"] is None:
            continue
        ms = [
            timed["latency_ms"]["median"]
            for timed in row["speed"]["rows"]
            if "error" not in timed and (timed["precision"], timed["threads"]) == ("fp32", threads)
        ]
        if ms:
            found.append((row, 1000 / min(ms), 100 * row["accuracy"]["test"]["miou"]))
    return found


def plot(rows: Sequence[Mapping[str, Any]], path: Path) -> bool:
    """mIoU against frames/s of the fastest float32 file on one thread; whether there were two nets to draw.

    The line joins nets that no other one beats in both.
    """
    if len(found := points(rows)) < 2:
        return False
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.8), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    best = [found[i] for i in front([(1 / fps, miou) for _, fps, miou in found], True)]
    axes.plot([fps for _, fps, _ in best], [miou for _, _, miou in best], color="#999999", zorder=1)
    for row, fps, miou in found:
        colour = COLOURS["onnx"] if row["imagenet"] else COLOURS["inductor"]
        axes.scatter(fps, miou, s=60, color=colour, marker="s" if row["large"] else "o", zorder=2)
        axes.annotate(row["net"], (fps, miou), (6, 5), textcoords="offset points", fontsize=8)
    axes.set_xscale("log")
    axes.set_xlabel("frames a second, fastest float32 file, one thread (logarithmic)")
    axes.set_ylabel("mIoU, CamVid test part, %")
    axes.margins(0.2)
    axes.grid(alpha=0.3)
    axes.set_title("blue: encoder from ImageNet; squares: half size, short training", fontsize=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return True
