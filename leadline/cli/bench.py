"""The verb `bench`: times, accuracy and cost of files for every runtime, in one table, as JSON and as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from leadline.cli.command import check_writable, names, progress, storable, write_whole
from leadline.cli.early import PLOTS, check_ending, check_model
from leadline.cli.flags import ALL, Comparison
from leadline.cli.say import inform
from leadline.cli.short_help import short_help


@short_help(
    {
        "What is measured": "--runtime --precision --threads --size --frame",
        "Accuracy": "--data --limit",
        "Results": "--n --plot --json",
    },
    "leadline bench fastdepth",
    "leadline bench fastdepth litedepth --runtime onnx,openvino --threads 1,2",
)
def bench(
    models: Annotated[tuple[str, ...], arg(metavar="NAME|FILE ...")],
    /,
    *,
    what: Annotated[Comparison, arg(name="")] = ALL,
    threads: Annotated[str | None, arg(metavar="NUMBERS")] = None,
    tuning: Annotated[Path | None, arg(metavar="FOLDER")] = None,
    trials: int = 0,
    n: int = 200,
    roofline: bool = False,
    plot: Annotated[Path | None, arg(metavar="FILE")] = None,
    json: Annotated[str | None, arg(metavar="FILE|-")] = None,
) -> int:
    """Measure models on this machine in every runtime: latency, parity, memory, and accuracy with --data.

    Rows are timed in turns, each in its own process on as many cores as it has threads; so compare them with each
    other, and with PyTorch, which is always the first. x is how many times faster than PyTorch a row is. Without torch
    the ONNX file of a net that ships takes its place.

    Args:
        models: nets that ship with leadline, checkpoints, folders of runs, or any exported, ONNX or TFLite files
        what: which files are measured, and on which data
        threads: one or more numbers with commas between; by default every core
        tuning: tvm: the folder where the tuner keeps what it has tried; by default one in leadline's cache
        trials: tvm: how many schedules the tuner tries for each part of the net
        n: how many calls of each row count
        roofline: also measure what this machine can do at most, and how much of that each row reaches
        plot: draw latency against accuracy, or without data against parity, into this file
        json: write all figures to this file; - prints them in place of the table
    """
    import json as json_format

    from leadline.core.packages import need
    from leadline.core.writing import may_be_written
    from leadline.runtime.manifest import files_of
    from leadline.runtime.tuning import tuning_folder

    what.check()
    numbers = _numbers(threads)
    if plot is not None:
        need("matplotlib", "--plot")
    if not models:
        raise ValueError("there is nothing to measure: name a model or a file")
    reads = [read for model in models for read in files_of(Path(model)) if read.is_file()]
    for file in (plot, None if json in (None, "-") else Path(json or "")):
        if file is not None:  # what cannot be written should fail now, not after the work
            free = file != plot and (not file.exists() or _is_old(file))
            apart = () if free or what.data is None else (what.data,)
            may_be_written(file, reads=reads, apart=apart, advice="give another name")
            check_writable(file)
    check_ending("plot", plot, PLOTS)
    for model in models:
        check_model(model)
    progress(f"measuring {', '.join(models)}")
    from leadline.bench.run import bench as measure
    from leadline.bench.table import table

    options = what.options(threads=numbers, tuning=tuning_folder(tuning, trials), trials=trials, n=n, roofline=roofline)
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
