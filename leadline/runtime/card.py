"""Card: what an exported file says of itself. In the file where its format has room, else in FILE.json beside it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from leadline.errors import BadArtefact
from leadline.options import Precision
from leadline.spec import Spec, from_json, to_json
from leadline.text import read_text

FORMAT = "leadline-artefact-1"


@dataclass(frozen=True)
class Card:
    """The net's Spec (with preprocessing, kind and unit), the runtime and precision the file was made for.

    `size` is the input (height, width) of the net. `frame` is None where the file takes float32 [1,3,h,w] in 0..1 and
    gives float32 [1,1,h,w]; otherwise the camera's (height, width): the file takes uint8 [1,H,W,3], RGB, and gives
    float32 [1,1,H,W]. `kept` are the layers that an int8 file leaves in floating point. `versions` are of the packages
    that wrote it; `provenance` is that of the checkpoint, and `source` its sha256.
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


def dumps(card: Card) -> str:
    """The card as JSON text."""
    plain = to_json(card) | {"versions": card.versions, "provenance": card.provenance, "format": FORMAT}
    return json.dumps(plain, sort_keys=True)


def loads(text: str, path: Path) -> Card:
    """The card from JSON text; BadArtefact, naming the file `path`, if it is something else."""
    try:
        plain = json.loads(text)
        if not isinstance(plain, dict) or plain.pop("format", None) != FORMAT:
            raise ValueError(f"its format is not {FORMAT!r}")
        versions, provenance = plain.pop("versions"), plain.pop("provenance")
        card = from_json(Card, plain)
    except (ValueError, KeyError) as error:
        raise BadArtefact(f"the description of {path} is not leadline's, or of another version: {error}") from error
    return Card(**(vars(card) | {"versions": versions, "provenance": provenance}))


def beside(path: Path) -> Path:
    """Where the card of an artefact lies that has no room for it: `net.tflite` -> `net.tflite.json`."""
    return path.with_name(path.name + ".json")


def files_of(path: Path) -> list[Path]:
    """The artefact `path` and what belongs to it: weights in a second file, the card."""
    others = [path.with_suffix(".bin")] if path.suffix == ".xml" else []
    others += [path.with_name(path.name + ".bin")] if path.suffix == ".param" else []
    others += [path.with_name(path.name + ".data"), beside(path)]
    return [path, *(other for other in others if other.is_file())]


def write_beside(path: Path, card: Card) -> None:
    """Put the card next to the artefact `path`."""
    beside(path).write_text(dumps(card) + "\n", "utf-8")


def read_beside(path: Path) -> Card:
    """The card next to the artefact `path`; BadArtefact if there is none."""
    if not path.is_file():
        raise BadArtefact(f"there is no file {path}")
    try:
        return loads(read_text(beside(path)), path)
    except ValueError as error:
        raise BadArtefact(f"the description of {path} cannot be read: {error}") from error
    except FileNotFoundError:
        raise BadArtefact(
            f"{path} lacks {beside(path).name}, which says what goes in and what comes out; keep the two together, or "
            "export the file anew"
        ) from None


def installed_version(package: str) -> str | None:
    """The version of an installed package; None if it is not there, or goes by another name (a build of one's own)."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def sha256(path: Path, *others: Path) -> str:
    """The file's SHA-256, as hexadecimal text; with `others` that of all their names and SHA-256."""
    if others:
        lines = " ".join(f"{one.name} {sha256(one)}" for one in (path, *others))
        return hashlib.sha256(lines.encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
