"""A picture of a benchmark: latency against accuracy, and the files that no other one beats in both."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from leadline.bench.run import Bench
from leadline.bench.table import is_better_high, main_metric

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Annotation
    from matplotlib.transforms import Bbox

COLOURS = {
    "eager": "#4d4d4d", "inductor": "#d55e00", "onnx": "#0072b2", "openvino": "#009e73", "tvm": "#cc79a7",
    "litert": "#e69f00", "executorch": "#7b3294", "ncnn": "#56b4e9",
}  # fmt: skip
"""A colour for each runtime, told apart by the colour-blind too (Okabe and Ito's, and two more)."""

MARKERS = {"fp32": "o", "fp16": "D", "bf16": "s", "int8": "^"}
"""A shape for each precision."""

_SMALLEST = 1e-8  # parity error drawn on a logarithmic axis


def plot(found: Bench, path: Path) -> Path:
    """The picture (PNG, or what the name's ending asks for): milliseconds to the right, accuracy upwards.

    Accuracy is the protocol's main metric of each file, or without data how far its output is from PyTorch's. The line
    joins the Pareto front: files than which no other is both faster and at least as accurate. Files for whole frames
    are left out, since they do more. ValueError if nothing was measured.
    """
    rows = [row for row in found.rows if "error" not in row and "frame" not in row]
    metric = next((main_metric(row["metrics"]) for row in rows if row.get("metrics")), None)
    points = [
        (row["latency_ms"]["median"], value, row) for row in rows if (value := _accuracy(row, metric)) is not None
    ]
    if not points:
        raise ValueError("there is nothing to draw: no row has both a latency and an accuracy or a parity")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5.6), dpi=160, layout="constrained")
    FigureCanvasAgg(figure)  # draws without a display
    axes = figure.subplots()
    upwards = metric is not None and is_better_high(metric)
    _draw(axes, points, upwards)
    if metric is None:
        _draw_reference(axes, rows)
    _axes(axes, points, metric, upwards)
    _legend(axes, [row for _, _, row in points])
    axes.set_title(_title(found), fontsize=10, loc="left")
    figure.canvas.draw()  # from here on, sizes in pixels are known
    figure.set_layout_engine("none")
    _label(axes, points)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return path


def front(points: Sequence[tuple[float, float]], upwards: bool) -> list[int]:
    """The positions of the (milliseconds, accuracy) that no other point beats, the fastest first.

    `upwards`: more accuracy is better; otherwise it is an error, and less is.
    """
    sign = -1 if upwards else 1
    order = sorted(range(len(points)), key=lambda i: (points[i][0], sign * points[i][1]))
    best, kept = float("inf"), []
    for i in order:
        if sign * points[i][1] < best:
            best = sign * points[i][1]
            kept.append(i)
    return kept


def _accuracy(row: Mapping[str, Any], metric: str | None) -> float | None:
    if metric is not None:
        return (row.get("metrics") or {}).get(metric)
    is_other = "parity" in row and row["runtime"] != "eager"  # PyTorch is what the others are compared with
    return max(row["parity"], _SMALLEST) if is_other else None


def _draw(axes: Axes, points: Sequence[tuple[float, float, Mapping[str, Any]]], upwards: bool) -> None:
    best = front([(ms, value) for ms, value, _ in points], upwards)
    line = [points[i][:2] for i in best]
    axes.plot(*zip(*line, strict=True), color="#999999", lw=1.4, zorder=1, label="_front")
    for i, (ms, value, row) in enumerate(points):
        spread = row["latency_ms"]
        colour = COLOURS.get(row["runtime"], "#000000")
        axes.plot([spread["p10"], spread["p90"]], [value, value], color=colour, lw=1, alpha=0.35, zorder=2)
        edge = "black" if i in best else "white"
        marker = MARKERS.get(row["precision"], "x")
        axes.scatter(ms, value, s=80, color=colour, marker=marker, edgecolor=edge, linewidth=1.1, zorder=3)


