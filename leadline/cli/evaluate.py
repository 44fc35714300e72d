"""`leadline val`."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import arg

from leadline.cli import data as cli_data
from leadline.cli.command import check_writable, names, print_json, progress, warn, write_whole
from leadline.cli.early import check_layout, check_protocol_names
from leadline.cli.evaluated import check_predictions, of_model, of_predictions
from leadline.cli.flags import AS_SAID, SHIPPED, Count, ModelOptions, Number, Read
from leadline.cli.short_help import short_help
from leadline.core.tasks import DEPTH, check_fits, protocol_for, reading_for

if TYPE_CHECKING:
    from leadline.evaluation.evaluate import ImageResult


@short_help(
    {
        "What is measured": "--model --predictions --runtime --threads",
        "Data": "--data --split --limit",
        "Results": "--protocol --csv --json",
    },
    "leadline val --data NYU",
    "leadline val --data NYU -m net.onnx --protocol nyu-eigen@1 --csv images.csv",
)
def val(
    *,
    data: Annotated[Path, arg(metavar="FOLDER")],
    what: Annotated[ModelOptions, arg(name="")] = SHIPPED,
    predictions: Annotated[Path | None, arg(metavar="FOLDER")] = None,
    allow_missing: bool = False,
    split: str = "test",
    protocol: Annotated[str, arg(metavar="NAMES")] = DEPTH.protocol,
    csv: Annotated[Path | None, arg(metavar="FILE")] = None,
    limit: Count = None,
    latency_ms: Number = None,
    reading: Read = AS_SAID,
    json: bool = False,
) -> int:
    """Measure the accuracy of a model on a data set, under one or more named protocols.

    Args:
        data: the data set; `leadline data ls` shows what leadline sees in it
        what: the model, and what runs it
        predictions: evaluate depth maps that any program has saved, in place of a model; each is called as its frame is
        allow_missing: evaluate only the frames that have a depth map in --predictions
        split: train, val, test or all; where there is no test part, val stands in for it
        protocol: one or more such as nyu-eigen@1,fastdepth-224@1 with commas between, or all that can be applied;
            of classifiers top1@1, of labels miou@1, of both depth and labels joint@1
        csv: also write a table with a row for each image and protocol
        limit: only the first N images
        latency_ms: mai2022@1: the net's latency on the challenge's device; its score is then given too
        reading: how to read the data
        json: print one JSON object: the report, or with several protocols a list named reports
    """
    asked = names(protocol, "protocol")
    check_protocol_names(() if asked == ("all",) else asked)
    from leadline.core.report import Report, table
    from leadline.data.dataset import first_readable, subset
    from leadline.data.layouts.detect import open_dataset
    from leadline.evaluation.evaluate import evaluate_all
    from leadline.evaluation.protocols import PROTOCOLS, find, misfit, with_mai2022_score
    from leadline.predict.kind import kind_of

    if limit is not None and limit < 1:
        raise ValueError(f"limit is {limit}; at least one image is needed")
    chosen = list(PROTOCOLS.values()) if asked == ("all",) else [find(name) for name in asked]
    if latency_ms is not None and not (latency_ms > 0 and "mai2022@1" in {p.id for p in chosen}):
        raise ValueError(f"latency_ms is {latency_ms}; it is above 0, and for the score of mai2022@1 only: name that")
    if predictions is None:
        if allow_missing:
            raise ValueError("--allow-missing is for --predictions; leave it out")
    else:
        for_models = {name: value for name, value in vars(what).items() if name != "external"}
        check_predictions(predictions, what.external, for_models)
    model = what.name if predictions is None else ""
    check_layout(reading.layout)
    if predictions is None:
        what.check()
    if csv is not None:  # what cannot be written should fail now, not after the work
        may_tabulate(csv, data, predictions or Path(model))
        check_writable(csv)
    kind = DEPTH.kinds[0] if predictions is not None else kind_of(model)
    samples = open_dataset(data, split, **{**reading_for(kind), **reading.given()})
    cli_data.tell_unread([data])
    if samples.note:
        warn(samples.note)
    whole = samples
    if limit is not None:
        samples = subset(samples, range(min(limit, len(samples))))
    if not len(samples):
        raise ValueError(f"{data} has no {split} images to measure on; `leadline data ls {data}` shows what is there")
    if predictions is not None:
        evaluated = of_predictions(predictions, what.external, samples, whole, allow_missing)
    else:
        evaluated = of_model(what.predictor(len(samples)), samples, model)
    check_fits(evaluated.kind, samples.name, samples.classes, samples.joint)
    if len(chosen) == 1:
        chosen = [find(protocol_for(evaluated.kind, chosen[0].id))]
    unfit: dict[str, str] = {}
    if asked == ("all",):
        size = first_readable(evaluated.samples).target.shape
        unfit = {p.id: why for p in chosen if (why := misfit(p, evaluated.kind, size))}
        chosen = [p for p in chosen if p.id not in unfit]
    results: list[ImageResult] = []

    def note(result: ImageResult) -> None:
        results.append(result)
        progress(f"{len(results)} of {len(evaluated.samples)} images measured")

    reports = evaluate_all(
        evaluated.predict, evaluated.samples, chosen, name=evaluated.name, on_image=note, by_sample=evaluated.by_sample
    )
    progress("")
    facts = Report(
        evaluated.name,
        context={**evaluated.facts, "data": str(data), "split": split, "data_set": samples.name},
    )
    reports = [report | facts for report in reports]
    if latency_ms is not None:
        reports = with_mai2022_score(reports, latency_ms)
    if csv is not None:
        write_table(csv, results)
    for skipped in reports[0].context["skipped"]:
        warn(f"left out: {skipped}")
    if json:
        many = {"model": model or str(predictions), "reports": [r.to_json() for r in reports], "unfit": unfit}
        print_json(reports[0].to_json() if len(reports) == 1 and not unfit else many)
    else:
        print(table(reports))
        print("".join(f"\ndoes not fit: {why}" for why in unfit.values()), end="\n" if unfit else "")
    return 0


def may_tabulate(path: Path, data: Path, model: Path) -> None:
    """ValueError if a table at `path` would replace a file of the model or, but for an older table, of the data."""
    from leadline.core.own_results import TABLE
    from leadline.core.writing import may_be_written
    from leadline.runtime.manifest import files_of

    reads = [file for file in files_of(model) if file.is_file()]
    is_old = path.is_file() and path.read_bytes()[: len(TABLE)] in (TABLE, b"")
    may_be_written(path, reads=reads, apart=[data] if path.exists() and not is_old else (), advice="give another --csv")


def write_table(path: Path, results: Sequence[ImageResult]) -> None:
    """A CSV file with a row for each image and protocol: name, protocol, problem, n_pixels, n_filled, metrics."""
    rows: list[dict[str, Any]] = []
    for result in results:
        for protocol in dict.fromkeys([*result.n_pixels, *result.problems]):
            row = {"name": result.name, "protocol": protocol, "problem": result.problems.get(protocol, "")}
            counts = {"n_pixels": result.n_pixels.get(protocol, 0), "n_filled": result.n_filled.get(protocol, 0)}
            rows.append(row | counts | result.metrics.get(protocol, {}))
    columns = dict.fromkeys(key for row in rows for key in row)
    file = io.StringIO(newline="")
    table = csv.DictWriter(file, list(columns))
    table.writeheader()
    table.writerows(rows)
    write_whole(path, file.getvalue())
