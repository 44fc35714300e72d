"""`parity`: the same pictures through every runtime, compared with PyTorch: outputs, end results and accuracy."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from leadline.bench.rows import BenchOptions, Row, check, is_artefact, plan_rows
from leadline.bench.worker_process import RowFailed, Worker, working
from leadline.core.agreement import agreement
from leadline.core.preprocess import Runner, prepare, restore
from leadline.core.spec import Preprocess, to_json
from leadline.core.storage import sha256
from leadline.core.tasks import refuse_others
from leadline.core.writing import is_same
from leadline.nn.files import read_spec
from leadline.runtime import backend
from leadline.runtime.external import is_external, open_external
from leadline.runtime.options import ExternalModel

if TYPE_CHECKING:
    from leadline.nn.build import Net

TOLERANCE = 1e-4
"""Largest relative difference at which a float32 file agrees with PyTorch."""

_ENOUGH_S = 3600.0 * 6  # a large data set takes hours

Picture = Callable[[], np.ndarray]
"""Gives a frame uint8 [H,W,3] when it is its turn."""


@dataclasses.dataclass(frozen=True)
class Parity:
    """The rows, PyTorch's first, and whether all that could be compared agree."""

    rows: list[dict[str, Any]]
    passed: bool
    n_images: int
    tolerance: float

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return vars(self)


def parity(
    model: str,
    pictures: Sequence[Picture],
    options: BenchOptions,
    files: Sequence[Path] = (),
    *,
    tolerance: float = TOLERANCE,
    say: Callable[[str], None] = lambda line: None,
) -> Parity:
    """Compare `files`, or without any `model` exported as `options` say, with `model` run by PyTorch.

    `files` of other programs, which `options.external` describes, are compared with a net of leadline's or, if `model`
    is such a file itself, with that: its own runtime then stands for PyTorch below, and its verdict is `reference`.

    Each row holds, apart from what it is:

    - `verdict`: float32 `agrees` or `differs`, lower precision is `measured`; `missing` (cannot be on this machine: the
      reason is its `error`), `failed`. A `note` says that a file was made from another checkpoint
    - `relative_max`: the largest difference from PyTorch's output over PyTorch's largest value, in the worst picture;
      `relative_mean`: the mean difference over PyTorch's mean value, on average. Files for whole frames are compared
      with the same computation in PyTorch
    - `depth_max`, `depth_mean`: difference of the end results at the picture's size, in the model's unit, from what
      PyTorch gives behind `prepare` and `restore`
    - `within_125`: the share of pixels of the end results that are within a factor of 1.25 of PyTorch's, on average
    - `preprocess_max`: files for whole frames, which resize without pillow: the largest difference of the net's input
      from that of `prepare`, in grey levels of 255
    - `metrics`, with `options.data`: the accuracy of this very file

    Passed is a comparison in which no row differs or failed and at least one file was compared. For files that take
    whole frames, pictures of another size are brought to the frame's first.
    """
    options = dataclasses.replace(options, runtimes=()) if files else options
    check(options)
    if any(is_same(file, model) for file in files):
        raise ValueError(f"{model} is the reference and one of the files, too; give the other files alone")
    if not pictures:
        raise ValueError("there is no picture to compare on")
    if not is_artefact(model) and not is_external(model):
        refuse_others(read_spec(model).head.kind, "parity")
    rows = plan_rows([model, *map(str, files)], options, say)
    reference = reference_file(model, options.external) if is_external(model) else reference_net(model)
    _check_files(reference, rows)
    for i, row in enumerate(rows, 1):
        if row.error is None and row.external is None and row.source != reference.source:
            row.facts["note"] = f"{row.file} was made from another checkpoint than {model}"
        if row.model == model and row.external is not None:
            row.facts["verdict"] = "reference"
            continue
        say(f"comparing {row.runtime} {row.precision}, file {i} of {len(rows)}")
        _compare(row, reference, pictures, options)
        row.facts["verdict"] = _verdict(row, tolerance)
    verdicts = [row.facts["verdict"] for row in rows if not row.is_reference()]
    passed = not {"differs", "failed"} & set(verdicts) and bool({"agrees", "measured"} & set(verdicts))
    return Parity([row.to_json() for row in rows], passed, len(pictures), tolerance)


def _check_files(reference: Reference, rows: Sequence[Row]) -> None:
    """ValueError for rows that nothing can be said of."""
    for row in rows:
        if reference.is_external and row.external is None:
            raise ValueError(f"{row.file} is an exported file: its --reference is the checkpoint it was made from")
        if row.external is not None and row.external["kind"] != reference.kind:
            raise ValueError(f"{row.file} is {row.external['kind']} as you say, and the reference is {reference.kind}")


def _compare(row: Row, reference: Reference, pictures: Sequence[Picture], options: BenchOptions) -> None:
    """Fill in the row's figures; what fails is the row's error."""
    if row.error is not None:
        return
    try:
        with working(threads=row.threads) as worker, tempfile.TemporaryDirectory() as folder:
            like: dict[str, Any] = {} if row.external is None else {"prepared_as": to_json(reference.preprocess)}
            loaded = worker.ask("load", **row.opening(), size=options.size, **like)
            row.precision, size = loaded.get("precision", row.precision), tuple(loaded["size"])
            if reference.is_external and size != reference.preprocess.size:
                raise RowFailed(f"it takes pictures of {size}, and the reference of {reference.preprocess.size}")
            how = dataclasses.replace(reference.preprocess, size=size)
            expect = reference.expectation(how, row.frame)
            found = []
            for picture in pictures:
                frame = _fitting(picture(), row.frame)
                found.append(_differences(frame, _output(worker, Path(folder), frame), expect(frame), how))
            for key in found[0]:
                whole = np.max if key.endswith("_max") else np.mean
                row.facts[key] = float(whole([each[key] for each in found]))
            if options.data is not None:
                wanted = {name: getattr(options, name) for name in ("split", "protocol", "limit", "size", "allow_code")}
                row.facts |= worker.ask("metrics", _ENOUGH_S, **row.opening(), data=str(options.data), **wanted)
    except RowFailed as error:
        row.error = str(error)


