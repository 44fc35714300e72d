"""The one table of a benchmark, as text for people, and the line that says what was measured and how."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from leadline.bench.run import Bench
from leadline.evaluation.metrics import HIGHER_IS_BETTER

Facts = Mapping[str, Any]


def main_metric(metrics: Mapping[str, float]) -> str:
    """The one metric that a table or a picture shows: delta1 where there is one, otherwise the protocol's first."""
    return "delta1" if "delta1" in metrics else next(iter(metrics))


def is_better_high(metric: str) -> bool:
    """Whether more of it is better."""
    return metric in HIGHER_IS_BETTER or metric == "score"


def table(found: Bench) -> str:
    """Aligned columns, one row for each file and number of threads; a column that nothing fills is left out.

    ms are medians; x is how many times faster than PyTorch eager float32 (of ends to ends for a whole-frame file).
    parity is for float32; lower precision has the share of pixels within 1.25 of PyTorch's, and how far they are apart.
    Below: what failed, what one should know of the figures, how they were measured.
    """
    good = [row for row in found.rows if "error" not in row]
    shown = [(head, [cell(row) for row in good]) for head, cell in _columns(good).items()]
    shown = [(head, cells) for head, cells in shown if any(cells)]
    widths = [max(len(head), *map(len, cells)) for head, cells in shown]
    lines = [_line([head for head, _ in shown], widths), "  ".join("-" * width for width in widths)]
    lines += [_line([cells[i] for _, cells in shown], widths) for i in range(len(good))]
    lines += [f"{_name(row)}: {row['error']}" for row in found.rows if "error" in row]
    lines += [f"{_name(row)}: no accuracy: {row['metrics_error']}" for row in good if "metrics_error" in row]
    wanted = found.context["timing"]["n"]
    lines += [f"{_name(row)}: so slow that only {row['n']} calls were measured" for row in good if row["n"] < wanted]
    return "\n".join([*lines, "", summary_line(found.context)])


def summary_line(context: Facts) -> str:
    """What was measured, on what, how: one sentence."""
    device, timing = context["device"], context["timing"]
    frame = "x".join(map(str, timing["frame"]))
    text = (
        f"Medians of {timing['n']} calls of batch 1 in turns of {timing['turn']} after "
        f"{timing['unmeasured_before_each_turn']} unmeasured, one pinned process a row; end to end is a {frame} frame "
        f"to depth of that size; on {device['cpu']} ({device['usable_cores']} cores, id {device['id']})"
    )
    if "data" in context:
        data = context["data"]
        text += f"; accuracy by {data['protocol']} on {data['limit'] or 'all'} images of {data['data']}"
    load = timing.get("load_before")
    if load is not None and load > 0.5:
        text += f". The machine was busy with other work (load {load:.1f}): only ratios mean something"
    return text + "."


def _columns(rows: list[dict[str, Any]]) -> dict[str, Callable[[Facts], str]]:
    """Heading -> what stands below it; words first, then numbers."""
    metric = next((main_metric(row["metrics"]) for row in rows if row.get("metrics")), "")
    several = len({row["model"] for row in rows}) > 1
    return {
        "model": lambda row: Path(row["model"]).name if several else "",
        "runtime": lambda row: str(row["runtime"]),
        "precision": lambda row: str(row["precision"]),
        "takes": lambda row: "x".join(map(str, row["frame"])) if "frame" in row else "",
        "threads": lambda row: str(row["threads"]),
        "ms": lambda row: _number(row["latency_ms"]["median"]),
        "p10": lambda row: _number(row["latency_ms"]["p10"]),
        "p90": lambda row: _number(row["latency_ms"]["p90"]),
        "x": lambda row: _number(row.get("ratio"), 3),
        "end to end": lambda row: _number(row.get("end_to_end_ms", {}).get("median")),
        "of net": lambda row: _number(row.get("over_net"), 3),
        "parity": lambda row: f"{row['parity']:.1e}" if "parity" in row and not _is_lower(row) else "",
        "within 1.25": lambda row: f"{100 * row['within_125']:.2f}%" if "within_125" in row and _is_lower(row) else "",
        "apart": lambda row: _number(row["depth_mean"], 2) if "depth_mean" in row and _is_lower(row) else "",
        metric or "metric": lambda row: _number((row.get("metrics") or {}).get(metric), 4),
        "of limit": lambda row: f"{100 * row['fraction']:.0f}%" if "fraction" in row else "",
        "load": lambda row: _number(row["load_ms"], 3),
        "first": lambda row: _number(row["first_ms"], 3),
        "peak MiB": lambda row: _number(row.get("peak_mib", row.get("peak_mb")), 3),
        "file MB": lambda row: _number(row["bytes"] / 1e6, 3),
    }


def _is_lower(row: Facts) -> bool:
    """Whether the file is in lower precision: then its difference from PyTorch is more than rounding."""
    return bool(row["precision"] != "fp32")


def _line(cells: list[str], widths: list[int]) -> str:
    """Words to the left, which are the leading columns, numbers to the right."""
    return "  ".join(c.ljust(w) if c[:1].isalpha() else c.rjust(w) for c, w in zip(cells, widths, strict=True)).rstrip()


def _name(row: Facts) -> str:
    frame = f" {'x'.join(map(str, row['frame']))}" if "frame" in row else ""
    return f"{row['runtime']} {row['precision']}{frame}, threads {row['threads']}"


def _number(value: float | None, digits: int = 3) -> str:
    """`digits` significant ones, but all of those before the point."""
    if value is None:
        return ""
    return f"{value:.0f}" if abs(value) >= 10 ** (digits - 1) else f"{value:.{digits}g}"
