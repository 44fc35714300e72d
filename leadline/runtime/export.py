"""From a checkpoint to a file for a runtime: compiled aside, run once against the net, and only then put in place."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from leadline.core import machine
from leadline.core.agreement import agreement_of, mean_agreement
from leadline.core.errors import BadArtefact, BadCheckpoint, ExportFailed
from leadline.core.image_sources import sources
from leadline.core.machine import installed_version
from leadline.core.preprocess import Runner, prepare, read_image
from leadline.core.spec import Preprocess
from leadline.core.storage import cache, kept, sha256
from leadline.core.tasks import refuse_others
from leadline.core.writing import may_be_written
from leadline.nn.build import Net
from leadline.nn.checkpoint import find, load, read_provenance, save
from leadline.nn.wrap import module_of
from leadline.runtime import Backend, installed, read_manifest, suffix
from leadline.runtime.backends import eager
from leadline.runtime.options import CompileOptions
from leadline.runtime.torch_threads import torch_threads
from leadline.runtime.tuning import contents_of
from leadline.runtime.whole_frame import Framed

ALLOWED = 1e-3
"""Largest relative difference of a float32 file from its net; rounding alone stays below a tenth of it."""

Size = tuple[int, int]


def export(
    model: str | Path | Net,
    runtime: str,
    out: str | Path | None = None,
    options: CompileOptions = CompileOptions(),
    *,
    size: Size | None = None,
) -> Path:
    """The artefact of `model` (a shipped name, a checkpoint or a Net) for `runtime`, at `out` or kept in the `cache`
    folder. A net of the class `Wrapped` has to be given itself: its checkpoint holds no code.

    `size` is the net's input (height, width) where it is not to be the checkpoint's own. Without `out`, a file that was
    made earlier from the same checkpoint, options and package versions is used again. The artefact's second files
    (weights, manifest) lie beside it under its own name.

    A file that PyTorch's own output does not confirm (see `difference`) is an ExportFailed; whatever fails, nothing is
    left behind, and an older file at `out` stays as it was.
    """
    out = None if out is None else Path(out)
    if isinstance(model, Net):
        with tempfile.TemporaryDirectory() as folder:
            saved = save(model, Path(folder) / f"{model.spec.name}.safetensors")
            return _export(saved, runtime, out, options, size, module_of(model))
    return _export(find(model), runtime, out, options, size, None)


def _export(
    checkpoint: Path, runtime: str, out: Path | None, options: CompileOptions, size: Size | None, own: nn.Module | None
) -> Path:
    """`export` of a file; `own` as the `module` of `checkpoint.load`."""
    module = installed(runtime)
    _check(runtime, options, size)
    target = _target(checkpoint, runtime, options, size) if out is None else _refuse_misfit(out, runtime, checkpoint)
    with kept(target):
        if out is None and _is_usable(target, module):
            return target
    net = _resized(load(checkpoint, module=own), size)
    if options.frame is not None:
        refuse_others(net.spec.head.kind, "a file for whole frames (--frame)")
    filled = dataclasses.replace(options, source=sha256(checkpoint), provenance=read_provenance(checkpoint))
    example = torch.zeros(1, 3, *net.spec.preprocess.size)
    with kept(target, options.tuning), torch_threads(), _aside(target) as folder:
        made = module.compile(net, example, Path(folder) / target.name, filled)
        found = _difference(module.load(made, None), net, options.frame)
        if not found <= (ALLOWED if options.precision == "fp32" else np.inf):
            raise ExportFailed(
                f"the {options.precision} file of {checkpoint.stem} for {runtime} runs, but its output differs from "
                f"PyTorch's by {found:.2g} of the largest value ({ALLOWED} is allowed), so it was not kept; use "
                "another runtime"
            )
        # else another process made the file meanwhile, and may be running it
        if out is not None or not _is_usable(target, module):
            move(Path(folder), made, target)
    return target


def difference(path: Path, model: str | Path | Net) -> float:
    """How far the artefact's output is from that of PyTorch and the checkpoint, on one fixed picture.

    The largest difference, relative to PyTorch's largest value; for a whole-frame file at the frame's size. NaN if
    either is not finite.
    """
    found = None if path.suffix == ".safetensors" else read_manifest(path)
    module = installed("eager" if found is None else found.runtime)
    with torch_threads():
        own = copy.deepcopy(model).eval() if isinstance(model, Net) else load(model)
        net = _resized(own, found.size if found else load(path).spec.preprocess.size)
        return _difference(module.load(path, None), net, found.frame if found else None)


def agreement_with_net(path: Path, model: str | Path | Net, inputs: Sequence[np.ndarray] = ()) -> dict[str, float]:
    """`core.agreement` of the artefact with PyTorch and the checkpoint, the mean over `inputs` (network inputs float32
    [1,3,h,w]); without any, and for whole-frame files, on one fixed picture.
    """
    found = read_manifest(path)
    with torch_threads():
        net = _resized(copy.deepcopy(model).eval() if isinstance(model, Net) else load(model), found.size)
        how, run = net.spec.preprocess, installed(found.runtime).load(path, None)
        expect = twin(net, found.frame)
        if found.frame is not None:
            inputs = [picture(found.frame)[None]]
        near = agreement_of(net.spec.head.kind)
        return mean_agreement([near(run(x), expect(x)) for x in inputs or [prepare(picture(how.size), how)]])


def twin(net: Net, frame: Size | None = None) -> Runner:
    """What an artefact of `net` should compute, by PyTorch: for network inputs, or for whole frames of size `frame`."""
    return eager.runner(net if frame is None else Framed(net, frame, net.spec.preprocess))


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest absolute difference of two outputs, relative to the largest absolute value of `expected`."""
    scale = float(np.abs(expected).max()) or 1.0
    return float(np.abs(found - expected).max()) / scale


