"""The command line: one function for each verb, its flags made from its signature. Everything heavy is imported inside.

With `--json` a verb prints one JSON object on standard output and nothing else there; notes go to standard error.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import arg

from leadline import cli_bench, cli_data, cli_distill, cli_model, cli_prune, cli_quantize, cli_runtime
from leadline.command import Verbs, check_writable, complain, emit, names
from leadline.command import run as run_command
from leadline.options import Training
from leadline.text import shown

if TYPE_CHECKING:
    from leadline.predict import Outcome

Source = Annotated[str, arg(metavar="SOURCE")]
Model = Annotated[str, arg(aliases=["-m"], metavar="NAME|FILE")]
Out = Annotated[Path, arg(aliases=["-o"], metavar="FOLDER")]
Number = Annotated[float | None, arg(metavar="NUMBER")]
Count = Annotated[int | None, arg(metavar="N")]
Runtime = Annotated[str | None, arg(metavar="NAME|auto")]


def predict(
    source: Source,
    /,
    *,
    model: Model = "fastdepth",
    out: Out = Path("out"),
    save: Annotated[str | None, arg(metavar="FORMATS")] = None,
    colormap: Annotated[str | None, arg(metavar="NAME")] = None,
    vmin: Number = None,
    vmax: Number = None,
    fov: Number = None,
    intrinsics: Annotated[str | None, arg(metavar="FX,FY,CX,CY|FILE")] = None,
    flip: bool = False,
    runtime: Runtime = None,
    threads: Count = None,
    json: bool = False,
) -> int:
    """Depth of photographs: an image, a folder, a pattern in quotes or a .txt list. A bad file does not stop the rest.

    Args:
        source: image, folder (not those below it), pattern such as 'photos/**/*.jpg', or .txt list of images
        model: a net that ships with leadline, a checkpoint, or a file of `leadline export`
        out: where the results go
        save: one or more of vis,side,png16,npy,npz,ply with commas between; by default vis,png16 (millimetres) for
            metric depth and vis,npy for relative
        colormap: a colour map of matplotlib for vis; by default near is bright
        vmin: vis: the depth of the first colour; by default 0 m, or the picture's own range if depth is relative
        vmax: vis: the depth of the last colour; by default 10 m
        fov: ply: how many degrees the camera sees across the picture's longer side; by default what the focal length in
            the photograph's EXIF block says, else 58
        intrinsics: ply: the camera in pixels, as four numbers or as a file: a 3x3 matrix in text, KITTI's calibration,
            or JSON; of the picture as it is stored
        flip: look at the mirrored picture too and merge the two answers, in twice the time
        runtime: what runs the net, such as onnx or openvino; auto: the fastest one here; by default PyTorch
        threads: threads of the runtime; by default its own choice
        json: print one JSON object
    """
    from leadline.predict import predict_files
    from leadline.sources import sources

    paths = sources(source, complain)
    predictor = replace(cli_runtime.predictor(model, runtime, threads), flip=flip)
    formats = names(save, "save") or (("vis", "png16") if predictor.head.kind == "metric" else ("vis", "npy"))
    look = {"colormap": colormap, "vmin": vmin, "vmax": vmax, "fov": fov, "intrinsics": intrinsics}
    outcomes = []
    for outcome in predict_files(predictor, paths, out, save=formats, **look):  # type: ignore[arg-type]
        outcomes.append(outcome)
        if outcome.error is not None:
            complain(outcome.error)
        elif not json:
            print(_described(outcome), flush=True)
    n_failed = sum(outcome.error is not None for outcome in outcomes)
    if json:
        files = [outcome.to_json() for outcome in outcomes]
        facts = {"model": predictor.name, "runtime": predictor.runtime, "precision": predictor.precision}
        facts |= {"kind": predictor.head.kind, "unit": predictor.head.unit}
        emit(facts | {"n": len(files), "n_failed": n_failed, "files": files})
    return 1 if n_failed else 0


def val(
    *,
    data: Annotated[Path, arg(metavar="FOLDER")],
    model: Model = "fastdepth",
    split: str = "test",
    protocol: Annotated[str, arg(metavar="NAMES")] = "indoor-metric@1",
    csv: Annotated[Path | None, arg(metavar="FILE")] = None,
    limit: Count = None,
    flip: bool = False,
    latency_ms: Number = None,
    runtime: Runtime = None,
    threads: Count = None,
    reading: cli_data.Read = cli_data.AS_SAID,
    json: bool = False,
) -> int:
    """Accuracy of a model on a data set, under one or more named protocols.

    Args:
        data: the data set; `leadline data ls` shows what leadline sees in it
        model: a net that ships with leadline, a checkpoint, or a file of `leadline export`
        split: train, val, test or all; where there is no test part, val stands in for it
        protocol: one or more such as nyu-eigen@1,fastdepth-224@1 with commas between, or all that can be applied
        csv: also write a table with a row for each image and protocol
        limit: only the first N images
        flip: look at each mirrored image too and merge the two answers
        latency_ms: mai2022@1: the net's latency on the challenge's device; its score is then given too
        runtime: what runs the net, such as onnx or openvino; auto: the fastest one here; by default PyTorch
        threads: threads of the runtime; by default its own choice
        reading: how to read the data
        json: print one JSON object: the report, or with several protocols a list named reports
    """
    from leadline.data.dataset import first_readable, subset
    from leadline.data.layouts import open_dataset
    from leadline.evaluate import ImageResult, evaluate_all
    from leadline.protocols import PROTOCOLS, find, misfit, with_mai2022_score
    from leadline.report import Report, table

    if limit is not None and limit < 1:
        raise ValueError(f"limit is {limit}; at least one image is needed")
    asked = names(protocol, "protocol")
    chosen = list(PROTOCOLS.values()) if asked == ("all",) else [find(name) for name in asked]
    if latency_ms is not None and not (latency_ms > 0 and "mai2022@1" in {p.id for p in chosen}):
        raise ValueError(f"latency_ms is {latency_ms}; it is above 0, and for the score of mai2022@1 only: name that")
    if csv is not None:  # what cannot be written should fail now, not after the work
        cli_data.may_tabulate(csv, data, model)
        check_writable(csv)
    samples = open_dataset(data, split, **reading.given())
    cli_data.tell_unread([data])
    if samples.note:
        complain(samples.note)
    if limit is not None:
        samples = subset(samples, range(min(limit, len(samples))))
    if not len(samples):
        raise ValueError(f"{data} has no {split} images to measure on; `leadline data ls {data}` shows what is there")
    predictor = replace(cli_runtime.predictor(model, runtime, threads), flip=flip)
    unfit: dict[str, str] = {}
    if asked == ("all",):
        size = first_readable(samples).target.shape
        unfit = {p.id: why for p in chosen if (why := misfit(p, predictor.head.kind, size))}
        chosen = [p for p in chosen if p.id not in unfit]
    results: list[ImageResult] = []
    with _progress(len(samples)) as advance:

        def note(result: ImageResult) -> None:
            results.append(result)
            advance()

        reports = evaluate_all(predictor, samples, chosen, name=predictor.name, on_image=note)
    facts = Report(
        predictor.name,
        context={
            "model": model,
            "runtime": predictor.runtime,
            "precision": predictor.precision,
            "flip": flip,
            "data": str(data),
            "split": split,
            "data_set": samples.name,
        },
    )
    reports = [report | facts for report in reports]
    if latency_ms is not None:
        reports = with_mai2022_score(reports, latency_ms)
    if csv is not None:
        cli_data.write_table(csv, results)
    for skipped in reports[0].context["skipped"]:
        complain(f"left out: {skipped}")
    if json:
        many = {"model": model, "reports": [r.to_json() for r in reports], "unfit": unfit}
        emit(reports[0].to_json() if len(reports) == 1 and not unfit else many)
    else:
        print(table(reports))
        print("".join(f"\ndoes not fit: {why}" for why in unfit.values()), end="\n" if unfit else "")
    return 0


def train(run: Annotated[Training, arg(name="")], *, json: bool = False) -> int:
    """Train a net on one or more data sets; checkpoints, curves and pictures go to a folder, `--resume` goes on.

    Args:
        run: the run
        json: print one JSON object
    """
    from leadline.cli_train import told
    from leadline.cli_train import train as run_training

    return told(run_training(run)[1], run, json)


VERBS: Verbs = {
    "predict": predict,
    "train": train,
    "val": val,
    "label": cli_distill.label,
    "distill": cli_distill.distill,
    "list": cli_model.list_models,
    "export": cli_runtime.export,
    "parity": cli_runtime.parity,
    "prune": cli_prune.prune,
    "quantize": cli_quantize.quantize,
    "bench": cli_bench.bench,
    "doctor": cli_runtime.doctor,
    "info": cli_model.info,
    "import": cli_model.import_model,
    "data": cli_data.VERBS,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command, by default the process's own; its exit code, see `command.run`."""
    return run_command(VERBS, sys.argv[1:] if argv is None else argv)


def _described(outcome: Outcome) -> str:
    height, width = outcome.size or (0, 0)
    what = "metric depth in m" if outcome.kind == "metric" else f"{outcome.kind}, no unit"
    numbers = "no valid pixel"
    if outcome.low is not None:
        numbers = f"min {outcome.low:.3f}, median {outcome.median:.3f}, max {outcome.high:.3f}"
    times = ", ".join(f"{name.removesuffix('_ms')} {value:.1f}" for name, value in outcome.latency_ms.items())
    files = ", ".join(shown(path) for path in outcome.files)
    camera = ""
    if outcome.camera is not None:
        camera = "\n  camera: focal length {fx:.1f} pixels, from {source}".format(**outcome.camera)
    start = f"{shown(outcome.source)} ({width}x{height}): {what}: {numbers}"
    return f"{start}\n  latency in ms: {times}{camera}\n  wrote {files}"


@contextlib.contextmanager
def _progress(total: int) -> Iterator[Callable[[], None]]:
    """A bar on standard error where that is a terminal; gives the function that moves it by one."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("images", total=total)
        yield functools.partial(bar.advance, task)


if __name__ == "__main__":
    sys.exit(main())
