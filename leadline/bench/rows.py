"""What is to be measured: the rows of a benchmark before their times, each with its file, exported where need be."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from leadline.bench.device import pick_cores
from leadline.bench.worker_process import RowFailed, working
from leadline.core.errors import LeadlineError
from leadline.core.image_sources import sources
from leadline.core.machine import usable_cores
from leadline.core.storage import sha256
from leadline.nn.checkpoint import find
from leadline.runtime import BACKENDS, SUFFIXES, backend, read_manifest
from leadline.runtime.options import Precision

_ENOUGH_S = 3600.0 * 6  # a tuner takes hours


@dataclass(frozen=True)
class BenchOptions:
    """What to measure and how long.

    `runtimes` and `precisions` are of the files to export; `threads` empty: every core that the process may use.
    `size` is the net's input (by default the model's own) and `frame` the camera's, for end to end; `whole_frame`
    exports a second file for each row that takes such frames itself. With `data` the accuracy under `protocol` is
    measured on the first `limit` images. `calibration` names the images for int8 (see `sources`). `tuning` and `trials`
    are tvm's. `n` calls of each row count, fewer only where they would take more than `at_most_s` seconds.
    """

    runtimes: tuple[str, ...] = tuple(BACKENDS)
    precisions: tuple[Precision, ...] = ("fp32",)
    threads: tuple[int, ...] = ()
    size: tuple[int, int] | None = None
    frame: tuple[int, int] = (480, 640)
    whole_frame: bool = False
    end_to_end: bool = True
    data: Path | None = None
    split: str = "test"
    protocol: str = "indoor-metric@1"
    limit: int | None = None
    calibration: str | Path | None = None
    n_calibration: int = 128
    tuning: Path | None = None
    trials: int = 0
    n: int = 200
    at_most_s: float = 300.0
    roofline: bool = False


@dataclass
class Row:
    """One file at one number of threads, of the weights with the sha256 `source`; `facts` fills up as it is measured.

    With `frame` (height, width) the file takes camera frames. `error` is why it cannot be measured.
    """

    model: str
    runtime: str
    precision: str
    threads: int
    source: str
    frame: tuple[int, int] | None = None
    file: Path | None = None
    error: str | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    def is_reference(self) -> bool:
        """Whether the others are compared with it: PyTorch itself."""
        return self.runtime == "eager"

    def to_json(self) -> dict[str, Any]:
        """Plain values: what the row is, then what was measured."""
        named = {key: value for key, value in asdict(self).items() if key != "facts" and value is not None}
        return named | ({} if self.file is None else {"file": str(self.file)}) | self.facts


def check(options: BenchOptions) -> None:
    """ValueError, before any work, for what could only fail later."""
    from leadline.data.layouts.detect import open_dataset
    from leadline.evaluation.protocols import find as find_protocol

    for name in options.runtimes:
        backend(name)
    for precision in options.precisions:
        if precision not in (allowed := ("fp32", "fp16", "bf16", "int8")):
            raise ValueError(f"the precision {precision!r} is unknown; one of {', '.join(allowed)} is needed")
    for n in options.threads:
        pick_cores(n)
    if options.n < 10:
        raise ValueError(f"n is {options.n}; percentiles need at least 10 calls")
    if options.trials and options.tuning is None:
        raise ValueError(f"trials is {options.trials}; the tuner also needs a folder for what it tries: give --tuning")
    find_protocol(options.protocol)
    if options.calibration is not None:
        sources(options.calibration)
    if options.data is not None and not len(open_dataset(options.data, options.split)):
        raise ValueError(f"{options.data} has no {options.split} images to measure accuracy on")


def plan_rows(models: Sequence[str], options: BenchOptions, say: Callable[[str], None]) -> list[Row]:
    """A Row for each model, runtime, precision and number of threads, PyTorch's own first; for a file, each threads.

    What has to be exported is exported here, each in a process of its own. What cannot be is a Row with its error.
    """
    rows = []
    for model in models:
        if is_artefact(model):
            rows += _of_file(model, options)
            continue
        if "int8" in options.precisions and options.calibration is None:
            raise ValueError("int8 learns its ranges from images: give their folder by --calibration")
        checkpoint = find(model)
        rows += [Row(model, "eager", "fp32", n, sha256(checkpoint), file=checkpoint) for n in _threads(options)]
        frames = [None, options.frame] if options.whole_frame else [None]
        for name, precision, frame in itertools.product(options.runtimes, options.precisions, frames):
            if name != "eager":
                rows += _exported(model, name, precision, frame, options, say)
    return rows


def is_artefact(model: str) -> bool:
    """Whether `model` names an exported file, by its ending."""
    return SUFFIXES.get(Path(model).suffix, "eager") != "eager"


def describe(model: str, size: tuple[int, int] | None) -> dict[str, Any]:
    """A checkpoint's sha256, input size, parameters, multiply-accumulates and kind of depth."""
    from leadline.compress.cost.count import macs, parameters
    from leadline.nn.checkpoint import load

    net = load(model)
    size = size or net.spec.preprocess.size
    return {
        "name": net.spec.name,
        "sha256": sha256(find(model)),
        "size": size,
        "parameters": parameters(net),
        "macs": macs(net, size),
        "kind": net.spec.head.kind,
    }


def _threads(options: BenchOptions) -> tuple[int, ...]:
    return options.threads or (usable_cores(),)


def _of_file(model: str, options: BenchOptions) -> list[Row]:
    path = Path(model)
    found = read_manifest(path)
    return [Row(model, found.runtime, found.precision, n, found.source, found.frame, path) for n in _threads(options)]


def _exported(
    model: str,
    name: str,
    precision: Precision,
    frame: tuple[int, int] | None,
    options: BenchOptions,
    say: Callable[[str], None],
) -> list[Row]:
    module = backend(name)
    source = sha256(find(model))
    rows = [Row(model, name, precision, n, source, frame) for n in _threads(options)]
    try:
        if precision not in module.PRECISIONS:
            raise RowFailed(f"{name} makes {', '.join(module.PRECISIONS)} files, no {precision}")
        if (needed := module.missing()) is not None:
            raise RowFailed(f"the runtime is not installed; this brings it: {needed}")
        say(f"exporting {model} for {name} {precision}{'' if frame is None else ' with whole frames'}")
        made = _export(model, name, precision, frame, options)
        for row in rows:
            row.file = Path(made["file"])
            row.facts["export_s"] = made["export_s"]
    except LeadlineError as error:
        for row in rows:
            row.error = str(error)
    return rows


def _export(
    model: str, name: str, precision: str, frame: tuple[int, int] | None, options: BenchOptions
) -> dict[str, Any]:
    fields: dict[str, Any] = {"precision": precision, "frame": frame}
    if name == "tvm" and options.tuning is not None:
        fields |= {"tuning": str(options.tuning), "trials": options.trials}
    calibration = str(options.calibration) if options.calibration and precision == "int8" else None
    with working(threads=usable_cores()) as worker:
        return worker.ask(
            "export",
            _ENOUGH_S,
            model=model,
            runtime=name,
            size=options.size,
            options=fields,
            calibration=calibration,
            n_images=options.n_calibration,
        )
