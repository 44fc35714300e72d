"""Before and after pruning, side by side: sizes, latency in runtimes, accuracy, and a picture of the widths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from leadline.compress.cost.count import byte_cost, macs, parameters, shapes_of
from leadline.compress.cost.latency import timed
from leadline.compress.pruning.trace import trace
from leadline.core.report import Report
from leadline.data.dataset import Dataset
from leadline.evaluation.evaluate import evaluate_all
from leadline.nn.build import Net
from leadline.pipelines.prune_gates import macs_on
from leadline.predict.predictor import predictor_of


def compared(
    before: Net,
    after: Net,
    *,
    files: tuple[Path, Path] | None = None,
    runtimes: Sequence[str] = (),
    threads: int | None = None,
    data: Dataset | None = None,
    protocols: Sequence[str] = (),
    narrower: Sequence[Net] = (),
) -> list[Report]:
    """Reports of both nets: parameters, MACs, bytes in half precision and of their `files` as they lie, median ms in
    each runtime, timed in turns, and with `data` their metrics, a report for each protocol. The MACs of a net with
    gates are the mean over images of `data`. `narrower` are the other widths of `after`, the narrowest first.
    """
    nets = {"before": before, "after": after} | {f"width {i}": net for i, net in enumerate(narrower, 1)}
    size = before.spec.preprocess.size
    costs = {
        what: {
            "parameters": parameters(net),
            "macs": macs(net, net.spec.preprocess.size),
            "half_bytes": byte_cost(net)(shapes_of(net)),
        }
        for what, net in nets.items()
    }
    for what, net in nets.items():
        if net.spec.gates and data is not None:
            costs[what]["macs"] = round(macs_on(net, data))
    for cost, file in zip(costs.values(), files or (), strict=False):
        cost["file_bytes"] = file.stat().st_size
    times: dict[str, dict[str, float]] = {what: {} for what in nets}
    for runtime in runtimes:
        for what, found in timed(nets, size, runtime, threads=threads, n=200).items():
            times[what][f"{runtime} ms"] = found.median
    reports = []
    for what, net in nets.items():
        facts = Report(f"{net.spec.name} {what}", cost=costs[what], latency_ms=times[what])
        if data is None or not protocols:
            reports.append(facts)
            continue
        reports += [
            replace(facts, protocol=r.protocol, n=r.n, metrics=r.metrics, context=r.context)
            for r in evaluate_all(predictor_of(net).answer, data, protocols)
        ]
    return reports


def draw_widths(before: Net, after: Net, path: Path) -> Path:
    """A picture: for each group of channels of `before`, how many it had and how many `after` has kept."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    example = torch.zeros(1, 3, *before.spec.preprocess.size)
    now = {group.name: group.size for group in trace(after, example).groups}
    was = {name: group for name, group in trace(before, example).free.items() if name in now}
    figure = Figure(figsize=(8, 1 + 0.24 * len(was)), dpi=160, layout="constrained")
    FigureCanvasAgg(figure)  # draws without a display
    axes = figure.subplots()
    rows = range(len(was))
    sizes = [group.size for group in was.values()]
    axes.barh(rows, sizes, color="#d9d9d9", label="before")
    axes.barh(rows, [now[name] for name in was], color="#0072b2", label="after")
    for row, (name, size) in enumerate(zip(was, sizes, strict=True)):
        axes.text(size, row, f" {now[name]} of {size}", va="center", fontsize=7)
    axes.set_yticks(rows, list(was), fontsize=7)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.15 * max(sizes))
    axes.set_xlabel("channels")
    axes.set_title(f"Widths kept of {before.spec.name}", fontsize=10, loc="left")
    axes.legend(frameon=False, loc="lower right")
    axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return path