def _draw_reference(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    """A line at PyTorch's own latency: it has no difference from itself to be drawn at."""
    for row in rows:
        if row["runtime"] == "eager":
            axes.axvline(row["latency_ms"]["median"], color=COLOURS["eager"], lw=1, ls=":", zorder=1)
            place = (row["latency_ms"]["median"], 1)
            words = f"PyTorch, threads {row['threads']}"
            axes.annotate(words, place, (3, -9), ("data", "axes fraction"), textcoords="offset points", fontsize=8)


def _axes(
    axes: Axes, points: Sequence[tuple[float, float, Mapping[str, Any]]], metric: str | None, upwards: bool
) -> None:
    from matplotlib.ticker import LogFormatter, NullFormatter

    axes.set_xscale("log")
    low, high = axes.get_xlim()
    low, high = low / 1.3, high * 1.5  # room for names
    axes.set_xlim(low, high)
    steps = (1, 1.5, 2, 3, 5, 7) if high < 20 * low else (1, 2, 5)
    ticks = [t * 10.0**e for e in range(-3, 6) for t in steps if low <= t * 10.0**e <= high]
    axes.set_xticks(ticks if len(ticks) > 1 else [low, high])
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("latency of one image, ms (logarithmic; the faint bar spans the 10th to the 90th percentile)")
    if metric is None:
        axes.set_yscale("log")
        axes.yaxis.set_minor_formatter(LogFormatter(labelOnlyBase=True))
        axes.set_ylabel("largest difference from PyTorch, relative (better is up)")
    else:
        axes.set_ylabel(f"{metric} ({'higher' if upwards else 'lower'} is better{'' if upwards else ', up'})")
        values = [value for _, value, _ in points]
        room = max(max(values) - min(values), 0.01 * max(map(abs, values)), 1e-6) * 0.25
        axes.set_ylim(min(values) - room, max(values) + room)
    if not upwards:
        axes.invert_yaxis()
    axes.grid(True, which="major", color="#e6e6e6", lw=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _label(axes: Axes, points: Sequence[tuple[float, float, Mapping[str, Any]]]) -> None:
    """Name each point where the name hides neither another one nor a point, as near as there is room."""
    from matplotlib.patheffects import withStroke
    from matplotlib.transforms import Bbox

    several_threads = len({row["threads"] for _, _, row in points}) > 1
    several_models = len({row["model"] for _, _, row in points}) > 1
    scale = axes.figure.dpi / 72
    centres = [axes.transData.transform((ms, value)) for ms, value, _ in points]
    taken = [Bbox.from_bounds(x - 6 * scale, y - 6 * scale, 12 * scale, 12 * scale) for x, y in centres]
    room = axes.get_window_extent()
    halo = [withStroke(linewidth=2.5, foreground="white")]
    for ms, value, row in sorted(points, key=lambda point: point[0]):
        words = [Path(row["model"]).stem] if several_models else []
        words += [row["runtime"], row["precision"]] + ([f"x{row['threads']}"] if several_threads else [])
        note: Annotation = axes.annotate(
            " ".join(words), (ms, value), (8, 0), textcoords="offset points", fontsize=8, va="center", color="#222222",
            arrowprops={"arrowstyle": "-", "color": "#bbbbbb", "lw": 0.7, "shrinkA": 0, "shrinkB": 4},
            path_effects=halo, zorder=4,
        )  # fmt: skip
        for dx, dy, side in _places():
            note.set_position((dx, dy))
            note.set_horizontalalignment(side)
            box = _text_box(note).padded(scale)
            inside = room.x0 <= box.x0 and box.x1 <= room.x1 and room.y0 <= box.y0 and box.y1 <= room.y1
            if inside and not any(box.overlaps(other) for other in taken):
                break
        taken.append(_text_box(note))


def _places() -> Iterator[tuple[float, float, Literal["left", "right"]]]:
    """Where a name may stand, in points from its point, the best first: beside it, then ever farther up and down."""
    for far in range(0, 240, 6):
        for dy in dict.fromkeys((far, -far)):
            near = 9 + far * 0.15
            yield near, dy, "left"
            yield -near, dy, "right"


def _text_box(note: Annotation) -> Bbox:
    """The box of the words alone, in pixels, without the line that leads to the point."""
    from matplotlib.text import Text

    note.get_window_extent()  # reading the extent moves the text to its new place
    return Text.get_window_extent(note)


def _legend(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    from matplotlib.lines import Line2D

    used = [name for name in MARKERS if any(row["precision"] == name for row in rows)]
    shapes = [Line2D([], [], color="#666666", marker=MARKERS[name], ls="", markersize=7, label=name) for name in used]
    line = Line2D([], [], color="#999999", lw=1.4, label="Pareto front: none is faster and as accurate")
    axes.legend(
        handles=[*shapes, line], loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=5, fontsize=8, frameon=False
    )


def _title(found: Bench) -> str:
    context = found.context
    models = ", ".join(dict.fromkeys(Path(row["model"]).stem for row in found.rows))
    threads = ", ".join(dict.fromkeys(str(row["threads"]) for row in found.rows))
    text = f"{models} on {context['device']['cpu']}, threads {threads}"
    if "data" in context:
        text += f"; {context['data']['protocol']} on {Path(context['data']['data']).name}"
    return text
