"""Where nets lie, and what their files say of themselves: shipped ones by name, files, the folders of runs.

No torch: what has only another runtime, or only asks, can use it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from importlib import resources
from pathlib import Path
from typing import Any

from leadline.core.errors import BadCheckpoint
from leadline.core.spec import Spec, from_json
from leadline.core.text import nearest, reason, short_repr

FORMAT = "leadline-1"
DEFAULT = "fastdepth_small"
"""The net that runs when nobody names one: it runs, to the same depth, with torch and without."""
_RUN_FILES = ("run.json", "report.json", "plan.json")
_LAST = "last.safetensors"


def shipped() -> dict[str, Path]:
    """The models that come with leadline, by name."""
    return _weights("*.safetensors")


def shipped_onnx() -> dict[str, Path]:
    """The ONNX files that come with leadline, by name: shipped nets with the same weights. Not every net has one."""
    return _weights("*.onnx")


def _weights(pattern: str) -> dict[str, Path]:
    folder = Path(str(resources.files("leadline"))) / "weights"
    return {path.stem: path for path in sorted(folder.glob(pattern))}


def find(name_or_path: Path | str) -> Path:
    """The file of a shipped model's name, the net of a run's folder, or the path itself if there is such a file."""
    known = shipped()
    if str(name_or_path) in known:
        return known[str(name_or_path)]
    path = Path(name_or_path)
    try:
        if path.is_file():
            return path
        there = path.exists()
    except OSError as error:  # a name that is too long, a folder that may not be looked into
        raise BadCheckpoint(f"the model {short_repr(str(path))} cannot be read: {error.strerror}") from error
    if path.is_dir():
        return net_of_run(path)
    if there:  # reading a pipe would wait for whoever writes into it
        raise BadCheckpoint(f"{path} is a pipe or device; a .safetensors file is needed")
    from leadline.nn import zoo

    if str(name_or_path) in zoo.names(None):
        raise BadCheckpoint(f"no weights ship for {name_or_path}; `leadline train --model {name_or_path}` makes some")
    raise BadCheckpoint(
        f"there is no model {str(name_or_path)!r}: neither a file nor a net that ships; "
        f"{nearest(str(name_or_path), [*known, *zoo.names(None)])}"
    )


def is_run(folder: Path | str) -> bool:
    """Whether `leadline train`, `distill` or `prune` has written into this folder."""
    return any((Path(folder) / name).is_file() for name in _RUN_FILES)


def net_of_run(folder: Path) -> Path:
    """The checkpoint of the run in `folder`: its final net, or of a run that is not over its last one.

    BadCheckpoint if the folder is no run, or holds no net or several.
    """
    if not is_run(folder):
        raise BadCheckpoint(
            f"{folder} is a folder, and no run of leadline (it has no {' or '.join(_RUN_FILES)}); give such a run's "
            "folder or a .safetensors file"
        )
    pruned = folder.absolute().with_name(f"{folder.absolute().name}.safetensors")
    if (folder / "plan.json").is_file():  # `prune` writes its net beside the folder
        if pruned.is_file():
            return pruned
        raise BadCheckpoint(f"{folder} is a pruning that is not finished, there is no {pruned.name}; --resume goes on")
    nets = [path for path in sorted(folder.glob("*.safetensors")) if path.name not in (_LAST, "state.safetensors")]
    if len(nets) > 1:
        names = ", ".join(path.name for path in nets)
        raise BadCheckpoint(f"{folder} holds {len(nets)} nets: {names}; give one of these files")
    if not nets and not (folder / _LAST).is_file():
        raise BadCheckpoint(f"{folder} is a run that has not saved a net yet; wait for it, or go on with --resume")
    return nets[0] if nets else folder / _LAST


def read_provenance(name_or_path: Path | str) -> dict[str, Any]:
    """What the file says of its origin: data, licences (a list of texts, if it says any), command, commit, metrics."""
    path = find(name_or_path)
    found: Any = parsed(path, {"provenance": "{}", **read_metadata(path)}, "provenance")
    if not isinstance(found, dict):
        raise BadCheckpoint(f"{path} says {short_repr(found)} of its origin; a JSON object is needed")
    terms = found.get("licences", [])
    if not isinstance(terms, list) or not all(isinstance(line, str) for line in terms):
        raise BadCheckpoint(f"{path} names the licences {short_repr(terms)}; a list of texts is needed")
    return found


def origin(name_or_path: Path | str) -> dict[str, Any]:
    """The file's name, SHA-256 and licences: what those say of it that are made with its help."""
    path = find(name_or_path)
    terms = list(read_provenance(path).get("licences", ()))
    return {"file": path.name, "sha256": sha256(path.read_bytes()).hexdigest(), "licences": terms}


def read_spec(name_or_path: Path | str) -> Spec:
    """The Spec of the net in a checkpoint, of which nothing else is read."""
    path = find(name_or_path)
    try:
        return from_json(Spec, parsed(path, read_metadata(path), "spec"))
    except (ValueError, KeyError, TypeError) as error:
        raise BadCheckpoint(f"{path} does not describe a net that this version can build: {reason(error)}") from error


def read_metadata(path: Path) -> dict[str, str]:
    """The texts in a checkpoint's header; BadCheckpoint if the file is none of leadline's."""
    check_start(path)
    from safetensors import safe_open

    try:
        with safe_open(str(path), framework="np") as file:
            metadata = file.metadata() or {}
    except Exception as error:  # mostly SafetensorError
        raise unreadable(path, error) from error
    check_format(path, metadata)
    return metadata


def check_start(path: Path) -> None:
    """BadCheckpoint if the file cannot be read, or begins as no safetensors file does."""
    try:
        with path.open("rb") as file:
            start = file.read(16)
    except OSError as error:
        raise BadCheckpoint(f"{path} cannot be read: {error.strerror}") from error
    if not start:
        raise BadCheckpoint(f"{path} is empty")
    # a safetensors file is eight bytes of length and then JSON
    if start[8:9] != b"{" and (start[:2] == b"PK" or start[:1] == b"\x80"):
        raise BadCheckpoint(
            f"{path} is a pickle (torch.save), which could run code; for the authors' FastDepth files use "
            "`leadline import`, otherwise save the weights as safetensors"
        )


def unreadable(path: Path, error: Exception) -> BadCheckpoint:
    """What safetensors' own `error` means for the file."""
    if path.suffix != ".safetensors":
        return BadCheckpoint(f"{path} is no checkpoint: a .safetensors file is needed, or a shipped name")
    return BadCheckpoint(f"{path} is not a whole safetensors file: {reason(error)}")


def check_format(path: Path, metadata: Mapping[str, str]) -> None:
    """BadCheckpoint if another program has written the file."""
    if metadata.get("format") != FORMAT:
        said = short_repr(metadata.get("format"))
        raise BadCheckpoint(f"{path} is a safetensors file of another program (format {said}, not {FORMAT!r})")


def parsed(path: Path, metadata: Mapping[str, str], key: str) -> Any:
    """The JSON in an entry of a file's metadata."""
    if key not in metadata:
        raise BadCheckpoint(f"{path} lacks its {key}; it is damaged, or another program has written it")
    try:
        return json.loads(metadata[key])
    except (ValueError, RecursionError) as error:
        raise BadCheckpoint(f"{path} is damaged, its {key} cannot be read: {reason(error)}") from error
