"""Filters, layers or gates? Ways to a smaller net, side by side on the measured clock.

    python -m recipes.filters_layers_gates baseline resnet56 --data DATA --out runs/filters
    python -m recipes.filters_layers_gates row resnet56 layers latency=0.65x --data DATA --out runs/filters
    python -m recipes.filters_layers_gates rows resnet56 --data DATA --out runs/filters
    python -m recipes.filters_layers_gates latency resnet56 --out runs/filters
    python -m recipes.filters_layers_gates alone | dynamic resnet56 --data DATA --out runs/filters
    python -m recipes.filters_layers_gates table --out runs/filters && make results

Every row of a net starts from its baseline of seed 0 and learns for the same time after pruning (`filters_plan`).
Nothing is chosen on a test part: the last weights are measured, once. Budgets of latency are met by the pruning run,
in onnxruntime on one thread. What a run leaves is JSON; `table` puts it into one report, of which `make results` makes
docs/results/filters-layers-gates.md. What is missing is shown as not measured.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import arg
from tyro.extras import SubcommandApp

from leadline.cli.command import progress
from leadline.core.machine import usable_cores
from leadline.core.storage import write_atomically
from leadline.data.dataset import subset
from leadline.data.layouts.detect import open_dataset
from leadline.nn.build import Net
from leadline.nn.checkpoint import load
from leadline.pipelines.prune_widths import load_nested, widths_of
from recipes.filters_dynamic import on_test_part
from recipes.filters_measure import alone as measured_alone
from recipes.filters_measure import here, runtimes_here, timings
from recipes.filters_plan import BASELINE, Learning, Row, Study, checked, study_of, training_of
from recipes.filters_rows import net_file, run_baseline, run_row
from recipes.filters_table import PICTURE, REPORT, filters_report, merged, plot

app = SubcommandApp()
AS_PLANNED = Learning()


@app.command
def baseline(
    net: str,
    /,
    *,
    data: Path,
    out: Path,
    source: Annotated[Path | None, arg(name="from", metavar="NAME|FILE")] = None,
    learning: Annotated[Learning, arg(name="")] = AS_PLANNED,
    resume: bool = False,
) -> None:
    """Train the whole net, or take a finished one, and measure it once; OUT/NET/baseline-SEED/row.json has the figures.

    Args:
        net: resnet56, fastdepth, skipnet_mobilenet, vgg16_bn or mobilenet_v1_32
        data: the folder that holds cifar10, nyu and camvid
        out: the folder of all runs
        source: a net that ships with leadline or a finished checkpoint, which is measured and not trained
        learning: how it learns
        resume: keep what is measured, go on with a training that was cut off
    """
    study = study_of(net)
    tell(run_baseline(study, data, out, source, learning, resume=resume), study)


@app.command
def row(
    net: str,
    method: str,
    budget: str,
    /,
    *,
    data: Path,
    out: Path,
    criterion: str = "",
    learning: Annotated[Learning, arg(name="")] = AS_PLANNED,
    resume: bool = False,
) -> None:
    """Prune the baseline to the budget, train what is left, and measure it once; row.json has the figures.

    Args:
        net: as for `baseline`
        method: as for `leadline prune`, such as taylor, masks, netadapt, layers, gates, widths; or handcrafted
        budget: latency=0.65x, macs=0.5x; of gates also their ratio, r=0.92; of handcrafted the smaller net's name
        data: as for `baseline`
        out: as for `baseline`, whose net must be there, except for handcrafted
        criterion: of layers: what a block is worth, such as imprinting
        learning: how it learns after pruning
        resume: keep what is measured, go on with a run that was cut off
    """
    study, which = study_of(net), checked(Row(method=method, budget=budget, criterion=criterion))
    tell(run_row(study, which, data, out, learning, resume=resume), study)


@app.command
def rows(
    net: str,
    /,
    *,
    data: Path,
    out: Path,
    only: tuple[str, ...] = (),
    budget: str = "",
    learning: Annotated[Learning, arg(name="")] = AS_PLANNED,
    dry: bool = False,
) -> None:
    """All rows of a net's table that are missing, one after the other; what is there stays.

    Args:
        net: as for `row`
        data: as for `row`
        out: as for `row`
        only: these methods alone
        budget: this budget alone
        learning: how it learns after pruning
        dry: only name the rows, with what is there of each
    """
    study = study_of(net)
    for which in study.rows:
        if (only and which.method not in only) or (budget and which.budget != budget):
            continue
        if dry:
            done = (out / net / f"{which.name}-{learning.seed}" / "row.json").exists()
            print(f"{which.name}: {'measured' if done else 'missing'}")
        else:
            tell(run_row(study, which, data, out, learning, resume=True), study)


@app.command
def latency(
    net: str, /, *, out: Path, n: int = 100, runtimes: tuple[str, ...] = (), threads: tuple[int, ...] = (1, 2)
) -> None:
    """Time all nets of a table in turns, on a quiet machine; OUT/NET/latency.json has the medians.

    Gated nets are left out: they compute every filter and multiply some by 0.

    Args:
        net: as for `row`
        out: as for `row`
        n: how many calls of each net count
        runtimes: which; without names onnx, openvino and litert, as far as they are installed
        threads: how many each runtime has; numbers above that of the cores are left out
    """
    study_of(net)
    nets = timed_nets(out / net)
    found = []
    for runtime in runtimes or runtimes_here():
        for number in threads:
            if number <= usable_cores():
                found += timings(nets, runtime, number, n, progress)
    write(out / net / "latency.json", {"net": net, "n": n, **here(), "rows": found})
    print(f"{net}: {sum('error' not in one for one in found)} of {len(found)} times are measured")


@app.command
def alone(
    net: str, /, *, data: Path, out: Path, batches: int = 16, seed: int = 0, workers: int = 0, images: int = 0
) -> None:
    """How far each criterion agrees with leaving out one block at a time, untrained; OUT/NET/alone.json.

    Args:
        net: as for `row`
        data: as for `row`
        out: as for `row`
        batches: how many batches the criteria look at
        seed: of the batches
        workers: processes that prepare batches
        images: at most so many of the validation split, evenly spaced; 0: all
    """
    study = study_of(net)
    training = training_of(
        study, data, out / net / "alone", study.fit, Learning(seed=seed, precision="no", workers=workers)
    )
    found = measured_alone(load(net_file(study, out)), study, data, training, batches, images, progress)
    write(out / net / "alone.json", {"net": net, "metric": study.metric, **here(), **found})
    for name, value in found["spearman"].items():
        print(f"{name}: {'none' if value is None else f'{value:.2f}'}")


@app.command
def dynamic(
    net: str,
    /,
    *,
    data: Path,
    out: Path,
    runtimes: tuple[str, ...] = ("onnx", "openvino"),
    threads: int = 1,
    n: int = 0,
    source: Annotated[Path | None, arg(name="from", metavar="FILE")] = None,
    dense: Annotated[Path | None, arg(metavar="FILE")] = None,
) -> None:
    """The nested widths of a table, run by the rule that chooses one for each image, on the test part; dynamic.json.

    Args:
        net: as for `row`
        data: as for `row`
        out: as for `row`
        runtimes: what runs the widths
        threads: of the runtime
        n: the first so many images of the test part alone; 0: all
        source: a checkpoint of `prune --method widths` in place of the table's
        dense: the net that it is compared with; by default the baseline
    """
    study = study_of(net)
    test = open_dataset(data / study.folder, "test")
    test = subset(test, range(min(n, len(test)))) if n else test
    files = {file.parent.name: file for file in filter(widths_of, net_files(out / net))}
    whole, found = dense or net_file(study, out), []
    for row, file in files.items() if source is None else (("given", source),):
        for runtime in runtimes:
            figures = on_test_part(file, whole, study, data, test, runtime, threads, out / net / row, progress)
            found.append({"row": row, **figures})
            print(f"{row}, {runtime}: {figures['dynamic']['mean_ms']:.2f} ms", flush=True)
    if not found:
        raise SystemExit(f"{out / net} has no net of nested widths; `row {net} widths macs=0.5x` makes one")
    write(out / net / "dynamic.json", {"net": net, "metric": study.metric, **here(), "rows": found})


@app.command
def table(*, out: Path, report: Path = REPORT, picture: Path = PICTURE) -> None:
    """Put all that is there into one report, and draw it. `make results` makes the page.

    Args:
        out: the folder of all runs
        report: the report to write
        picture: the picture to draw, if anything is measured
    """
    studies = merged(out)
    write_atomically(report, (json.dumps(filters_report(studies).to_json(), indent=1) + "\n").encode())
    drawn = plot(studies, picture)
    print(f"wrote {report}{f' and {picture}' if drawn else ''}")


def timed_nets(folder: Path) -> dict[str, Net]:
    """All measured nets of a table by the names of their folders, without those with gates; each width of a nested net
    is one of its own, NAME/0 the narrowest.
    """
    found: dict[str, Net] = {}
    for file in net_files(folder):
        if widths_of(file):
            found |= {f"{file.parent.name}/{i}": net for i, net in enumerate(load_nested(file))}
        elif not (net := load(file)).spec.gates:
            found[file.parent.name] = net
    if not found:
        raise SystemExit(f"{folder} holds no measured net; `baseline {folder.name}` is the first")
    return found


def net_files(folder: Path) -> list[Path]:
    """The checkpoints of finished runs, the baseline's first."""
    found = []
    for path in sorted(folder.glob("*/row.json"), key=lambda path: (not path.parent.name.startswith(BASELINE), path)):
        if name := json.loads(path.read_text("utf-8")).get("file"):
            found.append(path.parent / name)
    return found


def write(path: Path, facts: dict[str, Any]) -> None:
    """Write facts as JSON."""
    write_atomically(path, json.dumps(facts, indent=1).encode())


def tell(found: dict[str, Any], study: Study) -> None:
    """Print what a row has come to."""
    if "infeasible" in found:
        print(f"{study.net} {found['row']}: {found['infeasible']}", flush=True)
        return
    val, test = (found[part][study.metric] for part in ("val", "test"))
    print(f"{study.net} {found['row']}: {study.metric} val {val:.4f}, test {test:.4f}", flush=True)


if __name__ == "__main__":
    app.cli()
