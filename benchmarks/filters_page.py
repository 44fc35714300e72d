"""docs/results/filters-layers-gates.md, from the report that `recipes.filters_layers_gates table` writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from leadline.bench.plot import front
from leadline.core.report import Report, grid
from recipes.filters_plan import BASELINE, RUNTIME, THREADS
from recipes.filters_table import family, points, time_of

NOT = "not measured"
Facts = Mapping[str, Any]
PUBLISHED = (
    ("VGG16-BN", "baseline", "93.82", ""),
    ("VGG16-BN", "FTWT, r 0.92, decoupled", "93.73", "56"),
    ("VGG16-BN", "FTWT, r 0.85, decoupled", "93.19", "73"),
    ("ResNet56", "baseline", "93.66", ""),
    ("ResNet56", "FTWT, r 0.8, decoupled", "92.63", "66"),
    ("MobileNetV1", "baseline", "90.89", ""),
    ("MobileNetV1", "FTWT, r 1, decoupled", "91.06", "78"),
)
"""Net, row, CIFAR-10 accuracy in percent, MACs saved in percent (Elkerdawy et al. 2022, arXiv 2110.08232)."""
_PLACES = tuple((runtime, threads) for runtime in ("onnx", "openvino", "litert") for threads in (1, 2))


def filters_page(report: Report, picture: Path) -> str:
    """The study's page. What has no figure in the report is shown as not measured; nothing is filled in."""
    studies: Sequence[Facts] = report.context["studies"]
    parts = [
        "# Filters, layers or gates?",
        "**Question.** Which way to a smaller net keeps most accuracy for its measured time?",
        "## Protocol",
        _protocol(report),
        "## Answer",
        _answer(studies),
        "## Threats to validity",
        "There is one seed of the baselines, and most rows have one seed; baselines and fine-tunings are short.\n"
        "CIFAR-10 is a JPEG copy here, so accuracies are a little below those on the original pixels.\n"
        "Budgets of latency are met in one runtime on one thread; the other columns show what they are elsewhere.\n"
        "In ResNet-56 the shortcuts pad channels, so only the inner channels of a block can go, not a stage's.\n"
        "Handcrafted nets start from nothing; that of depth learns for a shorter time than the baseline did.\n"
        "The order of CIFAR-10's images is not that of a video, so its switch rate is that of unlike frames.",
        "## Figures",
        f"    {report.context['command']}\n    make results",
        "This page is made by `make results` from `benchmarks/results/filters_layers_gates.json`; change that alone.",
        *([f"![Accuracy against milliseconds](../pictures/{picture.name})"] if picture.exists() else []),
        *(part for study in studies for part in _section(study)),
        "### Published beside ours",
        "Their MACs leave out depthwise layers and the predictors, and they keep the best epoch on the test part.",
        _published(studies),
    ]
    return "\n\n".join(parts) + "\n"


def rows_table(study: Facts) -> str:
    """One line for each row, and for each width of a nested net: accuracy, cost, and milliseconds by runtime."""
    head = ["row", "seed", "parameters", "MMAC", "val %", "test %"]
    head += [f"ms {runtime}, {threads}" for runtime, threads in _PLACES]
    lines = [[*head, "time / dense"]]
    dense = time_of(study, f"{BASELINE}-0")
    for row in study["rows"]:
        found = row["found"]
        if found is None:
            lines.append([f"`{_called(row)}`", *[NOT] * len(lines[0][1:])])
            continue
        if "infeasible" in found:
            lines.append(
                [f"`{_called(row)}`", str(found["seed"]), "no net meets the budget", *["-"] * (len(lines[0]) - 3)]
            )
            continue
        narrow = found.get("widths", [])
        nets = [(f"{_called(row)}, width {i + 1}", f"{row['id']}/{i}", one) for i, one in enumerate(narrow)]
        last = f"{row['id']}/{len(narrow)}" if narrow else row["id"]
        nets.append((f"{_called(row)}, whole" if narrow else _called(row), last, found))
        for called, name, one in nets:
            ms = [time_of(study, name, *place) for place in _PLACES]
            whole = time_of(study, name)
            lines.append(
                [
                    f"`{called}`", str(found["seed"]), f"{one['parameters'] / 1e6:.3f} M", f"{one['macs'] / 1e6:.1f}",
                    *(_percent(one[part][study["metric"]]) for part in ("val", "test")),
                    *(_ms(x, row) for x in ms),
                    "-" if family(row) == "gates" else _number(whole / dense if whole and dense else None, 2),
                ]
            )  # fmt: skip
    return grid(lines)


def alone_table(study: Facts) -> str:
    """Each criterion's rank correlation with leaving out one block at a time."""
    found = study["alone"]["spearman"]
    return grid([["criterion", "Spearman"], *([f"`{name}`", _number(value, 2)] for name, value in found.items())])


def dynamic_table(study: Facts) -> str:
    """Nested widths by their rule, from the photograph to the answer, beside the dense net's file."""
    head = ["row", "runtime", "what", "accuracy %", "mean ms", "p50", "p95", "share of widths"]
    lines = [head]
    for one in study["dynamic"]["rows"]:
        widths = sorted(name for name in one if name.startswith("width "))
        shares = {"dynamic": one["share_of_widths"], "video": one["share_of_widths_video"]}
        for what in ("dense", *widths, "dynamic", "video"):
            figures = one[what]
            lines.append(
                [
                    f"`{one['row']}`", one["runtime"], what, _percent(figures["accuracy"]),
                    *(f"{figures[key]:.2f}" for key in ("mean_ms", "p50_ms", "p95_ms")),
                    ", ".join(f"{share:.0%}" for share in shares[what]) if what in shares else "",
                ]
            )  # fmt: skip
        lines.append([f"`{one['row']}`", one["runtime"], "oracle", "", f"{one['oracle_ms']:.2f}", "", "", ""])
    notes = [
        f"- `{one['row']}`, {one['runtime']}: choosing takes {one['hardness_ms']:.3f} ms of an image; following a "
        f"video the width changes at {one['switch_rate']:.0%} of the images."
        for one in study["dynamic"]["rows"]
    ]
    return grid(lines) + "\n\n" + "\n".join(notes)


