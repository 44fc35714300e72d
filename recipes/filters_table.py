"""What `recipes.filters_layers_gates` has measured, as one report and one picture."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from leadline.bench.plot import front
from leadline.core.report import Report
from recipes.filters_plan import BASELINE, HANDCRAFTED, RUNTIME, STUDIES, THREADS, Row, Study
from recipes.street_table import today

ROOT = Path(__file__).resolve().parents[1]
NAME = "filters_layers_gates"
REPORT = ROOT / "benchmarks" / "results" / f"{NAME}.json"
PICTURE = ROOT / "docs" / "pictures" / "filters-layers-gates.png"
COMMAND = f"python -m recipes.{NAME} table --out runs/filters"
FAMILIES = {
    "dense": "#4d4d4d",
    "filters": "#0072b2",
    "layers": "#d55e00",
    "widths": "#009e73",
    "handcrafted": "#cc79a7",
}
"""What a row is, and its colour. Gated nets have no time of their own."""
Facts = Mapping[str, Any]


def merged(out: Path) -> list[dict[str, Any]]:
    """Of each net all that is known: `rows`, what each planned or finished row has measured or None, and the JSON of
    latency.json, alone.json and dynamic.json or None.
    """
    return [_merged(study, out / study.net) for study in STUDIES.values()]


def _merged(study: Study, folder: Path) -> dict[str, Any]:
    finished = {path.parent.name: _slim(_read(path)) for path in sorted(folder.glob("*/row.json"))}
    planned = [Row(method=BASELINE), *study.rows]
    names = [f"{row.name}-0" for row in planned]
    rows: list[dict[str, Any]] = [
        {"id": name, **asdict(row), "found": finished.get(name)} for name, row in zip(names, planned, strict=True)
    ]
    for name, found in finished.items():
        if name not in names:
            key = {part: found[part] for part in ("method", "criterion", "budget")}
            rows.append({"id": name, **key, "found": found})
    plain: dict[str, Any] = {"net": study.net, "data": study.title, "protocol": study.protocol, "metric": study.metric}
    plain["rows"] = rows
    for part in ("latency", "alone", "dynamic"):
        path = folder / f"{part}.json"
        plain[part] = _read(path) if path.exists() else None
    return plain


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


def _slim(found: dict[str, Any]) -> dict[str, Any]:
    """A row without what its table has already."""
    return {key: value for key, value in found.items() if key not in ("net", "row", "packages")}


def filters_report(studies: Sequence[Facts]) -> Report:
    """The report of all nets: the test part's accuracy by NET/ROW as metrics, all the rest as context."""
    rows = [(study, row) for study in studies for row in study["rows"] if row["found"] is not None]
    known = [(study, row) for study, row in rows if "test" in row["found"]]
    parts = [row["found"] for _, row in rows]
    parts += [study[part] for study in studies for part in ("latency", "alone", "dynamic") if study[part] is not None]
    devices = list(dict.fromkeys(part["device"] for part in parts))
    context = {
        "section": "filters",
        "order": 510,
        "data": "; ".join(dict.fromkeys(study["data"] for study in studies)),
        "device": "; ".join(devices) or "not measured",
        "seed": sorted({part["seed"] for part in parts if "seed" in part}) or 0,
        "date": max((part["date"] for part in parts), default=today()),
        "source": "measured",
        "command": COMMAND,
        "studies": list(studies),
    }
    metrics = {f"{study['net']}/{row['id']}": row["found"]["test"][study["metric"]] for study, row in known}
    return Report(NAME, metrics=metrics, context=context)


def family(row: Facts) -> str:
    """Which of FAMILIES a row is, or `gates`."""
    named = {BASELINE: "dense", "layers": "layers", "widths": "widths", "gates": "gates", HANDCRAFTED: HANDCRAFTED}
    return named.get(row["method"], "filters")


def time_of(study: Facts, row: str, runtime: str = RUNTIME, threads: int = THREADS) -> float | None:
    """The median milliseconds of a row's net, or None. A row that shares another one's net has its time."""
    found = next((one["found"] for one in study["rows"] if one["id"] == row), None)
    name = (found or {}).get("same_as", row)
    for timed in () if study["latency"] is None else study["latency"]["rows"]:
        if (timed["row"], timed["runtime"], timed["threads"]) == (name, runtime, threads) and "error" not in timed:
            return float(timed["latency_ms"]["median"])
    return None


def points(study: Facts) -> list[tuple[str, str, float, float]]:
    """(row, family, milliseconds, accuracy in percent) of each net of which both are measured; RUNTIME, THREADS. Each
    width of a nested net is one.
    """
    found = []
    for row in study["rows"]:
        if row["found"] is None or "test" not in row["found"]:
            continue
        narrow = row["found"].get("widths", [])
        nets = [(f"{row['id']}/{i}", one["test"]) for i, one in enumerate(narrow)]
        nets.append((f"{row['id']}/{len(narrow)}" if narrow else row["id"], row["found"]["test"]))
        for name, test in nets:
            if (ms := time_of(study, name)) is not None:
                found.append((name, family(row), ms, 100 * test[study["metric"]]))
    return found


def plot(studies: Sequence[Facts], path: Path) -> bool:
    """Accuracy against milliseconds, a panel for each net with any; whether there was anything to draw.

    The line joins nets that no other one beats in both.
    """
    shown = [(study, found) for study in studies if (found := points(study))]
    if not shown:
        return False
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(3, len(shown))
    lines = -(-len(shown) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.8 * lines), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(lines, columns, squeeze=False).flatten()
    for axes, (study, found) in zip(panels, shown, strict=False):
        best = [found[i] for i in front([(ms, accuracy) for _, _, ms, accuracy in found], True)]
        axes.plot([ms for _, _, ms, _ in best], [accuracy for *_, accuracy in best], color="#999999", zorder=1)
        for name, colour in FAMILIES.items():
            own = [(ms, accuracy) for _, kind, ms, accuracy in found if kind == name]
            if own:
                axes.scatter(*zip(*own, strict=True), s=30, color=colour, label=name, zorder=2)
        axes.set_title(f"{study['net']}, {study['data']}", fontsize=10)
        axes.set_xlabel(f"ms, {RUNTIME}, {THREADS} thread")
        axes.set_ylabel(f"{study['metric']}, test part, %")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    for axes in panels[len(shown) :]:
        axes.set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return True
