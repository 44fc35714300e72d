"""A folder of one net in several widths, one exported file each, and the rule that chooses a width for each picture.

    dynamic.json         the files, narrowest first, their SHA-256, where to start, thresholds, what was measured
    width-0.onnx, ...    the exported files, with their manifests

A picture is run by the width `start`. Its answer says how hard the picture is; where that is above a threshold, a wider
one runs as well, and its answer counts. For video `Following` runs one width a frame, chosen by the frame before.
No torch: what has only another runtime can use it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from leadline.core.errors import BadArtefact
from leadline.core.preprocess import Runner
from leadline.core.spec import Kind, Spec, from_json, to_json
from leadline.core.storage import sha256, write_atomically
from leadline.core.text import reason
from leadline.nn.files import read_spec
from leadline.runtime import SUFFIXES, check_device, installed, load
from leadline.runtime import read_manifest as read_file_manifest
from leadline.runtime.manifest import MAX_BYTES, Manifest, strict_json

NAME, FORMAT = "dynamic.json", "leadline-dynamic-1"
_NEAREST = 1e-3  # metres, or what a relative map has in place of them


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which width answers: `start` runs first, and width start + i + 1 runs too where the hardness is above
    `thresholds[i]` and no higher one. Thresholds rise.
    """

    start: int
    thresholds: tuple[float, ...]

    def width(self, hard: float) -> int:
        """The width whose answer counts for a picture of that hardness."""
        return int(self.widths(np.asarray(hard)))

    def widths(self, hard: np.ndarray) -> np.ndarray:
        """The widths for pictures of that hardness, of the shape of `hard`."""
        found: np.ndarray = self.start + np.greater.outer(hard, np.asarray(self.thresholds)).sum(axis=-1)
        return found


@dataclass(frozen=True, kw_only=True)
class DynamicManifest:
    """What `dynamic.json` says. `files` are names in its folder, the narrowest width first, `hashes` their SHA-256."""

    files: tuple[str, ...]
    hashes: tuple[str, ...]
    choice: Choice
    measured: dict[str, Any] = field(default_factory=dict)
    """Where it was exported: milliseconds and accuracy of each width, shares of pictures, of the data and protocol."""


def hardness(output: np.ndarray, kind: Kind) -> float:
    """How hard a picture is, by a width's own answer: 0 is easy.

    Of classes the probability that the likeliest lacks; of labels, with or without depth, its mean over pixels. Of
    depth how rough the map is: the mean |difference of the logarithm of depth| between neighbouring pixels, a quarter
    of the map looked at.
    """
    if kind == "joint":
        output = output[:, 1:]
    if kind in ("classes", "labels", "joint"):
        scores = np.asarray(output[0], np.float32).reshape(output.shape[1], -1)
        odds = np.exp(scores - scores.max(axis=0))
        return float(np.mean(1 - 1 / odds.sum(axis=0)))
    values = np.log(np.maximum(output[0, 0, ::2, ::2], _NEAREST))
    steps = [np.abs(np.diff(values, axis=axis)) for axis in (0, 1) if values.shape[axis] > 1]
    return float(np.mean([step.mean() for step in steps])) if steps else 0.0


class Widths:
    """A Runner over the Runners of all widths. `counts` says how often each width's answer counted.

    Threads may share it; then `counts` may miss some.
    """

    def __init__(self, runners: Sequence[Runner], choice: Choice, kind: Kind) -> None:
        self.runners, self.choice, self.kind = tuple(runners), choice, kind
        self.counts = [0] * len(self.runners)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return np.concatenate([self._one(images[i : i + 1]) for i in range(len(images))])

    def _one(self, image: np.ndarray) -> np.ndarray:
        first = self.runners[self.choice.start](image)
        width = self.choice.start
        if self.choice.thresholds:
            width = self.choice.width(hardness(first, self.kind))
        self.counts[width] += 1
        return first if width == self.choice.start else self.runners[width](image)


class Following:
    """A Runner for the frames of one video, in order: the width of each is chosen by the answer to the frame before.

    One width runs for each frame. The first frame takes the widest. `switches` counts the changes of width. Not for
    threads: frames have an order.
    """

    def __init__(self, widths: Widths) -> None:
        self.widths = widths
        self.width = len(widths.runners) - 1
        self.counts, self.switches = [0] * len(widths.runners), 0

    def __call__(self, images: np.ndarray) -> np.ndarray:
        answers = []
        for i in range(len(images)):
            answer = self.widths.runners[self.width](images[i : i + 1])
            self.counts[self.width] += 1
            following = self.widths.choice.width(hardness(answer, self.widths.kind))
            self.switches += following != self.width
            self.width = following
            answers.append(answer)
        return np.concatenate(answers)