def _section(study: Facts) -> list[str]:
    parts = [
        f"### `{study['net']}`, {study['data']}",
        f"`{study['protocol']}`, {study['metric']}. ms: median of the network alone, batch 1; then threads.",
        rows_table(study),
    ]
    if study["alone"] is None:
        parts.append(f"Criteria beside leaving out one block at a time: {NOT}.")
    else:
        parts += [f"Criteria beside leaving out one block at a time, {study['alone']['n']} images:", alone_table(study)]
    if any(row["method"] == "widths" for row in study["rows"]):
        if study["dynamic"] is None:
            parts.append(f"Nested widths by their rule, end to end: {NOT}.")
        else:
            parts += ["Nested widths by their rule, end to end, one image after the other:", dynamic_table(study)]
    return parts


def _protocol(report: Report) -> str:
    c = report.context
    seeds = ", ".join(map(str, c["seed"])) if isinstance(c["seed"], list) else c["seed"]
    return (
        f"{c['data']}. All rows of a net start from one baseline, and learn for the same time after pruning.\n"
        "The last weights are measured once on the test part; rules and budgets are met on other data.\n"
        f"A budget of latency is a part of the baseline's time in {RUNTIME} on {THREADS} thread, measured in turns.\n"
        "Gates switch filters off for each image by masks, which save MACs and no time; their MACs are the mean over "
        "test images.\n"
        "Nested widths are plain files that a rule chooses among for each image.\n"
        f"Device: {c['device']}. Seed {seeds}, {c['date']}."
    )


def _answer(studies: Sequence[Facts]) -> str:
    """Two sentences, a line each; they name figures only where there are some."""
    fronts = []
    for study in studies:
        found = [one for one in points(study) if one[1] != "dense"]
        if found:
            best = [found[i] for i in front([(ms, accuracy) for *_, ms, accuracy in found], True)]
            counts = {kind: sum(one[1] == kind for one in best) for kind in dict.fromkeys(one[1] for one in best)}
            said = ", ".join(f"{kind} {n}" for kind, n in sorted(counts.items(), key=lambda pair: -pair[1]))
            fronts.append(f"`{study['net']}`: {said} of {len(found)} nets")
    first = f"Which way wins on the measured clock is {NOT}."
    if fronts:
        first = f"Of the smaller nets, those that no other one beats in both time and accuracy: {'; '.join(fronts)}."
    return f"{first}\n{_on_gates(studies)}"


def _on_gates(studies: Sequence[Facts]) -> str:
    gated = [found for study in studies if (found := _best_gates(study))]
    ruled = [
        f"`{study['net']}` in {one['runtime']} {one['dynamic']['mean_ms'] / one['dense']['mean_ms']:.2f} of the dense "
        f"net's time at {100 * (one['dynamic']['accuracy'] - one['dense']['accuracy']):+.1f} points"
        for study in studies
        if study["dynamic"] is not None
        for one in [min(study["dynamic"]["rows"], key=lambda one: one["dynamic"]["mean_ms"])]
    ]
    masks = f"Gates save MACs and no time ({'; '.join(gated)})" if gated else f"What gates save is {NOT}"
    widths = f"nested widths by their rule take: {'; '.join(ruled)}" if ruled else f"nested widths end to end are {NOT}"
    return f"{masks}; {widths}."


def _best_gates(study: Facts) -> str:
    """The gated row of the highest accuracy beside the baseline, in words; empty if one of the two is missing."""
    known = {row["id"]: row for row in study["rows"] if row["found"] is not None and "test" in row["found"]}
    dense = known.get(f"{BASELINE}-0")
    gated = [row["found"] for row in known.values() if row["method"] == "gates"]
    if dense is None or not gated:
        return ""
    metric, own = study["metric"], dense["found"]
    best = max(gated, key=lambda one: float(one["test"][metric]))
    saved, change = 1 - best["macs"] / own["macs"], 100 * (best["test"][metric] - own["test"][metric])
    return f"`{study['net']}` {saved:.0%} at {change:+.1f} points"


def _published(studies: Sequence[Facts]) -> str:
    lines = [["net", "row", "accuracy %", "MACs saved %"], *map(list, PUBLISHED)]
    for study in studies:
        if study["metric"] != "top1":
            continue
        found = {row["id"]: row["found"] for row in study["rows"]}
        dense = found[f"{BASELINE}-0"]
        for row in study["rows"]:
            if row["method"] not in (BASELINE, "gates"):
                continue
            one = row["found"]
            known = one is not None and "test" in one
            saved = (
                f"{100 * (1 - one['macs'] / dense['macs']):.0f}" if known and dense and row["method"] == "gates" else ""
            )
            lines.append(
                [f"`{study['net']}`", f"ours: {_called(row)}", _percent(one["test"]["top1"]) if known else NOT, saved]
            )
    return grid(lines)


def _called(row: Facts) -> str:
    return " ".join(filter(None, (row["method"], row["criterion"], row["budget"])))


def _percent(value: float) -> str:
    return f"{100 * value:.2f}"


def _number(value: float | None, digits: int) -> str:
    return NOT if value is None else f"{value:.{digits}f}"


def _ms(value: float | None, row: Facts) -> str:
    return "-" if family(row) == "gates" else _number(value, 2)
