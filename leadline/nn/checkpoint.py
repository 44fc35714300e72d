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
from safetensors import safe_open
from safetensors.torch import save as to_bytes

from leadline.core.errors import BadCheckpoint, LeadlineError
from leadline.core.spec import Spec, from_json, to_json
from leadline.core.storage import write_atomically as write_atomically
from leadline.core.text import reason, short_repr
from leadline.nn import zoo
from leadline.nn.build import Net, fill_, outline
from leadline.nn.resize import check_kernels, resize_
from leadline.nn.wrap import around_copy, class_of

FORMAT = "leadline-1"
_FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


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
        stored = tensor.detach().cpu().contiguous()
        stored = stored.to(dtype if stored.is_floating_point() else torch.float32)  # float16 would round an index
        if not torch.isfinite(stored).all():
            raise ValueError(f"the tensor {name!r} holds values that {dtype} cannot store")
        tensors[name] = stored
    metadata = {
        "format": FORMAT,
        "spec": json.dumps(to_json(net.spec)),
        "provenance": json.dumps(dict(provenance or {})),
    }
    return write_atomically(Path(path), to_bytes(tensors, metadata))


def load(name_or_path: Path | str, *, module: torch.nn.Module | None = None) -> Net:
    """The net, float32 and in eval mode, from a file, or by the name of one that ships with leadline.

    The file of a wrapped module (see `leadline.wrap`) holds no code: `module`, an object of that class, is copied and
    takes its weights; pruned widths follow. Without it that is a BadCheckpoint; with another file it is a ValueError.

    A file that is missing, cut short, from another program or a pickle is a BadCheckpoint; nothing in it is ever run.
    """
    path = find(name_or_path)
    metadata, tensors = _read(path)
    tensors = {name: tensor.float() for name, tensor in tensors.items()}
    wild = [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    if wild:
        raise BadCheckpoint(
            f"{path} holds values that are not finite, first in {short_repr(wild[0])}: the training went wrong"
        )
    try:
        net = _empty(path, from_json(Spec, _parsed(path, metadata, "spec")), module).eval()
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        check_kernels(net, shapes)
        resize_(net, shapes)
        fill_(net, tensors)
        with torch.no_grad():  # shapes that contradict each other show in a pass
            seen = net(torch.zeros(1, 3, *((32, 32) if module is None else net.spec.preprocess.size)))
    except LeadlineError:
        raise
    except Exception as error:  # shapes and numbers that nobody has thought of make torch raise nearly anything
        raise BadCheckpoint(f"{path} does not describe a net that this version can build: {reason(error)}") from error
    if not torch.isfinite(seen).all():
        raise BadCheckpoint(f"{path} gives no number for a black picture: its weights are damaged, or the training was")
    return net


def _empty(path: Path, spec: Spec, module: torch.nn.Module | None) -> Net:
    """The net that takes the weights of a file with that Spec."""
    own = class_of(spec)
    if module is not None:
        if own is None:
            raise BadCheckpoint(f"{path} holds a net of leadline's own ({spec.encoder.name}); load it without module")
        return around_copy(module, spec).cpu()
    if own is not None:
        raise BadCheckpoint(
            f"{path} holds the weights of a module of yours, {short_repr(own)}, and no code: open it in Python with "
            f"leadline.load(file, module={own}()), and export it for the command line (leadline.export)"
        )
    return outline(spec)


def read_provenance(name_or_path: Path | str) -> dict[str, Any]:
    """What the file says of its origin: data, licences (a list of texts, if it says any), command, commit, metrics."""
    path = find(name_or_path)
    metadata, _ = _read(path, tensors=False)
    found: Any = _parsed(path, {"provenance": "{}", **metadata}, "provenance")
    if not isinstance(found, dict):
        raise BadCheckpoint(f"{path} says {short_repr(found)} of its origin; a JSON object is needed")
    terms = found.get("licences", [])
    if not isinstance(terms, list) or not all(isinstance(line, str) for line in terms):
        raise BadCheckpoint(f"{path} names the licences {short_repr(terms)}; a list of texts is needed")
    return found


def stored_as(name_or_path: Path | str) -> torch.dtype:
    """In which floating point numbers the file keeps its tensors; of several kinds, the widest."""
    with safe_open(str(find(name_or_path)), framework="pt") as file:
        found = {_STORED.get(file.get_slice(name).get_dtype(), torch.float32) for name in file.keys()}  # noqa: SIM118
    return found.pop() if len(found) == 1 else torch.float32


_STORED = {"F16": torch.float16, "BF16": torch.bfloat16}


def save_like(source: Path | str, net: Net, path: Path | str, *, provenance: Mapping[str, Any] | None = None) -> str:
    """Write `net` in the numbers that the checkpoint `source` is stored in, as `save` does, and say in which. What half
    precision cannot hold is stored in float32.
    """
    dtype = stored_as(source)
    try:
        save(net, path, provenance=provenance, dtype=dtype)
    except ValueError:
        dtype = torch.float32
        save(net, path, provenance=provenance)
    return str(dtype).removeprefix("torch.")


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
    if str(name_or_path) in zoo.names():
        raise BadCheckpoint(f"no weights ship for {name_or_path}; `leadline train --model {name_or_path}` makes some")
    raise BadCheckpoint(
        f"there is no model {str(name_or_path)!r}: neither a file nor one of {', '.join(known) or 'none'}"
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


_RUN_FILES = ("run.json", "report.json", "plan.json")
_LAST = "last.safetensors"


def _read(path: Path, tensors: bool = True) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
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
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            found = {name: file.get_tensor(name) for name in file.keys()} if tensors else {}  # noqa: SIM118
    except Exception as error:  # mostly SafetensorError, and what torch says of types that it does not have
        if path.suffix != ".safetensors":
            raise BadCheckpoint(f"{path} is no checkpoint: a .safetensors file is needed, or a shipped name") from error
        raise BadCheckpoint(f"{path} is not a whole safetensors file: {reason(error)}") from error
    if metadata.get("format") != FORMAT:
        said = short_repr(metadata.get("format"))
        raise BadCheckpoint(f"{path} is a safetensors file of another program (format {said}, not {FORMAT!r})")
    odd = [name for name, tensor in found.items() if tensor.dtype not in _FLOATS]
    if odd:
        raise BadCheckpoint(
            f"{path} holds {found[odd[0]].dtype} in {short_repr(odd[0])}; floating-point numbers are needed"
        )
    return metadata, found


def _parsed(path: Path, metadata: Mapping[str, str], key: str) -> Any:
    """The JSON in an entry of a file's metadata."""
    if key not in metadata:
        raise BadCheckpoint(f"{path} lacks its {key}; it is damaged, or another program has written it")
    try:
        return json.loads(metadata[key])
    except (ValueError, RecursionError) as error:
        raise BadCheckpoint(f"{path} is damaged, its {key} cannot be read: {reason(error)}") from error
