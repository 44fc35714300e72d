"""What is to be measured: the rows of a benchmark before their times, each with its file, exported where need be."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leadline.bench.device import pick_cores
from leadline.bench.worker_process import RowFailed, working
from leadline.core.errors import LeadlineError, MissingPackage
from leadline.core.image_sources import sources
from leadline.core.machine import usable_cores
from leadline.core.packages import is_installed
from leadline.core.spec import to_json
from leadline.core.storage import sha256
from leadline.nn.costs import recorded_costs
from leadline.nn.files import find, read_spec, shipped
from leadline.predict.predictor import need_torch, shipped_file
from leadline.runtime import BACKENDS, SUFFIXES, backend, read_manifest
from leadline.runtime.external import EXTERNAL, external_files, is_external, kind_of, refuse_external
from leadline.runtime.onnx_file import weights_precision
from leadline.runtime.options import NOTHING_SAID, ExternalModel, Precision

if TYPE_CHECKING:
    from leadline.data.dataset import Dataset

_ENOUGH_S = 3600.0 * 6  # a tuner takes hours


@dataclass(frozen=True, kw_only=True)
class BenchOptions:
    """What to measure and how long.

    `runtimes` and `precisions` are of the files to export; `threads` empty: every core that the process may use. `size`
    is the net's input (by default the model's own) and `frame` the camera's, for end to end; `whole_frame` exports a
    second file for each row that takes such frames itself. With `data` the accuracy under `protocol` is measured on the
    first `limit` images; `allow_code` runs the function that its dataset.toml names. `calibration` names the images for
    int8 (see `sources`). `tuning` and `trials` are tvm's. `external` describes files of other programs. `n` calls of
    each row count, fewer only where they would take more than `at_most_s` seconds. `device` is where all rows compute,
    by default the processor, see `runtime.devices`.
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
    allow_code: bool = False
    protocol: str = "indoor-metric@1"
    limit: int | None = None
    calibration: str | Path | None = None
    n_calibration: int = 128
    tuning: Path | None = None
    trials: int = 0
    n: int = 200
    at_most_s: float = 300.0
    roofline: bool = False
    external: ExternalModel = NOTHING_SAID
    device: str | None = None

    def samples(self) -> Dataset:
        """The items on which accuracy is measured, but for `limit`; there must be `data`."""
        from leadline.data.layouts.detect import open_dataset

        assert self.data is not None
        return open_dataset(self.data, self.split, **({"allow_code": True} if self.allow_code else {}))


_OF_OTHERS = ("facts", "stands_in")  # fields that JSON stores under other names


@dataclass
class Row:
    """One file at one number of threads, of the weights with the sha256 `source`; `facts` fills up as it is measured.

    With `frame` (height, width) the file takes camera frames. `error` is why it cannot be measured. `external` is what
    was said of a file of another program, as JSON. `stands_in`: torch is not installed, and this row takes PyTorch's
    place.
    """

    model: str
    runtime: str
    precision: str
    threads: int
    source: str
    frame: tuple[int, int] | None = None
    file: Path | None = None
    error: str | None = None
    external: dict[str, Any] | None = None
    stands_in: bool = False
    device: str | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    def is_reference(self) -> bool:
        """Whether the others are compared with it: PyTorch itself, or what stands in for it."""
        return self.runtime == "eager" or self.stands_in

    def opening(self) -> dict[str, Any]:
        """What a worker needs to know of the file, to open it."""
        given = {"file": str(self.file), "threads": self.threads}
        given |= {} if self.device is None else {"device": self.device}
        return given if self.external is None else given | {"external": self.external}

    def to_json(self) -> dict[str, Any]:
        """Plain values: what the row is, then what was measured."""
        named = {key: value for key, value in asdict(self).items() if key not in _OF_OTHERS and value is not None}
        return named | ({} if self.file is None else {"file": str(self.file)}) | self.facts


