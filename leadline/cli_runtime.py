"""The verbs about runtimes: make a file for one, compare them all with PyTorch, and say which can run here."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import arg

from leadline.command import complain, emit, names, say
from leadline.options import Precision
from leadline.text import shown

if TYPE_CHECKING:
    from leadline.bench.parity import Parity, Picture
    from leadline.bench.plan import BenchOptions
    from leadline.predict import Predictor

Size = Annotated[str | None, arg(metavar="HEIGHTxWIDTH")]
Folder = Annotated[Path | None, arg(metavar="FOLDER")]
Count = Annotated[int | None, arg(metavar="N")]
Model = Annotated[str, arg(metavar="NAME|FILE")]

_N_DATA = 8  # images of a data set on which outputs are compared
_FIGURES = {
    "relative_max": "rel. max",
    "relative_mean": "rel. mean",
    "depth_max": "depth max",
    "depth_mean": "depth mean",
    "preprocess_max": "input max",
}  # as `parity` names them, and the heads of their columns
_METRICS = ("delta1", "abs_rel", "rmse")  # those in the table; --json has all
_LEGEND = (
    "Differences from PyTorch: rel. of the outputs, over PyTorch's largest or mean value; depth of the end results at "
    "the picture's size, in the model's unit, behind pillow's resizing; input of the net, in grey levels."
)


def export(
    model: Model,
    /,
    *,
    runtime: Annotated[str, arg(metavar="NAME")],
    out: Annotated[Path | None, arg(aliases=["-o"], metavar="FILE")] = None,
    precision: Precision = "fp32",
    frame: Size = None,
    imgsz: Size = None,
    calibration: Annotated[str | None, arg(metavar="FOLDER")] = None,
    images: int = 128,
    keep: Annotated[str | None, arg(metavar="LAYERS")] = None,
    tuning: Folder = None,
    trials: int = 0,
    json: bool = False,
) -> int:
    """A file that a runtime runs, from a net's weights. It is run once and compared with PyTorch before it counts.

    Args:
        model: a net that ships with leadline, or a checkpoint
        runtime: one of `leadline doctor`, such as onnx, openvino or litert
        out: the file to write; by default the model's name with the runtime's ending, in the current folder
        precision: the arithmetic of its layers; what the runtime has no kernels for stays float32
        frame: take camera frames uint8 of this size, with resizing and normalising, and give depth of that size
        imgsz: the net's input size; by default the model's own
        calibration: int8: images (a folder, a pattern or a .txt list) from which it learns ranges
        images: int8: how many of them, evenly spaced
        keep: int8: layers that stay in floating point, by name with commas between
        tuning: tvm: the folder where the tuner keeps what it has tried; by default one in leadline's cache
        trials: tvm: how many schedules the tuner tries for each part of the net
        json: print one JSON object
    """
    from dataclasses import replace

    from leadline.checkpoint import find, load
    from leadline.export import calibration as pictures_for
    from leadline.export import difference, tuning_folder
    from leadline.export import export as export_model
    from leadline.options import CompileOptions
    from leadline.runtime import backend, suffix
    from leadline.runtime.card import files_of

    backend(runtime)
    if precision == "int8" and calibration is None:
        raise ValueError("int8 learns its ranges from images: give their folder by --calibration")
    how = load(model).spec.preprocess
    how = replace(how, size=parse_size("imgsz", imgsz) or how.size)
    if runtime == "tvm":
        tuning = tuning_folder(tuning, trials)
        if trials:
            say(f"tuning takes long; interrupted, it goes on. A line for each task: tuning.jsonl under {tuning}")
    options = CompileOptions(precision, parse_size("frame", frame), (), names(keep, "keep"), tuning, trials)
    if out is None:
        out = Path(find(model).stem + ("" if precision == "fp32" else f"-{precision}") + suffix(runtime))
    if calibration is not None:
        options = replace(options, calibration=pictures_for(calibration, how, images, complain))
    export_model(model, runtime, out, options, size=how.size)
    found, files = difference(out, model), files_of(out)
    n_bytes = sum(path.stat().st_size for path in files)
    if json:
        written = [str(path) for path in files]
        facts = {"model": model, "runtime": runtime, "precision": precision, "frame": options.frame, "files": written}
        emit(facts | {"bytes": n_bytes, "difference": found})
    else:
        takes = "float32 [1,3,{},{}], RGB in 0..1".format(*how.size)
        if options.frame is not None:
            takes = "camera frames uint8 [1,{},{},3], RGB".format(*options.frame)
        print(f"wrote {', '.join(map(shown, files))}: {n_bytes / 1e6:.1f} MB, {precision}, takes {takes}")
        print(f"run once by {runtime}: differs from PyTorch by {found:.1e} of the largest value")
    return 0


def parity(
    model: Model,
    more: Annotated[tuple[str, ...], arg(metavar="SOURCE")] = (),
    /,
    *,
    runtime: Annotated[str, arg(metavar="NAMES|all")] = "all",
    precision: Annotated[str, arg(metavar="NAMES")] = "fp32",
    reference: Annotated[str | None, arg(metavar="NAME|FILE")] = None,
    frame: Size = None,
    imgsz: Size = None,
    data: Folder = None,
    split: str = "test",
    protocol: str = "indoor-metric@1",
    limit: Count = None,
    calibration: Folder = None,
    images: int = 128,
    threads: Count = None,
    tolerance: float = 1e-4,
    json: bool = False,
) -> int:
    """Run the same images through every runtime and compare with PyTorch; exit code 1 where float32 files differ.

    Without images it takes the first of --data, or three made up.

    Args:
        model: a net that ships with leadline, a checkpoint, or an exported file
        more: images to compare on (files, folders, patterns in quotes, .txt lists), and further exported files
        runtime: all, or some such as onnx,openvino with commas between; not for exported files
        precision: one or more of fp32,fp16,bf16,int8 with commas between; not for exported files
        reference: the checkpoint that exported files were made from
        frame: also compare files that take whole camera frames of this size
        imgsz: the net's input size; by default the model's own
        data: also measure the accuracy of each file on this data set
        split: of the data: train, val, test or all
        protocol: of the accuracy, such as nyu-eigen@1
        limit: only the first N images, of those given and of the data
        calibration: int8: folder of images from which it learns ranges
        images: int8: how many of them, evenly spaced
        threads: threads of each runtime; by default every core
        tolerance: largest difference of a float32 file, relative to the largest value
        json: print one JSON object
    """
    from leadline.bench.parity import parity as compare
    from leadline.bench.plan import BenchOptions, is_artefact
    from leadline.runtime import BACKENDS

    files = [Path(name) for name in (model, *more) if is_artefact(name)]
    if is_artefact(model) and reference is None:
        raise ValueError(f"{model} is compared with the checkpoint it was made from: give that by --reference")
    if not is_artefact(model) and reference is not None:
        raise ValueError(f"{model} is a checkpoint itself; --reference is for exported files")
    whole = parse_size("frame", frame)
    options = BenchOptions(
        runtimes=tuple(BACKENDS) if runtime == "all" else names(runtime, "runtime"),
        precisions=names(precision, "precision"),  # type: ignore[arg-type]  # the comparison checks them
        threads=() if threads is None else (threads,),
        size=parse_size("imgsz", imgsz),
        frame=whole or BenchOptions.frame,
        whole_frame=whole is not None,
        data=data,
        split=split,
        protocol=protocol,
        limit=limit,
        calibration=calibration,
        n_calibration=images,
    )
    given = [name for name in more if not is_artefact(name)]
    found = compare(reference or model, _pictures(given, options), options, files, tolerance=tolerance, say=say)
    say("")
    if json:
        emit(found.to_json())
    else:
        print(_parity_table(found.rows))
        for row in found.rows:
            for why in filter(None, (row.get("error"), row.get("note"))):
                print(f"{row['runtime']} {row['precision']}: {row['verdict']}: {shown(why)}")
        print(f"\n{_LEGEND}\n{_judgement(found)}")
    return 0 if found.passed else 1


def doctor(*, json: bool = False) -> int:
    """Which runtimes can run and export here, what the others lack, and what machine this is.

    Args:
        json: print one JSON object
    """
    from leadline.bench.device import fingerprint
    from leadline.report import grid
    from leadline.runtime.health import health

    device, found = fingerprint(), health()
    if json:
        emit({"runtimes": found, "device": device})
        return 0
    rows = [["runtime", "runs files", "makes files"]]
    for one in found:
        runs = f"ready, {one['package']} {one['version']}" if one["ready"] else one["needs"]
        rows.append([one["runtime"], runs, "ready" if one["exports"] else one["export_needs"]])
    print(grid(rows))
    print(f"\n{device['cpu']}, {device['usable_cores']} cores to use, {' '.join(device.get('isa', ['-']))}")
    print(f"{device['os']}, Python {device['python']}")
    return 0


def predictor(model: str, runtime: str | None, threads: int | None) -> Predictor:
    """What `--model`, `--runtime` and `--threads` name; `auto` tells on standard error what it chose, and why."""
    from leadline.predict import load_predictor
    from leadline.runtime import SUFFIXES

    if runtime != "auto":
        return load_predictor(model, runtime=runtime, threads=threads)
    if SUFFIXES.get(Path(model).suffix, "eager") != "eager":  # a file says itself what runs it
        return load_predictor(model, threads=threads)
    from leadline.bench.auto import choose

    choice = choose(model, threads=threads, say=say)
    say("")
    complain(choice.why)
    return load_predictor(choice.file, threads=threads)


def parse_size(name: str, text: str | None) -> tuple[int, int] | None:
    """(height, width) from HEIGHTxWIDTH; ValueError for anything else, naming the flag."""
    if text is None:
        return None
    found = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", text)
    if found is None:
        raise ValueError(f"--{name} is {text!r}; HEIGHTxWIDTH in pixels is needed, such as 480x640")
    return int(found[1]), int(found[2])


def _pictures(given: Sequence[str], options: BenchOptions) -> list[Picture]:
    """The images that `given` names, otherwise the data's first ones, otherwise three made up."""
    from leadline.export import picture
    from leadline.preprocess import read_image
    from leadline.sources import sources

    if given:
        paths = [path for source in given for path in sources(source, complain)]
        return [partial(read_image, path) for path in paths[: options.limit]]
    if options.data is not None:
        from leadline.data.layouts import open_dataset

        samples = open_dataset(options.data, options.split)
        return [lambda i=i: samples[i].image for i in range(min(options.limit or _N_DATA, _N_DATA, len(samples)))]  # type: ignore[misc]
    return [partial(picture, options.frame, seed) for seed in range(3)]


