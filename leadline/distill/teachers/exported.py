"""Exported files as teachers: our own, which say what they are, and other people's ONNX and TFLite files."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from leadline.core.errors import BadArtefact, MissingPackage
from leadline.core.machine import check_threads
from leadline.core.preprocess import prepare, restore
from leadline.core.quiet import quiet
from leadline.core.spec import Preprocess
from leadline.core.storage import sha256
from leadline.core.types import Sample
from leadline.distill.options import FLAG, ExternalModel
from leadline.distill.teachers.teacher import Teacher
from leadline.runtime import installed, load
from leadline.runtime.manifest import files_of

Look = Callable[[np.ndarray], np.ndarray]
"""One picture uint8 [H,W,3] -> its depth float32 [H,W], NaN where nothing is said."""


def exported_teacher(path: Path, threads: int | None = None) -> Teacher:
    """A file of `leadline export`."""
    runner, manifest = load(path, threads)
    how = manifest.spec.preprocess

    def look(frame: np.ndarray) -> np.ndarray:
        size = (frame.shape[0], frame.shape[1])
        if manifest.frame is not None:
            if size != manifest.frame:
                raise BadArtefact(f"{path} takes whole frames of {manifest.frame} only, this picture is {size}")
            return np.asarray(runner(frame[None])[0, 0])
        values, valid = restore(runner(prepare(frame, how))[0, 0], size, how)
        return np.where(valid, values, np.float32(np.nan))

    facts = {"file": path.name, "sha256": sha256(*files_of(path)), "licences": manifest.provenance.get("licences", [])}
    return Teacher(manifest.spec.name, manifest.spec.head.kind, each(look), facts)


def external_teacher(path: Path, said: ExternalModel, threads: int | None = None) -> Teacher:
    """A file that leadline has not made: `said` is what it does not say of itself.

    It is asked about a grey picture once. BadArtefact if it does not take one picture [1,3,H,W] or [1,H,W,3], or does
    not give one map; ValueError if its kind, or which of several outputs is depth, is not stated. What `said` has to
    say besides is for other files that are asked together with it.
    """
    if said.kind is None:
        raise ValueError(
            f"{path} does not say what its numbers are: give its kind ({FLAG}), metric (metres), "
            "relative_depth (farther is larger) or relative_disparity (nearer is larger)"
        )
    run, given, results = (_onnx if path.suffix == ".onnx" else _tflite)(path, threads)
    place = _picture_of(path, given)
    which = _map_of(path, results, said.output)
    size = place.size or said.size
    if size is None:
        raise ValueError(f"{path} takes pictures of any size: give the size it was made for (--external.size)")
    how = Preprocess(size, mean=said.mean, std=said.std)

    def look(frame: np.ndarray) -> np.ndarray:
        image = prepare(frame, how)
        if place.bytes:
            image = np.rint(image * 255).astype(np.uint8)
        else:
            mean, std = (np.array(v, np.float32).reshape(1, 3, 1, 1) for v in (how.mean, how.std))
            image = ((image - mean) / std).astype(place.dtype)
        out = run(image if place.first else np.ascontiguousarray(image.transpose(0, 2, 3, 1)))[which]
        flat = np.squeeze(np.asarray(out, np.float32))
        if flat.ndim != 2:
            raise BadArtefact(f"{path}: its output {results[which][0]!r} is {out.shape}; one map is needed")
        values, valid = restore(flat * np.float32(said.unit_m), (frame.shape[0], frame.shape[1]), how)
        return np.where(valid, values, np.float32(np.nan))

    look(np.full((*size, 3), 128, np.uint8))
    facts: dict[str, Any] = {
        "file": path.name, "sha256": sha256(path, *_beside(path)), "licences": list(said.licences),
        "output": results[which][0], "unit_m": said.unit_m, "size": list(size),
    }  # fmt: skip
    facts |= {} if place.bytes else {"mean": list(said.mean), "std": list(said.std)}
    return Teacher(path.stem, said.kind, each(look), facts)


def each(look: Look) -> Callable[[Sample], Tensor]:
    """`ask` of a teacher that looks at one picture at a time."""

    def ask(batch: Sample) -> Tensor:
        frames = (batch.image.detach().cpu() * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
        maps = [torch.from_numpy(np.ascontiguousarray(look(np.ascontiguousarray(frame)))) for frame in frames]
        return torch.stack(maps)[:, None].to(batch.image.device)

    return ask


@dataclass(frozen=True)
class _Place:
    """Where a picture goes in: colours first or last, (height, width) or None for any, and the numbers' type."""

    first: bool
    size: tuple[int, int] | None
    dtype: np.dtype[Any]

    @property
    def bytes(self) -> bool:
        return self.dtype == np.uint8


Named = Sequence[tuple[str, Sequence[Any], Any]]
"""Name, shape (words stand for any number) and numpy type of each input or output."""


