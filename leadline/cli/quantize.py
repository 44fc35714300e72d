"""The verb `quantize`: a file in lower precision that is faster and as accurate, or the reason why there is none."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from leadline.cli.command import print_json, progress, warn
from leadline.cli.export import Model, Size
from leadline.cli.flags import AS_SAID, Read, parse_size
from leadline.cli.say import closing
from leadline.core.text import shown
from leadline.runtime.options import Precision


def quantize(
    model: Model,
    /,
    *,
    runtime: Annotated[str, arg(metavar="NAME")],
    data: Annotated[Path, arg(metavar="FOLDER")],
    out: Annotated[Path | None, arg(aliases=["-o"], metavar="FILE")] = None,
    precision: Precision = "int8",
    calibration: Annotated[str | None, arg(metavar="FOLDER")] = None,
    images: int = 128,
    frame: Size = None,
    split: str = "test",
    protocol: Annotated[str, arg(metavar="NAME")] = "indoor-metric@1",
    limit: Annotated[int | None, arg(metavar="N")] = None,
    metric: str = "delta1",
    max_drop: float = 0.01,
    force: bool = False,
    threads: Annotated[int | None, arg(metavar="N")] = None,
    reading: Read = AS_SAID,
    json: bool = False,
) -> int:
    """A smaller, faster file that is never worse: refused if it is slower than float32 here or loses too much accuracy.

    Args:
        model: a net that ships with leadline, or a checkpoint
        runtime: one of `leadline doctor` that makes such files, such as openvino, onnx or litert
        data: images with depth on which the file is measured
        out: the file to write; by default the model's name, the precision and the runtime's ending
        precision: int8, or fp16 or bf16 where the runtime has them
        calibration: images (a folder, a pattern or a .txt list) from which int8 learns ranges; by default those of the
            data's train split
        images: how many of them, evenly spaced
        frame: the file takes camera frames uint8 of this size
        split: the part of the data that judges
        protocol: how accuracy is measured, as in `leadline val`
        limit: measure on the first N images only
        metric: the protocol's figure that decides: delta1, or an error such as rmse, of which less is better
        max_drop: by how much the file may be worse in it, in its unit
        force: write the best file even so
        threads: threads of the runtime; by default every core
        reading: how to read the data
        json: print one JSON object
    """
    from leadline.runtime import backend, suffix

    backend(runtime)
    progress(f"quantizing {model} for {runtime}")
    from leadline.compress.quantization.search import AcceptanceCriteria
    from leadline.compress.quantization.search import quantize as quantize_model
    from leadline.core.agreement import in_words
    from leadline.core.preprocess import prepare
    from leadline.core.report import table
    from leadline.data.dataset import subset
    from leadline.data.layouts.detect import open_dataset
    from leadline.nn.checkpoint import find, load
    from leadline.runtime.export import calibration as pictures_for

    if images < 1:
        raise ValueError(f"images is {images}; calibration needs at least one")
    samples = open_dataset(data, split, **reading.given())
    if samples.note:
        warn(samples.note)
    samples = samples if limit is None else subset(samples, range(min(limit, len(samples))))
    if not len(samples):
        raise ValueError(f"{data} has no {split} images to measure on; `leadline data ls {data}` shows what is there")
    how, inputs = load(model).spec.preprocess, []
    if precision == "int8" and calibration is not None:
        inputs = pictures_for(calibration, how, images, warn)
    elif precision == "int8":
        others = open_dataset(data, "train", **reading.given())
        if split not in ("val", "test") or not len(others):
            raise ValueError("int8 must not learn its ranges from what judges it: give other images by --calibration")
        chosen = [round(i * (len(others) - 1) / max(images - 1, 1)) for i in range(min(images, len(others)))]
        inputs = [prepare(others[i].image, how) for i in sorted(set(chosen))]
    report = quantize_model(
        model,
        runtime,
        out or Path(f"{find(model).stem}-{precision}{suffix(runtime)}"),
        samples,
        precision=precision,
        calibration=inputs,
        criteria=AcceptanceCriteria(protocol, metric, max_drop=max_drop, force=force, threads=threads),
        frame=parse_size("frame", frame),
        say=progress,
    )
    progress("")
    if json:
        print_json(report.to_json())
    else:
        print(table([report]))
        closing(f"\nwrote {shown(report.context['file'])}: {report.context['method']}")
        closing(in_words(report.metrics, load(model).spec.head.kind == "metric"))
    return 0
