"""Manifest: what an exported file says of itself. In the file where its format has room, else in FILE.json beside
it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from leadline.core import machine
from leadline.core.errors import BadArtefact
from leadline.core.preprocess import MAX_PIXELS
from leadline.core.spec import Spec, from_json, to_json
from leadline.core.storage import sha256
from leadline.core.text import reason
from leadline.runtime.options import Precision

FORMAT = "leadline-artefact-1"
MAX_BYTES = 2**24
"""Of a manifest; more is no manifest."""


@dataclass(frozen=True)
class Manifest:
    """The net's Spec (with preprocessing, kind and unit), the runtime and precision the file was made for.

    `size` is the input (height, width) of the net. `frame` is None where the file takes float32 [1,3,h,w] in 0..1 and
    gives float32 [1,1,h,w]; otherwise the camera's (height, width): the file takes uint8 [1,H,W,3], RGB, and gives
    float32 [1,1,H,W]. `kept` are the layers that an int8 file leaves in floating point. `versions` are of the packages
    that wrote it; `provenance` is that of the checkpoint, and `source` its sha256.

    `hashes` are the SHA-256 of the artefact's files, the artefact first, and of an ONNX file that of all but the
    manifest itself. `machine` is what native code needs of a machine, see `machine.native`. Older manifests have
    neither.
    """

    spec: Spec
    runtime: str
    precision: Precision
    size: tuple[int, int]
    frame: tuple[int, int] | None = None
    kept: tuple[str, ...] = ()
    source: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    hashes: tuple[str, ...] = ()
    machine: tuple[str, ...] = ()


def dumps(manifest: Manifest) -> str:
    """The manifest as JSON text."""
    plain = to_json(manifest) | {"versions": manifest.versions, "provenance": manifest.provenance, "format": FORMAT}
    return json.dumps(plain, sort_keys=True)


def loads(text: str | bytes, path: Path) -> Manifest:
    """The manifest from JSON text; BadArtefact, naming the file `path`, if it is something else or its values cannot
    be.
    """
    try:
        plain = strict_json(text)
        if not isinstance(plain, dict) or plain.pop("format", None) != FORMAT:
            raise ValueError(f"its format is not {FORMAT!r}")
        versions, provenance = _texts(plain, "versions"), _origin(plain)
        manifest = replace(from_json(Manifest, plain), versions=versions, provenance=provenance)
        _check_values(manifest)
    except (ValueError, KeyError, TypeError, ArithmeticError, RecursionError) as error:
        raise BadArtefact(
            f"the description of {path} is not leadline's, or of another version: {reason(error)}"
        ) from error
    return manifest


def strict_json(text: str | bytes) -> Any:
    """The value of a JSON text, in which no key stands twice and all numbers are finite; else a ValueError."""
    whole = text if isinstance(text, str) else text.decode("utf-8-sig")
    return json.loads(whole, object_pairs_hook=_once, parse_float=_finite, parse_constant=_finite)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"a key stands twice: {next(key for key in keys if keys.count(key) > 1)!r}")
    return found


def _finite(number: str) -> float:
    if not math.isfinite(value := float(number)):
        raise ValueError(f"a number is {number}; a finite one is needed")
    return value


def _texts(plain: dict[str, Any], key: str) -> dict[str, str]:
    found = plain.pop(key)
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise ValueError(f"{key} is {found!r}; an object of texts is needed")
    return found


def _origin(plain: dict[str, Any]) -> dict[str, Any]:
    found = plain.pop("provenance")
    terms = found.get("licences", []) if isinstance(found, dict) else None
    if not isinstance(terms, list) or not all(isinstance(term, str) for term in terms):
        raise ValueError(f"provenance is {found!r}; an object is needed, its licences a list of texts")
    return dict(found)


def _check_values(manifest: Manifest) -> None:
    """A ValueError for a value of the right type that no exported file has."""
    for name, pixels in (("size", manifest.size), ("frame", manifest.frame or (1, 1))):
        if min(pixels) < 1 or pixels[0] * pixels[1] > MAX_PIXELS:
            raise ValueError(f"{name} is {pixels}; (height, width) of at least 1 and together {MAX_PIXELS} is needed")
    if manifest.size != manifest.spec.preprocess.size:
        raise ValueError(f"size is {manifest.size}, and pictures are prepared to {manifest.spec.preprocess.size}")
    versions = (*manifest.versions, *manifest.versions.values())
    for text in (manifest.spec.name, manifest.runtime, manifest.source, *manifest.kept, *manifest.machine, *versions):
        if not text.isprintable():
            raise ValueError(f"{text!r} is no name: it has characters that cannot be printed")
    for text in manifest.hashes:
        if len(text) != 64 or set(text) - set("0123456789abcdef"):
            raise ValueError(f"a hash is {text!r}; a SHA-256 of 64 hexadecimal digits is needed")


def beside(path: Path) -> Path:
    """Where the manifest of an artefact lies that has no room for it: `net.tflite` -> `net.tflite.json`."""
    return path.with_name(path.name + ".json")


def files_of(path: Path) -> list[Path]:
    """The artefact `path` and what belongs to it: weights in a second file, the manifest."""
    others = [*_weights(path), path.with_name(path.name + ".data"), beside(path)]
    return [path, *(other for other in others if other.is_file())]


def _weights(path: Path) -> list[Path]:
    """The second file that such an artefact always has."""
    others = [path.with_suffix(".bin")] if path.suffix == ".xml" else []
    return others + ([path.with_name(path.name + ".bin")] if path.suffix == ".param" else [])


def write_beside(path: Path, manifest: Manifest) -> None:
    """Put the manifest next to the artefact `path`, bound to its files as they are now."""
    hashes = tuple(sha256(file) for file in (path, *_weights(path)))
    beside(path).write_text(dumps(replace(manifest, hashes=hashes)) + "\n", "utf-8")


def is_described(path: Path) -> bool:
    """Whether a manifest of leadline's, sound or not, lies next to the artefact `path`; it may be another program's."""
    try:
        with beside(path).open("rb") as file:
            return b"leadline-artefact" in file.read(MAX_BYTES)
    except OSError:
        return False


def read_beside(path: Path) -> Manifest:
    """The manifest next to the artefact `path`; BadArtefact if there is none."""
    if not path.is_file():
        raise BadArtefact(f"there is no file {path}")
    try:
        with beside(path).open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise BadArtefact(
            f"{path} lacks {beside(path).name}, which says what goes in and what comes out; keep the two together, or "
            "export the file anew"
        ) from None
    except OSError as error:
        raise BadArtefact(f"{beside(path)}, which describes {path.name}, cannot be read: {error}") from error
    if len(content) > MAX_BYTES:
        raise BadArtefact(f"{beside(path)} has more than {MAX_BYTES} bytes; it is no description of {path.name}")
    return loads(content, path)


def opened(path: Path, runtime: str) -> Manifest:
    """As `read_beside`, for who is about to load the file by `runtime`: BadArtefact if the manifest is another file's,
    or of a file for another runtime or machine. A native loader may crash on what is refused here.
    """
    manifest = read_beside(path)
    check_runtime(path, manifest, runtime)
    check_machine(path, manifest)
    if manifest.hashes:
        check_hashes(path, manifest, [_hash(file, path) for file in (path, *_weights(path))])
    return manifest


def _hash(file: Path, artefact: Path) -> str:
    if file != artefact and not file.is_file():
        raise BadArtefact(f"{artefact} lacks its weights, {file.name}; keep the two together, or export the file anew")
    try:
        return sha256(file)
    except OSError as error:
        raise BadArtefact(f"{file} cannot be read: {error}") from error


def check_hashes(path: Path, manifest: Manifest, found: Sequence[str]) -> None:
    """BadArtefact unless the files of the artefact `path`, whose SHA-256 are `found`, are those of the manifest."""
    if manifest.hashes == tuple(found):
        return
    names = [file.name for file in (path, *_weights(path))]
    wrong = [name for name, old, new in zip(names, manifest.hashes, found, strict=False) if old != new] or names
    raise BadArtefact(
        f"{path} is damaged, or its description belongs to another file: {' and '.join(wrong)} (SHA-256) is not what "
        "was exported with it; copy all files of the export again, or export the model anew"
    )


def check_runtime(path: Path, manifest: Manifest, runtime: str) -> None:
    """BadArtefact if the manifest is not of a file for `runtime`."""
    if manifest.runtime != runtime:
        raise BadArtefact(
            f"{path} is a file for {runtime} by its name, and for {manifest.runtime} by its description; export it anew"
        )


def check_machine(path: Path, manifest: Manifest) -> None:
    """BadArtefact if `path` is native code that needs what this machine lacks: running it could end the process."""
    here = machine.native() if manifest.machine else ()
    if lacking := [need for need in manifest.machine if need not in here]:
        raise BadArtefact(
            f"{path} was compiled for another processor: this one ({', '.join(here[:1])}) lacks {', '.join(lacking)}; "
            "export the model anew on this machine"
        )
