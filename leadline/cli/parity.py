"""`leadline parity`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import arg

from leadline.cli.command import print_json, progress, warn
from leadline.cli.early import check_model
from leadline.cli.export import Count, Model
from leadline.cli.flags import ALL, Comparison
from leadline.cli.short_help import short_help
from leadline.core.text import shown

if TYPE_CHECKING:
    from leadline.bench.parity import Parity, Picture
    from leadline.bench.rows import BenchOptions


_N_DATA = 8  # images of a data set on which outputs are compared


_FIGURES = {
    "relative_max": "rel. max",
    "relative_mean": "rel. mean",
    "depth_max": "depth max",
    "depth_mean": "depth mean",
    "within_125": "within 1.25",
    "preprocess_max": "input max",
}  # as `parity` names them, and the heads of their columns


_OF_FP32 = ("relative_max", "relative_mean")
"""Figures of rounding: of a file in lower precision they say nothing about its depth, and --json alone has them."""


_METRICS = ("delta1", "abs_rel", "rmse")  # those in the table; --json has all


_LEGEND = (
    "Differences from PyTorch: rel. of the outputs, over PyTorch's largest or mean value; depth of the end results at "
    "the picture's size, in the model's unit, behind pillow's resizing; within 1.25 the share of pixels that differ by "
    "a factor below 1.25; input of the net, in grey levels."
)


@short_help(
    {
        "What is compared": "--runtime --precision --reference --threads",
        "Images and sizes": "--data --limit --size --frame",
        "Verdict": "--tolerance --json",
    },
    "leadline parity fastdepth --runtime onnx,openvino",
    "leadline parity net.onnx photos --reference net.safetensors",
)
def parity(
    model: Model,
    more: Annotated[tuple[str, ...], arg(metavar="SOURCE")] = (),
    /,
    *,
    what: Annotated[Comparison, arg(name="")] = ALL,
    reference: Annotated[str | None, arg(metavar="NAME|FILE")] = None,
    threads: Count = None,
    tolerance: float = 1e-4,
    json: bool = False,
) -> int:
    """Run the same images through every runtime and compare with PyTorch; exit code 1 where float32 files differ.

    Without images it takes the first of --data, or three made up.

    Args:
        model: a net that ships with leadline, a checkpoint, a run's folder, or any exported, ONNX or TFLite file
        more: images to compare on (files, folders, patterns in quotes, .txt lists), and further exported files
        what: which files are compared, and on which data; --limit counts for images that are given, too
        reference: the checkpoint that exported files were made from; of files of other programs the checkpoint, ONNX or
            TFLite file that they were converted from
        threads: threads of each runtime; by default every core
        tolerance: largest difference of a float32 file, relative to the largest value
        json: print one JSON object
    """
    what.check()
    check_model(model)
    progress(f"comparing {model} with its runtimes")
    from leadline.bench.parity import parity as compare
    from leadline.bench.rows import is_artefact
    from leadline.runtime.external import is_external

    files = [Path(name) for name in (model, *more) if is_artefact(name)]
    if is_artefact(model) and reference is None and is_external(model):
        raise ValueError(
            f"{model} is not leadline's, so there is no PyTorch net to compare it with: give the file or checkpoint "
            "that it was converted from by --reference"
        )
    if is_artefact(model) and reference is None:
        raise ValueError(f"{model} is compared with the checkpoint it was made from: give that by --reference")
    if not is_artefact(model) and reference is not None:
        raise ValueError(f"{model} is a checkpoint itself; --reference is for exported files")
    options = what.options(threads=() if threads is None else (threads,))
    given = [name for name in more if not is_artefact(name)]
    found = compare(reference or model, _pictures(given, options), options, files, tolerance=tolerance, say=progress)
    progress("")
    if json:
        print_json(found.to_json())
    else:
        print(_parity_table(found.rows))
        for row in found.rows:
            for why in filter(None, (row.get("error"), row.get("note"))):
                print(f"{row['runtime']} {row['precision']}: {row['verdict']}: {shown(why)}")
        own = not reference or not is_external(reference)
        legend = _LEGEND if own else _LEGEND.replace("PyTorch", "the reference")
        print(f"\n{legend}\n{_verdict(found)}")
    return 0 if found.passed else 1


def _pictures(given: Sequence[str], options: BenchOptions) -> list[Picture]:
    """The images that `given` names, otherwise the data's first ones, otherwise three made up."""
    from leadline.core.image_sources import sources
    from leadline.core.preprocess import read_image
    from leadline.runtime.export import picture

    if given:
        paths = [path for source in given for path in sources(source, warn)]
        return [partial(read_image, path) for path in paths[: options.limit]]
    if options.data is not None:
        samples = options.samples()
        return [lambda i=i: samples[i].image for i in range(min(options.limit or _N_DATA, _N_DATA, len(samples)))]  # type: ignore[misc]
    return [partial(picture, options.frame, seed) for seed in range(3)]


def _parity_table(rows: Sequence[Mapping[str, Any]]) -> str:
    from leadline.core.report import grid

    figures = [key for key in _FIGURES if any(key in row for row in rows)]
    metrics = [key for key in _METRICS if any(key in row.get("metrics", {}) for row in rows)]
    cells = [["runtime", "precision", "takes", *(_FIGURES[key] for key in figures), *metrics, "verdict"]]
    for row in rows:
        takes = "net input" if row.get("frame") is None else "frame {}x{}".format(*row["frame"])
        numbers = [_figure(row, key) for key in figures]
        accuracy = [f"{row['metrics'][key]:.4g}" if "metrics" in row else "" for key in metrics]
        cells.append([row["runtime"], row["precision"], takes, *numbers, *accuracy, row["verdict"]])
    return grid(cells)


def _figure(row: Mapping[str, Any], key: str) -> str:
    if key not in row or (key in _OF_FP32 and row["precision"] != "fp32"):
        return ""
    if key == "within_125":
        return f"{100 * row[key]:.2f}%"
    return f"{row[key]:.1e}" if row["precision"] == "fp32" else f"{row[key]:.3g}"


def _verdict(found: Parity) -> str:
    float32 = [row for row in found.rows if row["precision"] == "fp32" and row["runtime"] != "eager"]
    float32 = [row for row in float32 if row["verdict"] != "reference"]
    agree = sum(row["verdict"] == "agrees" for row in float32)
    verdict = "passed" if found.passed else "NOT passed"
    on = f"{found.n_images} picture{'s' if found.n_images > 1 else ''}"
    return f"{verdict}: {agree} of {len(float32)} float32 files agree to {found.tolerance:g} (rel. max) on {on}"
