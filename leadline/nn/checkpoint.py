"""Save and load a net as one safetensors file: tensors, and the Spec and provenance as JSON in its metadata.

The shapes in the file's header are the architecture: a pruned net loads through the Spec of its parent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from leadline.core.errors import BadCheckpoint, LeadlineError
from leadline.core.spec import Spec, from_json, to_json
from leadline.core.storage import write_atomically as write_atomically
from leadline.core.text import reason, short_repr
from leadline.nn.build import Net, fill_, outline
from leadline.nn.files import FORMAT as FORMAT
from leadline.nn.files import check_format, check_start, parsed, unreadable
from leadline.nn.files import find as find
from leadline.nn.files import is_run as is_run
from leadline.nn.files import net_of_run as net_of_run
from leadline.nn.files import origin as origin
from leadline.nn.files import read_provenance as read_provenance
from leadline.nn.files import shipped as shipped
from leadline.nn.resize import check_kernels, resize_
from leadline.nn.wrap import around_copy, class_of

_BESIDE = "beside."
_FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


def save(
    net: Net,
    path: Path | str,
    *,
    provenance: Mapping[str, Any] | None = None,
    dtype: torch.dtype = torch.float32,
    beside: Mapping[str, Tensor] | None = None,
) -> Path:
    """Write `net` to `path`, atomically: a crash leaves the old file or the new one.

    `provenance` is any JSON: data, licences, command, commit, metrics. With `dtype=torch.float16` the file is half as
    large and the loaded net differs by rounding; a value that half precision cannot hold is a ValueError. `beside` are
    tensors that `load` passes over and `read_beside` gives.
    """
    tensors = {}
    others = {f"{_BESIDE}{name}": tensor for name, tensor in (beside or {}).items()}
    for name, tensor in {**net.state_dict(), **others}.items():
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
    tensors = {name: tensor.float() for name, tensor in tensors.items() if not name.startswith(_BESIDE)}
    wild = [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    if wild:
        raise BadCheckpoint(
            f"{path} holds values that are not finite, first in {short_repr(wild[0])}: the training went wrong"
        )
    try:
        net = _empty(path, from_json(Spec, parsed(path, metadata, "spec")), module).eval()
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


def read_beside(name_or_path: Path | str) -> dict[str, Tensor]:
    """The tensors, float32, that `save` was given as `beside`; empty for most files."""
    tensors = _read(find(name_or_path))[1]
    return {name.removeprefix(_BESIDE): x.float() for name, x in tensors.items() if name.startswith(_BESIDE)}


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


def stored_as(name_or_path: Path | str) -> torch.dtype:
    """In which floating point numbers the file keeps its tensors; of several kinds, the widest."""
    with safe_open(str(find(name_or_path)), framework="pt") as file:
        found = {_STORED.get(file.get_slice(name).get_dtype(), torch.float32) for name in file.keys()}  # noqa: SIM118
    return found.pop() if len(found) == 1 else torch.float32


_STORED = {"F16": torch.float16, "BF16": torch.bfloat16}


def save_like(
    source: Path | str,
    net: Net,
    path: Path | str,
    *,
    provenance: Mapping[str, Any] | None = None,
    beside: Mapping[str, Tensor] | None = None,
) -> str:
    """Write `net` in the numbers that the checkpoint `source` is stored in, as `save` does, and say in which. What half
    precision cannot hold is stored in float32.
    """
    dtype = stored_as(source)
    try:
        save(net, path, provenance=provenance, dtype=dtype, beside=beside)
    except ValueError:
        dtype = torch.float32
        save(net, path, provenance=provenance, beside=beside)
    return str(dtype).removeprefix("torch.")


def _read(path: Path) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
    check_start(path)
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except Exception as error:  # mostly SafetensorError, and what torch says of types that it does not have
        raise unreadable(path, error) from error
    check_format(path, metadata)
    odd = [name for name, tensor in found.items() if tensor.dtype not in _FLOATS]
    if odd:
        raise BadCheckpoint(
            f"{path} holds {found[odd[0]].dtype} in {short_repr(odd[0])}; floating-point numbers are needed"
        )
    return metadata, found
