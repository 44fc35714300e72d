"""Photographs in, depth out: `Predictor` for one, `predict_files` for many, from a checkpoint or an exported file.

Loads no torch by itself, so a device that only has another runtime can use it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from leadline.core.answers import Answer, answer
from leadline.core.errors import BadImage, MissingPackage
from leadline.core.geometry import merge_mirrored
from leadline.core.machine import stated_threads
from leadline.core.packages import is_installed, needing
from leadline.core.preprocess import Runner, prepare, restore, seen_part
from leadline.core.spec import Head, Kind, Preprocess
from leadline.core.types import ClassScores, Depth, Joint, Labels
from leadline.nn.files import find, shipped, shipped_onnx
from leadline.predict.picture import Picture, image_array
from leadline.runtime import SUFFIXES, backend, check_device, devices, load
from leadline.runtime.dynamic import is_dynamic, open_dynamic
from leadline.runtime.external import (
    EXTERNAL,
    ExternalManifest,
    check_external,
    is_external,
    open_external,
    refuse_external,
)
from leadline.runtime.manifest import Manifest
from leadline.runtime.options import NOTHING_SAID, ExternalModel, Precision

if TYPE_CHECKING:
    from leadline.nn.build import Net


@dataclass(frozen=True)
class Predictor:
    """A model that takes photographs: its runner, how a frame becomes its input, and what its numbers mean.

    `manifest` is that of an exported or external file, None for PyTorch. A file made for whole frames takes pictures of
    its frame's size and no other. With `flip` the mirrored picture is looked at too, and the two answers are merged:
    disparities as `geometry.merge_mirrored` says, of other nets the mean of the depths.

    Threads may share one, and each result is its caller's to keep. One that was loaded from a file can be pickled: it
    is loaded anew where it arrives. A process that was forked after loading needs one of its own.
    """

    name: str
    runner: Runner
    preprocess: Preprocess
    head: Head
    manifest: Manifest | ExternalManifest | None = None
    flip: bool = False

    def __call__(self, image: Picture) -> Depth:
        """The depth of one photograph, at the photograph's size."""
        return self.timed(image)[0]

    def timed(self, image: Picture) -> tuple[Depth, dict[str, float]]:
        """The depth, and the milliseconds of each part: read_ms, preprocess_ms, inference_ms, postprocess_ms.

        BadImage for a picture of another size than a whole-frame file is for.
        """
        if self.head.classes:
            raise ValueError(f"{self.name} gives {self.head.kind}, not depth; `answer` of the predictor has them")
        times = [time.perf_counter()]
        frame = image_array(image)
        size = (frame.shape[0], frame.shape[1])
        times.append(time.perf_counter())
        if self.frame not in (None, size):
            raise BadImage(_wrong_size(self.name, self.frame, size))
        batch = prepare(frame, self.preprocess) if self.frame is None else frame[None]
        times.append(time.perf_counter())
        output = self._merged(batch) if self.flip else self.runner(batch)[0, 0]
        times.append(time.perf_counter())
        values, valid = restore(output, size, self.preprocess) if self.frame is None else _seen(output, self.preprocess)
        if isinstance(self.manifest, ExternalManifest) and self.head.kind != "relative_disparity":
            valid &= values > 0  # nothing keeps another program's net from depths that cannot be
        times.append(time.perf_counter())
        parts = ("read_ms", "preprocess_ms", "inference_ms", "postprocess_ms")
        latency_ms = {part: (b - a) * 1000 for part, (a, b) in zip(parts, pairwise(times), strict=True)}
        return Depth(values, self.head.kind, valid), latency_ms

    def scores(self, image: Picture) -> ClassScores:
        """What a classifier says of one photograph. ValueError if the model gives something else."""
        return _answered(self, image, "classes")  # type: ignore[return-value]

    def labels(self, image: Picture) -> Labels:
        """What each pixel of one photograph shows, at the photograph's size: the class of the highest score, scores
        being enlarged bilinearly. ValueError if the model gives something else.
        """
        return _answered(self, image, "labels")  # type: ignore[return-value]

    def joint(self, image: Picture) -> Joint:
        """Depth and labels of one photograph, at its size. ValueError if the model gives something else."""
        return _answered(self, image, "joint")  # type: ignore[return-value]

    @property
    def answer(self) -> Callable[[Picture], Answer]:
        """What the model says of a photograph: its depth, the scores of its classes, the labels of its pixels, or depth
        and labels.
        """
        table: dict[str, Callable[[Picture], Any]]
        table = {"classes": self.scores, "labels": self.labels, "joint": self.joint}
        return table.get(self.head.kind, self)

    @property
    def frame(self) -> tuple[int, int] | None:
        """The (height, width) of the pictures that a whole-frame file takes; None: any size."""
        return None if self.manifest is None else self.manifest.frame

    @property
    def runtime(self) -> str:
        """What runs it."""
        return "eager" if self.manifest is None else self.manifest.runtime

    @property
    def precision(self) -> Precision:
        """Its arithmetic."""
        return "fp32" if self.manifest is None else self.manifest.precision

    def _merged(self, batch: np.ndarray) -> np.ndarray:
        across = 3 if self.frame is None else 2
        other = self.runner(np.ascontiguousarray(np.flip(batch, across)))[0, 0, :, ::-1]
        own = self.runner(batch)[0, 0]
        if self.head.layer != "disparity":
            return np.asarray((own + other) / 2)
        if self.head.kind != "metric":
            return merge_mirrored(own, other)
        return 1 / merge_mirrored(*(1 / depth.clip(min=1e-6) for depth in (own, other)))  # depth is metres / disparity