def _listed(things: Named) -> str:
    return ", ".join(f"{name} {np.dtype(dtype).name} {list(shape)}" for name, shape, dtype in things)


def _picture_of(path: Path, given: Named) -> _Place:
    wanted = "one input of RGB pictures, [1,3,H,W] or [1,H,W,3], float32, float16 or uint8"
    if len(given) == 1:
        _, shape, dtype = given[0]
        if len(shape) == 4 and np.dtype(dtype) in (np.float32, np.float16, np.uint8):
            first, last = shape[1] == 3, shape[3] == 3
            sides = shape[2:] if first else shape[1:3]
            if first != last and (shape[0] == 1 or not isinstance(shape[0], int)):
                known = all(isinstance(side, int) and side > 0 for side in sides)
                size = (int(sides[0]), int(sides[1])) if known else None
                return _Place(first, size, np.dtype(dtype))
    raise BadArtefact(f"{path}: {wanted}, is expected; found: {_listed(given) or 'none'}. Export it in such a layout")


def _map_of(path: Path, results: Named, wanted: str | None) -> int:
    names = [name for name, _, _ in results]
    if wanted is not None:
        if wanted not in names:
            raise ValueError(f"{path} has no output {wanted!r}; it has {_listed(results)}")
        return names.index(wanted)
    if len(results) != 1:
        raise ValueError(f"{path} has several outputs: {_listed(results)}; say which is depth (--external.output)")
    return 0


def _onnx(path: Path, threads: int | None) -> tuple[Callable[[np.ndarray], Sequence[Any]], Named, Named]:
    installed("onnx")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = check_threads(threads)
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its classes have no common parent, and their messages no end
        raise BadArtefact(f"{path} is damaged, or no ONNX file for this onnxruntime") from error

    def named(things: Any) -> Named:
        return [(thing.name, thing.shape, _TYPES.get(thing.type, np.object_)) for thing in things]

    given = named(session.get_inputs())

    def run(image: np.ndarray) -> Sequence[Any]:
        try:
            return cast(Sequence[Any], session.run(None, {given[0][0]: image}))
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise BadArtefact(f"{path} fails on a picture {list(image.shape)}; another size? {reason}") from error

    return run, given, named(session.get_outputs())


_TYPES: dict[str, Any] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(uint8)": np.uint8,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
}


def _beside(path: Path) -> list[Path]:
    """The files in which an ONNX file keeps weights outside of itself."""
    if path.suffix != ".onnx":
        return []
    try:
        import onnx
    except ImportError as error:
        raise MissingPackage("onnx", "onnx", f"telling which files belong to {path.name}") from error
    graph = onnx.load(path, load_external_data=False).graph
    told = {pair.value for one in graph.initializer for pair in one.external_data if pair.key == "location"}
    return sorted(path.parent / name for name in told)


def _tflite(path: Path, threads: int | None) -> tuple[Callable[[np.ndarray], Sequence[Any]], Named, Named]:
    installed("litert")
    with quiet():
        from ai_edge_litert.interpreter import Interpreter

        try:
            interpreter = Interpreter(model_content=path.read_bytes(), num_threads=check_threads(threads))
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise BadArtefact(f"{path} is damaged, or no TFLite file: {error}") from error
    given, results = interpreter.get_input_details(), interpreter.get_output_details()

    turn = threading.Lock()  # an interpreter has one set of tensors

    def run(image: np.ndarray) -> Sequence[Any]:
        try:
            with turn:
                interpreter.set_tensor(given[0]["index"], _coded(image, given[0]))
                interpreter.invoke()
                return [_real(interpreter.get_tensor(one["index"]), one) for one in results]
        except (ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise BadArtefact(f"{path} fails on a picture {list(image.shape)}; another size? {reason}") from error

    def named(things: Any) -> Named:
        return [(one["name"], one["shape"].tolist(), np.float32 if _steps(one) else one["dtype"]) for one in things]

    return run, named(given), named(results)


def _steps(one: Any) -> tuple[float, int] | None:
    """(scale, zero point) of an integer tensor of TFLite that stands for real numbers, (q - zero) x scale."""
    scale, zero = one["quantization"]
    return (float(scale), int(zero)) if scale and np.dtype(one["dtype"]).kind in "iu" else None


def _coded(image: np.ndarray, one: Any) -> np.ndarray:
    if (steps := _steps(one)) is None:
        return image
    limits = np.iinfo(one["dtype"])
    return np.rint(image / steps[0] + steps[1]).clip(limits.min, limits.max).astype(one["dtype"])


def _real(values: np.ndarray, one: Any) -> np.ndarray:
    if (steps := _steps(one)) is None:
        return values
    return (values.astype(np.float32) - steps[1]) * np.float32(steps[0])