def is_dynamic(path: str | Path) -> bool:
    """Whether `path` is such a folder."""
    return (Path(path) / NAME).is_file()


def write_manifest(folder: Path, manifest: DynamicManifest) -> Path:
    """Write `dynamic.json` into `folder`."""
    plain = to_json(manifest) | {"measured": manifest.measured, "format": FORMAT}
    return write_atomically(folder / NAME, json.dumps(plain, indent=1, sort_keys=True).encode())


def read_manifest(folder: Path) -> DynamicManifest:
    """What the folder says of itself; BadArtefact if it is damaged, or lacks a file, or holds one that was changed."""
    path = folder / NAME
    try:
        with path.open("rb") as stream:
            plain = strict_json(stream.read(MAX_BYTES))
        if not isinstance(plain, dict) or plain.pop("format", None) != FORMAT:
            raise ValueError(f"its format is not {FORMAT!r}")
        measured = plain.pop("measured", {})
        found = replace(from_json(DynamicManifest, plain), measured=measured if isinstance(measured, dict) else {})
        _check(found)
    except (OSError, ValueError, KeyError, TypeError, ArithmeticError, RecursionError) as error:
        raise BadArtefact(f"{path} does not describe a net of several widths: {reason(error)}") from error
    for name, known in zip(found.files, found.hashes, strict=True):
        file = folder / name
        if not file.is_file():
            raise BadArtefact(f"{folder} lacks {name}, one of its {len(found.files)} widths; export the model anew")
        if sha256(file) != known:
            raise BadArtefact(f"{file} is not the file that was exported with {NAME}; export the model anew")
    return found


def _check(manifest: DynamicManifest) -> None:
    """A ValueError for values that no such folder has."""
    n, choice = len(manifest.files), manifest.choice
    plain = all(Path(name).name == name and 0 < len(name) < 200 and name != ".." for name in manifest.files)
    if not (n and plain and len(set(manifest.files)) == n == len(manifest.hashes)):
        raise ValueError("files and hashes must be equally many, the files names in this folder")
    rising = all(a <= b for a, b in zip(choice.thresholds, choice.thresholds[1:], strict=False))
    if not (0 <= choice.start < n and choice.start + len(choice.thresholds) < n and rising):
        raise ValueError(f"start {choice.start} and {len(choice.thresholds)} thresholds do not fit {n} widths")


def open_dynamic(folder: Path, threads: int | None, device: str = "cpu") -> tuple[Widths, Manifest]:
    """(the Runner, the widest file's manifest). Each width has run once: no picture's time has its set-up in it.

    BadArtefact if a file is missing, changed, or of another net, size or runtime.
    """
    found = read_manifest(folder)
    opened = [_opened(folder / name, threads, device) for name in found.files]
    widest = opened[-1][1]
    for name, (_, manifest) in zip(found.files, opened, strict=True):
        same = (manifest.runtime, manifest.size, manifest.frame, manifest.spec.head, manifest.spec.preprocess)
        if same != (widest.runtime, widest.size, widest.frame, widest.spec.head, widest.spec.preprocess):
            raise BadArtefact(f"{folder / name} is of another net, size or runtime than {found.files[-1]}; export anew")
    for runner, manifest in opened:
        runner(np.zeros((1, 3, *manifest.size), np.float32))
    return Widths([runner for runner, _ in opened], found.choice, widest.spec.head.kind), widest


def _opened(file: Path, threads: int | None, device: str) -> tuple[Runner, Manifest]:
    """A width's Runner and manifest; checkpoints, which PyTorch runs, have none and say the same in their Spec."""
    if SUFFIXES.get(file.suffix) != "eager":
        return load(file, threads, device)
    check_device("eager", device)
    spec = read_spec(file)
    return installed("eager").load(file, threads), Manifest(spec, "eager", "fp32", spec.preprocess.size)


def spec_of_dynamic(folder: Path) -> Spec:
    """The Spec of the widest net; nothing is loaded."""
    file = folder / read_manifest(folder).files[-1]
    return read_spec(file) if SUFFIXES.get(file.suffix) == "eager" else read_file_manifest(file).spec


def described_dynamic(folder: Path) -> dict[str, Any]:
    """What the folder says of itself, and its bytes, as JSON."""
    found = read_manifest(folder)
    n_bytes = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    return {**to_json(found), "measured": found.measured, "bytes": n_bytes}
