"""The verb `quantize`: a file in lower precision that is faster and as accurate, or the reason why there is none."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from leadline.cli.command import print_json, progress, warn
from leadline.cli.early import check_layout, check_model, check_protocol_names, check_runtimes
from leadline.cli.export import Model, Size
from leadline.cli.flags import AS_SAID, Read, parse_size
from leadline.cli.say import closing
from leadline.cli.short_help import short_help
from leadline.compress.options import AcceptanceCriteria
from leadline.core.text import shown
from leadline.runtime.options import Precision


@dataclass(frozen=True, kw_only=True)
class _Criteria(AcceptanceCriteria):
    """With words for the values."""

    protocol: Annotated[str, arg(metavar="NAME")] = AcceptanceCriteria.protocol
    threads: Annotated[int | None, arg(metavar="N")] = None


@dataclass(frozen=True, kw_only=True)
class _File:
    """The file that is to be made."""

    runtime: Annotated[str, arg(metavar="NAME")]
    """One of `leadline doctor` that makes such files, such as openvino, onnx or litert."""
    out: Annotated[Path | None, arg(aliases=["-o"], metavar="FILE")] = None
    """The file to write; by default the model's name, the precision and the runtime's ending."""
    precision: Precision = "int8"
    """int8, or fp16 or bf16 where the runtime has them."""
    calibration: Annotated[str | None, arg(metavar="FOLDER")] = None
    """Images (a folder, a pattern or a .txt list) from which int8 learns ranges; by default those of the data's train
    split."""
    images: int = 128
    """How many of them, evenly spaced."""
    frame: Size = None
    """The file takes camera frames uint8 of this size."""


@short_help(
    {
        "File": "--runtime --out --precision",
        "Data": "--data --calibration --limit",
        "When it is good": "--metric --max-drop --force --threads",
    },
    "leadline quantize fastdepth --runtime openvino --data NYU",
    "leadline quantize fastdepth --runtime onnx --data NYU --max-drop 0.005",
)
def quantize(
    model: Model,
    /,
    *,
    file: Annotated[_File, arg(name="")],
    data: Annotated[Path, arg(metavar="FOLDER")],
    split: str = "test",
    limit: Annotated[int | None, arg(metavar="N")] = None,
    criteria: Annotated[_Criteria, arg(name="")],
    reading: Read = AS_SAID,
    json: bool = False,
) -> int:
    """Make a file of lower precision; refused if it is slower than float32 here or loses too much accuracy.

    Args:
        model: a net that ships with leadline, or a checkpoint
        file: the file that is to be made
        data: images with depth on which the file is measured
        split: the part of the data on which it is measured
        limit: measure on the first N images only
        criteria: when the file is good
        reading: how to read the data
        json: print one JSON object
    """
    check_runtimes(file.runtime)
    check_model(model)
    check_protocol_names([criteria.protocol])
    check_layout(reading.layout)
    progress(f"quantizing {model} for {file.runtime}")
    from leadline.compress.quantization.search import quantize as quantize_model
    from leadline.core.agreement import in_words
    from leadline.core.preprocess import prepare
    from leadline.core.report import table
    from leadline.core.tasks import check_fits, reading_for
    from leadline.data.dataset import subset
    from leadline.data.layouts.detect import open_dataset
    from leadline.nn.files import find, read_spec
    from leadline.runtime import suffix
    from leadline.runtime.export import calibration as pictures_for

    if file.images < 1:
        raise ValueError(f"images is {file.images}; calibration needs at least one")
    spec = read_spec(model)
    read = {**reading_for(spec.head.kind), **reading.given()}
    samples = open_dataset(data, split, **read)
    check_fits(spec.head.kind, samples.name, samples.classes, samples.joint)
    if samples.note:
        warn(samples.note)
    samples = samples if limit is None else subset(samples, range(min(limit, len(samples))))
    if not len(samples):
        raise ValueError(f"{data} has no {split} images to measure on; `leadline data ls {data}` shows what is there")
    how, inputs = spec.preprocess, []
    if file.precision == "int8" and file.calibration is not None:
        inputs = pictures_for(file.calibration, how, file.images, warn)
    elif file.precision == "int8":
        others = open_dataset(data, "train", **read)
        if split not in ("val", "test") or not len(others):
            raise ValueError(
                "int8 must not learn its ranges from the images of the measurement: give others by --calibration"
            )
        chosen = [round(i * (len(others) - 1) / max(file.images - 1, 1)) for i in range(min(file.images, len(others)))]
        inputs = [prepare(others[i].image, how) for i in sorted(set(chosen))]
    report = quantize_model(
        model,
        file.runtime,
        file.out or Path(f"{find(model).stem}-{file.precision}{suffix(file.runtime)}"),
        samples,
        precision=file.precision,
        calibration=inputs,
        criteria=criteria,
        frame=parse_size("frame", file.frame),
        say=progress,
    )
    progress("")
    if json:
        print_json(report.to_json())
    else:
        print(table([report]))
        closing(f"\nwrote {shown(report.context['file'])}: {report.context['method']}")
        closing(in_words(report.metrics, spec.head.unit == "m"))
    return 0
