"""The four tables of docs/results.md: which columns they have, and what stands above and below each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from leadline.core.report import Report

Column = tuple[str, Callable[[Report], str]]


@dataclass(frozen=True)
class Section:
    """One table of the page: its heading, the sentences above and below it, and its columns."""

    name: str  # what the reports' `section` says
    title: str
    above: str
    columns: tuple[Column, ...]
    below: str = ""


def figure(part: str, key: str, digits: int = 3) -> Callable[[Report], str]:
    """A number of a report with so many decimals; empty where the report has none."""

    def cell(report: Report) -> str:
        value = getattr(report, part).get(key)
        return "" if value is None else f"{value:.{digits}f}"

    return cell


def count(key: str) -> Callable[[Report], str]:
    return lambda report: f"{int(report.cost[key]):,}".replace(",", " ") if key in report.cost else ""


def giga(key: str) -> Callable[[Report], str]:
    return lambda report: f"{report.cost[key] / 1e9:.3f} G" if key in report.cost else ""


def said(key: str) -> Callable[[Report], str]:
    return lambda report: str(report.context.get(key, ""))


def change(before: Callable[[Report], str], after: Callable[[Report], str]) -> Callable[[Report], str]:
    return lambda report: f"{before(report)} to {after(report)}" if before(report) else ""


def spread(key: str) -> Callable[[Report], str]:
    """Mean ± half the distance between the lowest and the highest seed; a single seed has no spread."""
    mean, half = figure("metrics", key), figure("metrics", f"{key}_spread")
    return lambda report: f"{mean(report)} ± {half(report)}" if half(report) else mean(report)


def ratio(report: Report) -> str:
    """Time after over time before, and in which runtime."""
    ratios = {key.removeprefix("time_ratio_"): v for key, v in report.cost.items() if key.startswith("time_ratio_")}
    return ", ".join(f"{value:.2f} ({runtime})" for runtime, value in ratios.items())


def name(report: Report) -> str:
    return f"`{report.name}`" if report.cost or "teacher" in report.context else report.name


def median(report: Report) -> str:
    low, high = figure("latency_ms", "p10", 2)(report), figure("latency_ms", "p90", 2)(report)
    return f"{report.latency_ms['median']:.2f} ({low} to {high})"


NET: Column = ("net", name)
JUDGED: tuple[Column, ...] = (("protocol", lambda r: f"`{r.protocol}`"), ("n", lambda r: str(r.n)))

RUNTIMES = ("openvino", "onnx", "litert", "eager")
"""The runtimes in which all nets that ship were timed."""
MILLISECONDS: tuple[Column, ...] = tuple((f"ms {name}", figure("latency_ms", name, 2)) for name in RUNTIMES)

SECTIONS = (
    Section(
        "accuracy",
        "Accuracy of what ships",
        "The net's own metres are judged; nothing is aligned to the ground truth.\n"
        "The last row is no net: it answers every image with the mean depth map of the training part.\n"
        "ms: the network alone, float32, batch 1, at its own input size; median.",
        (
            NET, ("parameters", count("parameters")), ("MACs", giga("macs")), ("file bytes", count("bytes")), *JUDGED,
            ("delta1", figure("metrics", "delta1")), ("delta2", figure("metrics", "delta2")),
            ("delta3", figure("metrics", "delta3")), ("abs_rel", figure("metrics", "abs_rel")),
            ("RMSE m", figure("metrics", "rmse")), ("log10", figure("metrics", "log10")), *MILLISECONDS,
        ),
    ),
    Section(
        "speed",
        "Speed by runtime",
        "`fastdepth` at 224x224, batch 1, two threads, 200 calls, all files in turns.\n"
        "network ms: median (10th to 90th percentile) of the network alone.\n"
        "frame ms: a 480x640 uint8 frame to float32 metres at 480x640, in one call.\n"
        "parity: largest difference from PyTorch eager in float32, relative to its largest value.\n"
        "delta1: of the exported file itself.",
        (
            ("runtime", said("runtime")), ("precision", said("precision")), ("network ms", median),
            ("frame ms", figure("latency_ms", "frame", 2)), ("times eager", figure("cost", "speedup", 2)),
            ("parity", lambda r: f"{r.metrics['parity']:.1e}"), *JUDGED, ("delta1", figure("metrics", "delta1", 4)),
            ("peak MiB", figure("cost", "peak_mib", 0)), ("file MB", figure("cost", "file_mb", 1)),
        ),
        "![Latency against accuracy](pictures/fastdepth-runtimes.png)",
    ),
    Section(
        "compression",
        "Compression, before and after",
        "Each cell is before to after.\n"
        "time: the compressed net's time over the time before, in the runtime named, one thread (int8: two).",
        (
            NET, ("method", said("method")), ("RUN", said("run")),
            ("parameters", change(count("parameters_before"), count("parameters"))),
            ("MACs", change(giga("macs_before"), giga("macs"))),
            ("file MB", change(figure("cost", "file_mb_before", 1), figure("cost", "file_mb", 1))),
            ("time", ratio), *JUDGED,
            ("delta1", change(figure("metrics", "delta1_before"), figure("metrics", "delta1"))),
            ("abs_rel", change(figure("metrics", "abs_rel_before"), figure("metrics", "abs_rel"))),
        ),
        "![Widths that fastdepth_small has kept](pictures/fastdepth-small-widths.png)",
    ),
    Section(
        "distillation",
        "Distillation, with mean and spread",
        "Both trainings of a row start from the same net and see as many images.\n"
        "± is half the distance between the lowest and the highest seed; one seed has no spread.\n"
        "Teacher ensembles v1 and v3: [teachers](results/teachers.md).",
        (
            ("student", name), ("images", lambda r: f"{r.context['images']:,}".replace(",", " ")),
            ("teacher ensemble", said("teacher")), *JUDGED,
            ("delta1 without teacher", spread("delta1_without_teacher")),
            ("labelled + unlabelled", spread("delta1_with_teacher")),
            ("abs_rel without teacher", spread("abs_rel_without_teacher")),
            ("labelled + unlabelled", spread("abs_rel_with_teacher")),
        ),
    ),
)  # fmt: skip
