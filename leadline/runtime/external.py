"""ONNX and TFLite files that leadline has not made: each opened as a Runner.

A Runner of such a file takes what every Runner takes, RGB in 0..1; (x - mean) / std is computed here.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from leadline.core.errors import BadArtefact, NoRuntime
from leadline.core.preprocess import Runner, prepare
from leadline.core.spec import Head, Kind, Preprocess
from leadline.core.storage import sha256
from leadline.runtime.external_sessions import Named, Session, onnx_session, tflite_session
from leadline.runtime.manifest import beside, is_described
from leadline.runtime.onnx_file import manifest_of, second_files
from leadline.runtime.options import NOTHING_SAID, ExternalModel, Precision
from leadline.runtime.runner import FORKED, Loaded

EXTERNAL: dict[str, str] = {".onnx": "onnx", ".tflite": "litert"}
"""How files end that may be another program's -> the runtime that runs them."""
KIND_FLAG = "--external.kind"


@dataclass(frozen=True)
class ExternalManifest:
    """What is known of an external file, from itself and from its `ExternalModel`; like a `Manifest`, without a Spec.

    `precision` is that of its weights; `source` the SHA-256 of the file and of those that hold its weights; `output`
    the name of the output that is depth; `facts` the rest as JSON. It never takes whole frames: `frame` is None.
    """

    name: str
    runtime: str
    precision: Precision
    preprocess: Preprocess
    head: Head
    source: str
    output: str
    facts: dict[str, Any] = field(default_factory=dict)
    frame: None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of its input."""
        return self.preprocess.size

    def to_json(self) -> dict[str, Any]:
        """The facts for a report."""
        return {"kind": self.head.kind, "sha256": self.source, "output": self.output, **self.facts}


def is_external(path: Path | str) -> bool:
    """Whether `path` is an ONNX or TFLite file that leadline has not made.

    BadArtefact if there is no such file, or if it ends in .onnx and is damaged.
    """
    path = Path(path)
    if path.suffix not in EXTERNAL:
        return False
    if not path.is_file():
        raise BadArtefact(f"there is no file {path}")
    return manifest_of(path) is None if path.suffix == ".onnx" else not is_described(path)


def described_external(path: Path) -> dict[str, Any]:
    """What an ONNX or TFLite file of another program says of itself: runtime, precision, inputs and outputs."""
    session = (onnx_session if path.suffix == ".onnx" else tflite_session)(path, 1)
    named = {"inputs": session.inputs, "outputs": session.outputs}
    told = {side: [_listed([one]) for one in things] for side, things in named.items()}
    size = sum(file.stat().st_size for file in external_files(path) if file.is_file())
    return {"name": path.stem, "runtime": EXTERNAL[path.suffix], "precision": session.precision, **told, "bytes": size}


def external_files(path: Path) -> list[Path]:
    """The file, and those beside it that hold weights of it."""
    return [path, *(path.parent / name for name in (second_files(path) if path.suffix == ".onnx" else []))]


def kind_of(path: Path, external: ExternalModel) -> Kind:
    """What the file's numbers are; ValueError if neither it nor `external` states that, BadArtefact if damaged."""
    if external.kind is not None:
        return external.kind
    if path.suffix != ".onnx" and beside(path).exists():
        raise BadArtefact(
            f"{beside(path).name} beside {path} is damaged or another program's: export the file anew, or say what its "
            f"numbers are ({KIND_FLAG})"
        )
    lost = f" (if leadline exported it, put {path.name}.json beside it)" if path.suffix != ".onnx" else ""
    raise ValueError(
        f"{path} does not say what its numbers are: give its kind ({KIND_FLAG}), metric (metres), "
        f"relative_depth (farther is larger) or relative_disparity (nearer is larger){lost}"
    )