def _seen(values: np.ndarray, how: Preprocess) -> tuple[np.ndarray, np.ndarray]:
    """As `restore`, of depth [H,W] that has the frame's size already."""
    top, left, height, width = seen_part((values.shape[0], values.shape[1]), how)
    valid = np.zeros(values.shape, bool)
    valid[top : top + height, left : left + width] = True
    return values, valid & np.isfinite(values)


def _answered(predictor: Predictor, image: Picture, kind: Kind) -> Answer:
    """`answers.answer`, if the model is of that kind."""
    name, head = predictor.name, predictor.head
    if predictor.flip:
        raise ValueError(f"{name} gives {head.kind}; flip is for depth, leave it out")
    if head.kind != kind:
        raise ValueError(f"{name} gives {head.kind}, not {kind}; `answer` fits each model")
    frame = image_array(image)
    output = predictor.runner(prepare(frame, predictor.preprocess))
    return answer(output, (frame.shape[0], frame.shape[1]), head, predictor.preprocess)


def _wrong_size(name: str, frame: tuple[int, int] | None, size: tuple[int, int]) -> str:
    made, given = (f"{height}x{width}" for height, width in (frame or size, size))
    return (
        f"the picture is {given} (height x width), but this file of {name} takes whole frames of {made} only: resize "
        f"the picture, or export the model again with --frame {given}, or without --frame for pictures of any size"
    )


def load_predictor(
    model: str | Path,
    *,
    runtime: str | None = None,
    threads: int | None = None,
    device: str | None = None,
    external: ExternalModel = NOTHING_SAID,
) -> Predictor:
    """The Predictor of a shipped model's name, of a checkpoint or a run's folder, of an exported file or a dynamic
    folder, or of an ONNX or TFLite file of another program, which `external` describes.

    A name is run by the ONNX file that ships for it, if there is one and onnxruntime is installed: the same net loads
    sooner and runs faster. Other names, and checkpoints, are run by PyTorch; `runtime` "eager" asks for it. By another
    `runtime` the net is exported first, or taken from the cache (see `export`). An exported file says itself which
    runtime it needs. `threads` None is what LEADLINE_THREADS says, or the runtime's own choice.

    `device` is where to compute: "cpu" (None), or what the runtime has here (see `runtime.devices`), such as "cuda". A
    name whose ONNX file cannot compute there is run by PyTorch. ValueError for a device that is not here.

    It has already run once, on a grey picture, so that no photograph's time contains the set-up.
    BadCheckpoint or BadArtefact if the file cannot be used, NoRuntime if its runtime is not installed.
    """
    place = "cpu" if device is None else device.lower()
    threads = stated_threads(threads)
    if is_external(model):
        return _of_external(Path(model), runtime, threads, place, external)
    refuse_external(model, external)
    if is_dynamic(model):
        return _of_dynamic(Path(model), runtime, threads, place)
    made_for = SUFFIXES.get(Path(model).suffix, "eager")
    if made_for != "eager" and runtime not in (None, made_for):
        raise ValueError(f"{model} is a file for {made_for}; give the checkpoint to run it by {runtime}")
    ready = shipped_file(model, runtime, place)
    if ready is None and made_for == "eager" and runtime in (None, "eager"):
        if runtime is None and place != "cpu" and not is_installed("torch") and str(model) in shipped_onnx():
            check_device("onnx", place)  # else the error would name torch, and a --runtime that nobody gave
        need_torch(model, runtime)
        predictor = _by_pytorch(model, threads, place)
    else:
        path = ready or Path(model)
        if ready is None and made_for == "eager":
            check_device(runtime or made_for, place)
            path = _exported(model, runtime or made_for)
        runner, manifest = load(path, threads, place)
        predictor = Predictor(manifest.spec.name, runner, manifest.spec.preprocess, manifest.spec.head, manifest)
    predictor.answer(np.full((*(predictor.frame or predictor.preprocess.size), 3), 128, np.uint8))
    return predictor


