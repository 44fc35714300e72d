"""`parity`: the same pictures through every runtime, compared with PyTorch: outputs, end results and accuracy."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from leadline.bench.rows import BenchOptions, Row, check, plan_rows
from leadline.bench.worker_process import RowFailed, Worker, working
from leadline.core.preprocess import prepare, restore
from leadline.core.spec import Preprocess
from leadline.core.storage import sha256
from leadline.runtime import backend

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

    Each row holds, apart from what it is:

    - `verdict`: float32 `agrees` or `differs`, lower precision is `measured`; `missing` (cannot be on this machine: the
      reason is its `error`), `failed`. A `note` says that a file was made from another checkpoint
    - `relative_max`: the largest difference from PyTorch's output over PyTorch's largest value, in the worst picture;
      `relative_mean`: the mean difference over PyTorch's mean value, on average. Files for whole frames are compared
      with the same computation in PyTorch
    - `depth_max`, `depth_mean`: difference of the end results at the picture's size, in the model's unit, from what
      PyTorch gives behind `prepare` and `restore`
    - `preprocess_max`: files for whole frames, which resize without pillow: the largest difference of the net's input
      from that of `prepare`, in grey levels of 255
    - `metrics`, with `options.data`: the accuracy of this very file

    Passed is a comparison in which no row differs or failed and at least one file was compared. For files that take
    whole frames, pictures of another size are brought to the frame's first.
    """
    from leadline.nn.checkpoint import find, load

    options = dataclasses.replace(options, runtimes=()) if files else options
    check(options)
    if not pictures:
        raise ValueError("there is no picture to compare on")
    source = sha256(find(model))
    rows = plan_rows([model, *map(str, files)], options, say)
    net = load(model)
    for row in rows:
        if row.error is None and row.source != source:
            row.facts["note"] = f"{row.file} was made from another checkpoint than {model}"
        say(f"comparing {row.runtime} {row.precision}")
        _compare(row, net, pictures, options)
        row.facts["verdict"] = _verdict(row, tolerance)
    verdicts = [row.facts["verdict"] for row in rows if not row.is_reference()]
    passed = not {"differs", "failed"} & set(verdicts) and bool({"agrees", "measured"} & set(verdicts))
    return Parity([row.to_json() for row in rows], passed, len(pictures), tolerance)


def _compare(row: Row, net: Net, pictures: Sequence[Picture], options: BenchOptions) -> None:
    """Fill in the row's figures; what fails is the row's error."""
    if row.error is not None:
        return
    try:
        with working(threads=row.threads) as worker, tempfile.TemporaryDirectory() as folder:
            size = worker.ask("load", file=str(row.file), threads=row.threads, size=options.size)["size"]
            how = dataclasses.replace(net.spec.preprocess, size=tuple(size))
            expect = _expectation(net, how, row.frame)
            found = []
            for picture in pictures:
                frame = _fitting(picture(), row.frame)
                found.append(_differences(frame, _output(worker, Path(folder), frame), expect(frame), how))
            for key in found[0]:
                row.facts[key] = float((np.mean if key.endswith("_mean") else np.max)([each[key] for each in found]))
            if options.data is not None:
                wanted = {name: getattr(options, name) for name in ("split", "protocol", "limit", "size")}
                of = {"file": str(row.file), "threads": row.threads, "data": str(options.data)}
                row.facts |= worker.ask("metrics", _ENOUGH_S, **of, **wanted)
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


def _expectation(net: Net, how: Preprocess, whole: tuple[int, int] | None) -> Callable[[np.ndarray], Expected]:
    from leadline.runtime.backends import eager
    from leadline.runtime.whole_frame import Framed

    run = eager.runner(net)
    seen: list[Any] = []
    framed = None
    if whole is not None:
        module = Framed(net, whole, how)
        hook = module.net.register_forward_pre_hook(lambda _module, given: seen.append(given[0].numpy()))
        framed = eager.runner(module)  # a copy, which keeps the hook that `net` itself must lose
        hook.remove()

    def expect(frame: np.ndarray) -> Expected:
        prepared = prepare(frame, how)
        output = run(prepared)[0, 0]
        depth, valid = restore(output, (frame.shape[0], frame.shape[1]), how)
        if framed is None:
            return Expected(output, depth, valid, prepared, None)
        return Expected(framed(frame[None])[0, 0], depth, valid, prepared, seen.pop())

    return expect


def _differences(frame: np.ndarray, output: np.ndarray, expected: Expected, how: Preprocess) -> dict[str, float]:
    """The figures of one frame, from the file's output [h,w] or, for whole frames, [H,W]."""
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