def open_external(
    path: Path, external: ExternalModel, threads: int | None = None, device: str = "cpu"
) -> tuple[Runner, ExternalManifest]:
    """The file, ready to run, and what is known of it. The Runner can be pickled: it is loaded anew where it arrives.

    It has looked at a grey picture once. BadArtefact if it does not take one picture [1,3,H,W] or [1,H,W,3], or does
    not give one map; ValueError if its kind, its size, or which of several outputs is depth, is not stated. What else
    `external` says may be for other files that are opened together with it.
    """
    kind = kind_of(path, external)
    files = external_files(path)
    if lost := [file.name for file in files if not file.is_file()]:
        raise BadArtefact(f"{path} lacks {', '.join(lost)}, which holds weights of it; keep the files together")
    session = (onnx_session if path.suffix == ".onnx" else tflite_session)(path, threads, device)
    place, which = _picture_of(path, session.inputs), _map_of(path, session.outputs, external.output)
    size = place.size or external.size
    if size is None:
        raise ValueError(f"{path} takes pictures of any size: give the size it was made for (--external.size)")
    how = Preprocess(size, mean=external.mean, std=external.std)
    run = _runner(path, session, place, which, how, external.unit_m if kind == "metric" else 1.0)
    run(prepare(np.full((*size, 3), 128, np.uint8), how))
    unit, layer = ("m" if kind == "metric" else kind), ("disparity" if kind == "relative_disparity" else "conv")
    facts: dict[str, Any] = {"licences": list(external.licences), "unit_m": external.unit_m, "size": list(size)}
    facts |= {} if place.bytes else {"mean": list(external.mean), "std": list(external.std)}
    found = ExternalManifest(
        path.stem, EXTERNAL[path.suffix], session.precision, how, Head(kind, unit, layer=layer),  # type: ignore[arg-type]
        sha256(*files), session.outputs[which][0], facts,
    )  # fmt: skip
    return Loaded(run, _again, path.absolute(), external, threads, found, device), found


def check_external(path: Path, external: ExternalModel, found: ExternalManifest) -> None:
    """ValueError if `external` says something of this one file that has no use or contradicts it."""
    if external.depth_scale is not None:
        raise ValueError(f"--external.depth-scale is for folders of depth maps; {path} needs --external.unit-m")
    if external.size is not None and tuple(external.size) != found.size:
        raise ValueError(f"{path} takes pictures of {found.size} (height, width) only; leave --external.size out")
    if "mean" not in found.facts and (external.mean, external.std) != (NOTHING_SAID.mean, NOTHING_SAID.std):
        raise ValueError(f"{path} takes uint8 pictures; leave --external.mean and --external.std out")
    if external.unit_m != 1 and external.kind != "metric":
        raise ValueError(f"--external.unit-m is for metric files; {external.kind} has no unit: leave it out")


def refuse_external(model: str | Path, external: ExternalModel) -> None:
    """ValueError if something is said of a model of leadline's."""
    if external != NOTHING_SAID:
        raise ValueError(f"{model} says itself what it is; --external.* is for files of other programs: leave it out")


def _again(path: Path, external: ExternalModel, threads: int | None, expected: ExternalManifest, device: str) -> Runner:
    run, found = open_external(path, external, threads, device)
    if found != expected:
        raise BadArtefact(f"{path} is no longer the file that was loaded before; load the model anew")
    return run


@dataclass(frozen=True)
class _Place:
    """Where a picture goes in: colours first or last, (height, width) or None for any, and the numbers' type."""

    first: bool
    size: tuple[int, int] | None
    dtype: np.dtype[Any]

    @property
    def bytes(self) -> bool:
        return self.dtype == np.uint8


def _runner(
    path: Path, session: Session, place: _Place, which: int, how: Preprocess, unit_m: float
) -> Callable[[np.ndarray], np.ndarray]:
    mean, std = (np.array(v, np.float32).reshape(1, 3, 1, 1) for v in (how.mean, how.std))
    shape, turn, home = (3, *how.size), threading.Lock(), os.getpid()

    def look(image: np.ndarray) -> np.ndarray:
        given = np.rint(image * 255).astype(np.uint8) if place.bytes else ((image - mean) / std).astype(place.dtype)
        with turn:
            out = session.run(np.ascontiguousarray(given if place.first else given.transpose(0, 2, 3, 1)))[which]
        flat = np.squeeze(np.asarray(out, np.float32))
        if flat.ndim != 2:
            name = session.outputs[which][0]
            raise BadArtefact(f"{path}: its output {name!r} is {np.shape(out)}; one map is needed")
        return np.array(flat * np.float32(unit_m))[None, None]

    def run(images: np.ndarray) -> np.ndarray:
        if images.shape[1:] != shape or images.dtype != np.float32 or not len(images):
            raise ValueError(f"the input is {images.dtype} {list(images.shape)}; float32 {['N', *shape]} is needed")
        if os.getpid() != home:
            raise NoRuntime(FORKED)
        return np.concatenate([look(images[i : i + 1]) for i in range(len(images))])

    return run


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
