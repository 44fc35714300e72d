"""The verb `bench`: times, accuracy and cost of files for every runtime, in one table, as JSON and as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from leadline.cli.command import check_writable, names, progress, storable, write_whole
from leadline.cli.flags import parse_size
from leadline.cli.say import inform
from leadline.runtime.options import NOTHING_SAID, ExternalModel


def bench(
    models: Annotated[tuple[str, ...], arg(metavar="NAME|FILE ...")],
    /,
    *,
    runtime: Annotated[str, arg(metavar="NAMES|all")] = "all",
    precision: Annotated[str, arg(metavar="NAMES")] = "fp32",
    threads: Annotated[str | None, arg(metavar="NUMBERS")] = None,
    size: Annotated[str | None, arg(metavar="HEIGHTxWIDTH")] = None,
    frame: Annotated[str | None, arg(metavar="HEIGHTxWIDTH")] = None,
    data: Annotated[Path | None, arg(metavar="FOLDER")] = None,
    split: str = "test",
    protocol: Annotated[str, arg(metavar="NAME")] = "indoor-metric@1",
    limit: Annotated[int | None, arg(metavar="N")] = None,
    calibration: Annotated[str | None, arg(metavar="FOLDER")] = None,
    images: int = 128,
    tuning: Annotated[Path | None, arg(metavar="FOLDER")] = None,
    trials: int = 0,
    n: int = 200,
    roofline: bool = False,
    external: ExternalModel = NOTHING_SAID,
    plot: Annotated[Path | None, arg(metavar="FILE")] = None,
    json: Annotated[str | None, arg(metavar="FILE|-")] = None,
) -> int:
    """Measure models on this machine in every runtime: latency, end to end, parity, memory, and accuracy with --data.

    Rows are timed in turns, each in its own process on as many cores as it has threads; so compare them with each
    other, and with PyTorch, which is always the first. x is how many times faster than PyTorch a row is.

    Args:
        models: nets that ship with leadline, checkpoints, folders of runs, or any exported, ONNX or TFLite files
        runtime: which to export to, such as onnx,openvino with commas between, or all
        precision: fp32, fp16, bf16 or int8, with commas between
        threads: one or more numbers with commas between; by default every core
        size: the net's input size; by default the model's own
        frame: the camera's size for end to end, by default 480x640; given, files that take such frames are measured too
        data: a data set; the accuracy of each exported file is measured on it
        split: train, val, test or all of it; where there is no test part, val stands in for it
        protocol: how accuracy is measured, as in `leadline val`
        limit: only the first N images of the data
        calibration: int8: images (a folder, a pattern or a .txt list) from which it learns ranges
        images: int8: how many of them, evenly spaced
        tuning: tvm: the folder where the tuner keeps what it has tried; by default one in leadline's cache
        trials: tvm: how many schedules the tuner tries for each part of the net
        n: how many calls of each row count
        external: what ONNX and TFLite files of other programs do not say of themselves
        roofline: also measure what this machine can do at most, and how much of that each row reaches
        plot: draw latency against accuracy, or without data against parity, into this file
        json: write all figures to this file; - prints them in place of the table
    """
    import json as json_format

    progress(f"measuring {', '.join(models)}")
    from leadline.bench.rows import BenchOptions
    from leadline.bench.run import bench as measure
    from leadline.bench.table import table
    from leadline.core.writing import may_be_written
    from leadline.runtime import BACKENDS
    from leadline.runtime.export import tuning_folder
    from leadline.runtime.manifest import files_of

    options = BenchOptions(
        runtimes=tuple(BACKENDS) if runtime == "all" else names(runtime, "runtime"),
        precisions=names(precision, "precision"),  # type: ignore[arg-type]  # checked by `bench`
        threads=_numbers(threads),
        size=parse_size("size", size),
        frame=parse_size("frame", frame) or BenchOptions.frame,
        whole_frame=frame is not None,
        data=data,
        split=split,
        protocol=protocol,
        limit=limit,
        calibration=calibration,
        n_calibration=images,
        tuning=tuning_folder(tuning, trials),
        trials=trials,
        n=n,
        roofline=roofline,
        external=external,
    )
    if not models:
        raise ValueError("there is nothing to measure: name a model or a file")
    reads = [read for model in models for read in files_of(Path(model)) if read.is_file()]
    for file in (plot, None if json in (None, "-") else Path(json or "")):
        if file is not None:  # what cannot be written should fail now, not after the work
            free = file != plot and (not file.exists() or _is_old(file))
            apart = () if free or data is None else (data,)
            may_be_written(file, reads=reads, apart=apart, advice="give another name")
            check_writable(file)
    found = measure(models, options, progress)
    progress("")
    text = json_format.dumps(storable(found.to_json()), indent=1, allow_nan=False)
    if json not in (None, "-"):
        write_whole(Path(json or ""), text + "\n")
    print(text if json == "-" else table(found))
    if plot is not None:
        from leadline.bench.plot import plot as draw

        draw(found, plot)
        inform(f"wrote {plot}")
    return 0 if any("error" not in row for row in found.rows) else 1


def _is_old(file: Path) -> bool:
    """Whether the file is what an earlier run has written."""
    import json as json_format

    try:
        return "rows" in json_format.loads(file.read_bytes())
    except (OSError, ValueError, TypeError):
        return False


def _numbers(text: str | None) -> tuple[int, ...]:
    found = names(text, "threads")
    if not all(number.isdecimal() for number in found):
        raise ValueError(f"--threads is {text!r}; whole numbers are needed, such as 1,2")
    return tuple(map(int, found))