def _of_dynamic(folder: Path, runtime: str | None, threads: int | None, device: str) -> Predictor:
    runner, widest = open_dynamic(folder, threads, device)
    if runtime not in (None, widest.runtime):
        raise ValueError(f"{folder} holds files for {widest.runtime}; leave --runtime {runtime} out")
    return Predictor(widest.spec.name, runner, widest.spec.preprocess, widest.spec.head, widest)


def _of_external(path: Path, runtime: str | None, threads: int | None, device: str, said: ExternalModel) -> Predictor:
    if runtime not in (None, (made_for := EXTERNAL[path.suffix])):
        raise ValueError(f"{path} is a file of another program, which {made_for} runs; leave --runtime {runtime} out")
    runner, found = open_external(path, said, threads, device)
    check_external(path, said, found)
    return Predictor(found.name, runner, found.preprocess, found.head, found)


def shipped_file(model: str | Path, runtime: str | None = None, device: str = "cpu") -> Path | None:
    """The ONNX file that ships for the name `model` and runs here by `runtime`, None standing for the quickest one.

    None if there is no such file, or if it cannot run here on `device` and nobody asked for "onnx".
    """
    path = shipped_onnx().get(str(model)) if runtime in (None, "onnx") else None
    if path is None or backend("onnx").missing() is not None:
        return None
    return path if device == "cpu" or runtime == "onnx" or device in devices("onnx") else None


def _exported(model: str | Path, runtime: str) -> Path:
    with needing(f"exporting {model} for {runtime}"):
        from leadline.runtime.export import export
    from leadline.runtime.options import CompileOptions
    from leadline.runtime.tuning import tuning_folder

    known = tuning_folder(None) if runtime == "tvm" else None
    return export(model, runtime, options=CompileOptions(tuning=known))


def _by_pytorch(model: str | Path, threads: int | None, device: str) -> Predictor:
    check_device("eager", device)
    from leadline.nn.checkpoint import load as load_net

    return predictor_of(load_net(model).to(device), threads)


def need_torch(model: str | Path, runtime: str | None = None) -> None:
    """MissingPackage, with what else can be done, if PyTorch is not there to run the name or checkpoint `model`; the
    runtime None is any.
    """
    find(model)  # a name that does not exist is told before a package that is lacking
    if is_installed("torch"):
        return
    command = backend("onnx").missing()
    if str(model) in shipped_onnx() and command is not None and runtime is None:
        raise MissingPackage("onnxruntime", "onnx", f"running {model}", "or 'leadline[train]', to run it by PyTorch")
    others = f"{', '.join(shipped_onnx())} run without it{f' ({command})' if command else ''}"
    if str(model) in shipped_onnx():
        others = "without it its ONNX file runs: leave --runtime eager out"
    elif str(model) not in shipped():
        others = f"or export it on a machine that has torch; {others}"
    raise MissingPackage("torch", "train", f"running {model}", others)


def predictor_of(net: Net, threads: int | None = None) -> Predictor:
    """A net in memory, run by PyTorch."""
    from leadline.runtime.backends import eager

    return Predictor(net.spec.name, eager.runner(net, threads), net.spec.preprocess, net.spec.head)
