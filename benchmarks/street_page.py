"""docs/results/street-nets.md, from the report that `recipes.street_nets table` writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from leadline.core.report import Report, grid
from leadline.core.tasks import CAMVID

NOT = "not measured"
Row = Mapping[str, Any]


def street_page(report: Report, picture: Path) -> str:
    """The study's page. What has no figure in the report is shown as not measured; nothing is filled in."""
    rows: Sequence[Row] = report.context["rows"]
    parts = [
        "# Nets for driving on CamVid",
        "**Question.** Which net for driving has the best accuracy for its speed on a processor, trained alike?",
        "## Protocol",
        _protocol(report),
        "## Answer",
        _answer(rows),
        "## Threats to validity",
        "There is one seed, and the training is shorter than published ones.\n"
        "One net starts from ImageNet's weights, the others from nothing, because no such weights are at hand.\n"
        "Large nets learn at half size and for fewer steps, so their rows say little about what they could reach.\n"
        "CamVid is small: its test part is 233 images of two drives, 171 of one that is not in the train part.\n"
        "The val part is of a drive that is in the train part, too, so its figures are higher than the test part's.",
        "## Figures",
        f"    {report.context['command']}\n    make results",
        "This page is made by `make results` from `benchmarks/results/street_nets.json`; change that, not this page.",
        accuracy_table(rows),
        "images: how many crops of the training part the net has seen. (half): half size, short training.",
        *([f"![mIoU against frames a second](../pictures/{picture.name})"] if picture.exists() else []),
        "### Overlap of each class, test part, %",
        class_table(rows),
        "### Frames a second",
        "Median of the network alone, batch 1, at the size of the first table.\n"
        "int8 / fp32: above 1 int8 is faster, below 1 it is slower.\n"
        "mIoU: of the exported file itself, test part.",
        speed_table(rows),
    ]
    return "\n\n".join(parts) + "\n"


def accuracy_table(rows: Sequence[Row]) -> str:
    """One line for each net: what it is, its overlaps, its fastest file."""
    head = ["net", "ImageNet encoder", "input", "parameters", "GMAC", "images"]
    head += ["val mIoU %", "test mIoU %", "fastest float32, one thread, frames/s"]
    lines = [head]
    for row in rows:
        found = row["accuracy"]
        lines.append(
            [
                f"`{row['net']}`{' (half)' if row['large'] else ''}",
                "yes" if row["imagenet"] else "no",
                "x".join(map(str, row["size"])),
                f"{row['parameters'] / 1e6:.2f} M",
                f"{row['macs'] / 1e9:.2f}",
                NOT if found is None else f"{found['samples']:,}".replace(",", " "),
                *(NOT if found is None else f"{100 * found[part]['miou']:.1f}" for part in ("val", "test")),
                _fastest(row),
            ]
        )
    return grid(lines)


def class_table(rows: Sequence[Row]) -> str:
    """One line for each net, one column for each class."""
    lines = [["net", *CAMVID]]
    for row in rows:
        ious = [None] * len(CAMVID) if row["accuracy"] is None else row["accuracy"]["test"]["iou"]
        lines.append([f"`{row['net']}`", *(NOT if iou is None else f"{100 * iou:.1f}" for iou in ious)])
    return grid(lines)


def speed_table(rows: Sequence[Row]) -> str:
    """One line for each net, runtime and number of threads: float32 beside int8."""
    lines = [["net", "runtime", "threads", "fp32", "int8", "int8 / fp32", "fp32 mIoU %", "int8 mIoU %"]]
    reasons: dict[str, str] = {}
    for row in rows:
        timed = [] if row["speed"] is None else row["speed"]["rows"]
        places = dict.fromkeys((one["runtime"], one["threads"]) for one in timed)
        if not places:
            lines.append([f"`{row['net']}`", *[NOT] * 7])
        for runtime, threads in sorted(places):
            both = {one["precision"]: one for one in timed if (one["runtime"], one["threads"]) == (runtime, threads)}
            for precision, one in both.items():
                if "error" in one:
                    reasons[f"`{row['net']}`, {runtime}, {precision}"] = one["error"]
            fps = [_fps(both.get(precision)) for precision in ("fp32", "int8")]
            gain = f"{fps[1] / fps[0]:.2f}" if fps[0] is not None and fps[1] is not None else NOT
            ious = [both.get(precision, {}).get("miou") for precision in ("fp32", "int8")]
            lines.append(
                [
                    f"`{row['net']}`", runtime, str(threads), *(NOT if x is None else f"{x:.1f}" for x in fps), gain,
                    *(NOT if iou is None else f"{100 * iou:.1f}" for iou in ious),
                ]
            )  # fmt: skip
    below = "\n".join(f"- {place}: {reason}" for place, reason in reasons.items())
    return grid(lines) + (f"\n\nWhy a cell is empty:\n\n{below}" if below else "")


def _protocol(report: Report) -> str:
    context = report.context
    found = [row["accuracy"] for row in context["rows"] if row["accuracy"] is not None]
    sizes = f"; test: {found[0]['test']['n']} images, val: {found[0]['val']['n']}" if found else ""
    return (
        f"{context['data']}{sizes}; void pixels do not count.\n"
        f"`{report.protocol}`: the mean over classes of the overlap over all pixels of the part.\n"
        "All nets learn from the train part by the schedule of `recipes/street_nets.py`, without class weights.\n"
        "The weights after the last step are measured, once; nothing is chosen on val or test.\n"
        f"Device: {context['device']}. Seed {context['seed']}, {context['date']}."
    )


def _answer(rows: Sequence[Row]) -> str:
    """Two sentences, a line each; they name figures only where there are some."""
    known = [row for row in rows if row["accuracy"] is not None]
    timed = [(row, fps) for row in known if (fps := _best(row)) is not None]
    if not known:
        return "No net of this table is trained yet.\nSo there is no answer yet."
    best = max(known, key=lambda row: float(row["accuracy"]["test"]["miou"]))
    missing = [f"`{row['net']}`" for row in rows if row["accuracy"] is None]
    first = f"`{best['net']}` has the highest mIoU of the nets that are trained: {_percent(best)} % on the test part"
    first += f" ({', '.join(missing)}: {NOT})." if missing else "."
    if not timed:
        return f"{first}\nHow fast it is beside the others is not measured yet."
    quick, fps = max(timed, key=lambda pair: pair[1])
    return f"{first}\n`{quick['net']}` is the fastest of them: {fps:.1f} frames/s on one thread at {_percent(quick)} %."


def _percent(row: Row) -> str:
    return f"{100 * row['accuracy']['test']['miou']:.1f}"


def _fastest(row: Row) -> str:
    fps = _best(row)
    return NOT if fps is None else f"{fps:.1f}"


def _best(row: Row) -> float | None:
    timed = [] if row["speed"] is None else row["speed"]["rows"]
    found = [_fps(one) for one in timed if (one["precision"], one["threads"]) == ("fp32", 1)]
    return max((fps for fps in found if fps is not None), default=None)


def _fps(timed: Mapping[str, Any] | None) -> float | None:
    if timed is None or "error" in timed:
        return None
    return 1000 / float(timed["latency_ms"]["median"])