def _parity_table(rows: Sequence[Mapping[str, Any]]) -> str:
    from leadline.report import grid

    figures = [key for key in _FIGURES if any(key in row for row in rows)]
    metrics = [key for key in _METRICS if any(key in row.get("metrics", {}) for row in rows)]
    cells = [["runtime", "precision", "takes", *(_FIGURES[key] for key in figures), *metrics, "verdict"]]
    for row in rows:
        takes = "net input" if row.get("frame") is None else "frame {}x{}".format(*row["frame"])
        numbers = [f"{row[key]:.1e}" if key in row else "" for key in figures]
        accuracy = [f"{row['metrics'][key]:.4g}" if "metrics" in row else "" for key in metrics]
        cells.append([row["runtime"], row["precision"], takes, *numbers, *accuracy, row["verdict"]])
    return grid(cells)


def _judgement(found: Parity) -> str:
    judged = [row for row in found.rows if row["precision"] == "fp32" and row["runtime"] != "eager"]
    agree = sum(row["verdict"] == "agrees" for row in judged)
    verdict = "passed" if found.passed else "NOT passed"
    on = f"{found.n_images} picture{'s' if found.n_images > 1 else ''}"
    return f"{verdict}: {agree} of {len(judged)} float32 files agree to {found.tolerance:g} (rel. max) on {on}"