def picture(size: Size, seed: int = 0) -> np.ndarray:
    """A frame uint8 [H,W,3] with large and small shapes and all colours, always the same one for a seed."""
    rng = np.random.default_rng(seed)
    coarse, fine = (
        Image.fromarray(rng.integers(0, 256, (n * 3, n * 4, 3), dtype=np.uint8)).resize((size[1], size[0]), how)
        for n, how in ((2, Image.Resampling.BICUBIC), (6, Image.Resampling.NEAREST))
    )
    return np.array(Image.blend(coarse, fine, 0.5))


def calibration(
    source: str | Path, how: Preprocess, n: int, say: Callable[[str], None] = lambda _: None
) -> list[np.ndarray]:
    """Network inputs float32 [1,3,h,w] from `n` of the images that `source` names, evenly spaced, or all if fewer.

    `say` gets a line about files that are skipped.
    """
    if n < 1:
        raise ValueError(f"{n} images are asked for; calibration needs at least one")
    paths = sources(source, say)
    chosen = np.linspace(0, len(paths) - 1, min(n, len(paths))).round().astype(int)
    return [prepare(read_image(paths[i]), how) for i in chosen]


def _check(runtime: str, options: CompileOptions, size: Size | None) -> None:
    """ValueError for what no backend could honour."""
    if options.precision != "int8" and (options.calibration or options.keep):
        name = "calibration" if options.calibration else "keep"
        raise ValueError(f"{name} is for int8 files; this one is {options.precision}")
    if runtime != "tvm" and (options.trials or options.tuning):
        raise ValueError(f"trials and tuning are for the runtime tvm; {runtime} has no tuner")
    for name, given in (("size", size), ("frame", options.frame)):
        if given is not None and min(given) < 1:
            raise ValueError(f"{name} is {given}; (height, width) of at least one pixel is needed")


@contextlib.contextmanager
def _aside(target: Path) -> Iterator[str]:
    """A folder beside the file `target`, on its file system, for as long as it is made."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as folder:
        yield folder


def _refuse_misfit(out: Path, runtime: str, checkpoint: Path) -> Path:
    if out.suffix != suffix(runtime):
        raise ValueError(f"out is {out}; the files of {runtime} end in {suffix(runtime)}")
    if out.is_dir():
        raise ValueError(f"out is {out}, a folder; a file's name is needed")
    return may_be_written(out, reads=[checkpoint])


def _target(checkpoint: Path, runtime: str, options: CompileOptions, size: Size | None) -> Path:
    """The file's place in the cache: its name holds a hash of all that it is made from, except package versions."""
    images = hashlib.sha256()
    for image in options.calibration:
        images.update(str(image.shape).encode() + np.ascontiguousarray(image).tobytes())
    facts = {
        "source": sha256(checkpoint),
        "runtime": runtime,
        "precision": options.precision,
        "frame": options.frame,
        "size": size,
        "calibration": images.hexdigest(),
        "keep": options.keep,
        "tuning": contents_of(options.tuning),
        "trials": options.trials,
        "machine": machine.identity(),  # .so and .pt2 are compiled for it; int8 kernels differ by processor
    }
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
    return cache() / "exported" / f"{checkpoint.stem}-{options.precision}-{key}{suffix(runtime)}"


def _is_usable(path: Path, module: Backend) -> bool:
    """Whether a file of the cache is there, loads, and was written by the package versions that are installed now."""
    if not path.is_file():
        return False
    try:
        with torch_threads():
            module.load(path, None)
        versions = {} if path.suffix == ".safetensors" else read_manifest(path).versions
    except (BadArtefact, BadCheckpoint):
        return False
    return all(installed_version(name) in (None, version) for name, version in versions.items())


def _resized(net: Net, size: Size | None) -> Net:
    if size is not None:
        how = dataclasses.replace(net.spec.preprocess, size=size)
        net.spec = dataclasses.replace(net.spec, preprocess=how)
    return net


def _difference(run: Runner, net: Net, frame: Size | None) -> float:
    how = net.spec.preprocess
    given = prepare(picture(how.size), how) if frame is None else picture(frame)[None]
    return relative_error(run(given), twin(net, frame)(given))


def move(folder: Path, made: Path, target: Path) -> None:
    """Move what `folder` holds beside `target`, the file `made` itself last: where it lies, everything does.

    The folder is on the target's file system, and its files bear their final names.
    """
    others = [path for path in folder.iterdir() if path != made]
    if others:
        target.unlink(missing_ok=True)  # else the old file would stand beside the new weights for a moment
    for path in others:
        path.replace(target.with_name(path.name))
    made.replace(target)