@dataclasses.dataclass(frozen=True)
class Expected:
    """What PyTorch makes of one frame: the file's output, the depth at the frame's size and where it counts, and of
    the net's input float32 [1,3,h,w] that of `prepare` and, for whole frames, that within the file."""

    output: np.ndarray
    depth: np.ndarray
    valid: np.ndarray
    prepared: np.ndarray
    within: np.ndarray | None


@dataclasses.dataclass(frozen=True)
class Reference:
    """What files are compared with: its preprocessing, kind, SHA-256, and for a Preprocess and a frame's size (None:
    any) the function from a frame to what is expected."""

    preprocess: Preprocess
    kind: str
    source: str
    expectation: Callable[[Preprocess, tuple[int, int] | None], Callable[[np.ndarray], Expected]]
    is_external: bool = False


def reference_net(model: str) -> Reference:
    """A net of leadline's, run by PyTorch."""
    from leadline.nn.checkpoint import find, load

    net = load(model)
    return Reference(net.spec.preprocess, net.spec.head.kind, sha256(find(model)), partial(_expectation, net))


def reference_file(model: str, external: ExternalModel) -> Reference:
    """A file of another program, run by its own runtime."""
    run, found = open_external(Path(model), external)

    def expectation(how: Preprocess, whole: tuple[int, int] | None) -> Callable[[np.ndarray], Expected]:
        return partial(_expected, run, how)

    return Reference(found.preprocess, found.head.kind, found.source, expectation, True)


def _expected(run: Runner, how: Preprocess, frame: np.ndarray) -> Expected:
    prepared = prepare(frame, how)
    output = run(prepared)[0, 0]
    return Expected(output, *restore(output, (frame.shape[0], frame.shape[1]), how), prepared, None)


def _expectation(net: Net, how: Preprocess, whole: tuple[int, int] | None) -> Callable[[np.ndarray], Expected]:
    from leadline.runtime.backends import eager
    from leadline.runtime.whole_frame import Framed

    run = eager.runner(net)
    seen: list[Any] = []
    framed = None
    if whole is not None:
        module = Framed(net, whole, how)
        hook = module.net.register_forward_pre_hook(lambda _module, given: seen.append(given[0].numpy()))
        framed = eager.runner(module)  # a copy that keeps the hook; `net` itself loses it below
        hook.remove()

    def expect(frame: np.ndarray) -> Expected:
        found = _expected(run, how, frame)
        if framed is None:
            return found
        return dataclasses.replace(found, output=framed(frame[None])[0, 0], within=seen.pop())

    return expect


def _differences(frame: np.ndarray, output: np.ndarray, expected: Expected, how: Preprocess) -> dict[str, float]:
    """The figures of one frame, from the file's output [h,w] or, for whole frames, [H,W]."""
    if output.shape != expected.output.shape:
        raise RowFailed(f"it gives a map of {output.shape}, and the reference one of {expected.output.shape}")
    apart = np.abs(output - expected.output)
    largest, mean = np.abs(expected.output).max() or 1.0, np.abs(expected.output).mean() or 1.0
    whole = expected.within is not None
    depth = output if whole else restore(output, (frame.shape[0], frame.shape[1]), how)[0]
    ends = np.abs(depth - expected.depth)[expected.valid]
    figures = {
        "relative_max": apart.max() / largest,
        "relative_mean": apart.mean() / mean,
        "depth_max": ends.max(initial=0.0),
        "depth_mean": ends.mean() if ends.size else 0.0,
        "within_125": agreement(depth, expected.depth, expected.valid)["within_125"],
    }
    if expected.within is not None:
        figures["preprocess_max"] = np.abs(expected.within - expected.prepared).max() * 255
    return figures


def _output(worker: Worker, folder: Path, frame: np.ndarray) -> np.ndarray:
    given, out = folder / "frame.npy", folder / "output.npy"
    np.save(given, frame[None])
    worker.ask("outputs", frames=str(given), out=str(out), restored=False)
    output: np.ndarray = np.load(out)[0]
    return output


def _fitting(frame: np.ndarray, whole: tuple[int, int] | None) -> np.ndarray:
    if whole is None or frame.shape[:2] == whole:
        return frame
    return np.array(Image.fromarray(frame).resize((whole[1], whole[0]), Image.Resampling.BICUBIC))


def _verdict(row: Row, tolerance: float) -> str:
    if row.error is not None:
        module = backend(row.runtime)
        impossible = row.precision not in module.PRECISIONS or module.missing() is not None
        return "missing" if impossible else "failed"
    if row.precision != "fp32":
        return "measured" if np.isfinite(row.facts["relative_max"]) else "failed"
    return "agrees" if row.facts["relative_max"] <= tolerance else "differs"