def check(options: BenchOptions) -> None:
    """ValueError, before any work, for what could only fail later."""
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
    if options.roofline and not is_installed("torch"):
        raise MissingPackage("torch", "train", "what the machine can do at most (--roofline)")
    find_protocol(options.protocol)
    if options.calibration is not None:
        sources(options.calibration)
    if options.data is not None and not len(options.samples()):
        raise ValueError(f"{options.data} has no {options.split} images to measure accuracy on")


def plan_rows(models: Sequence[str], options: BenchOptions, say: Callable[[str], None]) -> list[Row]:
    """A Row for each model, runtime, precision and number of threads, PyTorch's own first; for a file, each threads.
    Without torch, of a net that ships: its ONNX file.

    What has to be exported is exported here, each in a process of its own. What cannot be is a Row with its error.
    """
    rows = []
    if options.external != NOTHING_SAID and not any(is_external(model) for model in models):
        refuse_external(", ".join(models), options.external)
    for model in models:
        if is_artefact(model):
            rows += _of_file(model, options)
            continue
        if "int8" in options.precisions and options.calibration is None:
            raise ValueError("int8 learns its ranges from images: give their folder by --calibration")
        if not is_installed("torch"):
            rows += _shipped(model, options)
            continue
        checkpoint = find(model)
        rows += [Row(model, "eager", "fp32", n, sha256(checkpoint), file=checkpoint) for n in _threads(options)]
        frames = [None, options.frame] if options.whole_frame else [None]
        wanted = [one for one in itertools.product(options.runtimes, options.precisions, frames) if one[0] != "eager"]
        for i, (name, precision, frame) in enumerate(wanted, 1):
            tell_file = partial(_say_of, say, f"file {i} of {len(wanted)}")
            rows += _exported(model, name, precision, frame, options, tell_file)
    for row in rows:
        row.device = options.device
    return rows


def _say_of(say: Callable[[str], None], which: str, line: str) -> None:
    say(f"{line}, {which}")


def is_artefact(model: str) -> bool:
    """Whether `model` names an exported file, by its ending."""
    return SUFFIXES.get(Path(model).suffix, "eager") != "eager"


def describe(model: str, size: tuple[int, int] | None) -> dict[str, Any]:
    """A checkpoint's sha256, input size, parameters, multiply-accumulates and kind of depth. Without torch, of a net
    that ships: as they are written down.
    """
    if not is_installed("torch"):
        spec, file = read_spec(model), sha256(find(model))
        known = recorded_costs()[model]._asdict() if model in shipped() and size in (None, spec.preprocess.size) else {}
        facts = {"name": spec.name, "sha256": file, "size": size or spec.preprocess.size, "kind": spec.head.kind}
        return facts | known
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


def _shipped(model: str, options: BenchOptions) -> list[Row]:
    """The rows of a name where torch is not installed; MissingPackage if its net does not ship as a file for here."""
    if (path := shipped_file(model)) is None:
        need_torch(model)
    source, rows = sha256(find(model)), []
    for name, precision, threads in itertools.product(options.runtimes, options.precisions, _threads(options)):
        row = Row(model, name, precision, threads, source)
        if (name, precision, options.size) == ("onnx", "fp32", None):
            row.file, row.stands_in = path, True
        elif set(options.runtimes) == set(BACKENDS):
            continue
        else:
            row.error = "torch, which makes this file, is not installed: pip install 'leadline[train]'"
        rows.append(row)
    if not any(row.file for row in rows):
        raise MissingPackage(
            "torch", "train", f"making files of {model}", "--runtime onnx measures the file that ships"
        )
    return rows


def _of_file(model: str, options: BenchOptions) -> list[Row]:
    path = Path(model)
    if is_external(path):
        kind_of(path, options.external)
        name, external = EXTERNAL[path.suffix], to_json(options.external)
        stored = weights_precision(path) if path.suffix == ".onnx" else "fp32"  # of a TFLite file its runtime tells
        return [
            Row(model, name, stored, n, sha256(*external_files(path)), None, path, external=external)
            for n in _threads(options)
        ]
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
        if options.device is not None:
            with working() as worker:
                worker.ask("on_device", runtime=name, device=options.device)
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
