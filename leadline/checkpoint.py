"""Save and load a net as one safetensors file: tensors, and the Spec and provenance as JSON in its metadata.

The shapes in the file's header are the architecture: a pruned net loads through the Spec of its parent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes

from leadline.drafts import write_atomically as write_atomically
from leadline.errors import BadCheckpoint
from leadline.nn import zoo
from leadline.nn.build import Net, build
from leadline.nn.shapes import resize_
from leadline.spec import Spec, from_json, to_json

FORMAT = "leadline-1"


def save(
    net: Net, path: Path | str, *, provenance: Mapping[str, Any] | None = None, dtype: torch.dtype = torch.float32
) -> Path:
    """Write `net` to `path`, atomically: a crash leaves the old file or the new one.

    `provenance` is any JSON: data, licences, command, commit, metrics. With `dtype=torch.float16` the file is half as
    large and the loaded net differs by rounding; a value that half precision cannot hold is a ValueError.
    """
    tensors = {}
    for name, tensor in net.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        stored = tensor.detach().cpu().contiguous().to(dtype)
        if not torch.isfinite(stored).all():
            raise ValueError(f"the tensor {name!r} holds values that {dtype} cannot store")
        tensors[name] = stored
    metadata = {
        "format": FORMAT,
        "spec": json.dumps(to_json(net.spec)),
        "provenance": json.dumps(dict(provenance or {})),
    }
    return write_atomically(Path(path), to_bytes(tensors, metadata))


def load(name_or_path: Path | str) -> Net:
    """The net, float32 and in eval mode, from a file, or by the name of one that ships with leadline.

    A file that is missing, cut short, from another program or a pickle is a BadCheckpoint; nothing in it is ever run.
    """
    path = find(name_or_path)
    metadata, tensors = _read(path)
    try:
        spec = from_json(Spec, json.loads(metadata["spec"]))
        net = build(spec, seed=0)
        resize_(net, {name: tuple(tensor.shape) for name, tensor in tensors.items()})
        with torch.no_grad():  # shapes that contradict each other show in a pass, faster than on the meta device
            net.eval()(torch.zeros(1, 3, 32, 32))
    except (ValueError, KeyError, RuntimeError) as error:
        raise BadCheckpoint(f"{path} does not describe a net that this version can build: {error}") from error
    wild = [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    if wild:
        raise BadCheckpoint(f"{path} holds values that are not finite, first in {wild[0]!r}: the training went wrong")
    net.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, strict=False)
    return net


def read_provenance(name_or_path: Path | str) -> dict[str, Any]:
    """What the file says of its origin: data, licences, command, commit, metrics."""
    metadata, _ = _read(find(name_or_path), tensors=False)
    found: dict[str, Any] = json.loads(metadata.get("provenance", "{}"))
    return found


def origin(name_or_path: Path | str) -> dict[str, Any]:
    """The file's name, SHA-256 and licences: what those say of it that are made with its help."""
    path = find(name_or_path)
    terms = list(read_provenance(path).get("licences", ()))
    return {"file": path.name, "sha256": sha256(path.read_bytes()).hexdigest(), "licences": terms}


def shipped() -> dict[str, Path]:
    """The models that come with leadline, by name."""
    folder = Path(str(resources.files("leadline"))) / "weights"
    return {path.stem: path for path in sorted(folder.glob("*.safetensors"))}


def find(name_or_path: Path | str) -> Path:
    """The file of a shipped model's name, or the path itself if there is such a file."""
    known = shipped()
    if str(name_or_path) in known:
        return known[str(name_or_path)]
    path = Path(name_or_path)
    if path.is_dir():
        raise BadCheckpoint(f"{path} is a folder; a .safetensors file is needed")
    if not path.exists() and str(name_or_path) in zoo.names():
        raise BadCheckpoint(f"no weights ship for {name_or_path}; `leadline train --model {name_or_path}` makes some")
    if not path.exists():
        raise BadCheckpoint(
            f"there is no model {str(name_or_path)!r}: neither a file nor one of {', '.join(known) or 'none'}"
        )
    return path


def _read(path: Path, tensors: bool = True) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
    with path.open("rb") as file:
        start = file.read(16)
    if not start:
        raise BadCheckpoint(f"{path} is empty")
    # a safetensors file is eight bytes of length and then JSON
    if start[8:9] != b"{" and (start[:2] == b"PK" or start[:1] == b"\x80"):
        raise BadCheckpoint(
            f"{path} is a pickle (torch.save), which could run code; for the authors' FastDepth files use "
            "`leadline import`, otherwise save the weights as safetensors"
        )
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            found = {name: file.get_tensor(name) for name in file.keys()} if tensors else {}  # noqa: SIM118
    except SafetensorError as error:
        if path.suffix != ".safetensors":
            raise BadCheckpoint(f"{path} is no checkpoint: a .safetensors file is needed, or a shipped name") from error
        raise BadCheckpoint(f"{path} is not a whole safetensors file: {error}") from error
    if metadata.get("format") != FORMAT:
        raise BadCheckpoint(
            f"{path} is a safetensors file of another program (format {metadata.get('format')!r}, not {FORMAT!r})"
        )
    return metadata, found
