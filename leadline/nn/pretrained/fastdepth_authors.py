"""Read the checkpoints of other programs without running anything that is in them."""

from __future__ import annotations

import io
import pickle
import re
import types
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from leadline.core.errors import BadCheckpoint
from leadline.core.spec import Decoder, Encoder, Head, Preprocess, Spec
from leadline.core.text import short_repr
from leadline.nn.build import Net, fill_, outline

# The authors' evaluation view: height to 250, the middle 228x304, stretched to 224x224, nearest-neighbour, RGB / 255.
_AUTHORS_VIEW = Preprocess(size=(224, 224), resize="nearest", view=(228 / 250, 304 / 333))


def import_fastdepth(path: Path | str) -> Net:
    """The authors' FastDepth from their `.pth.tar`, in eval mode: un-pruned or pruned, skip-add (`read_fastdepth`)."""
    return read_fastdepth(path)[0]


def read_fastdepth(path: Path | str) -> tuple[Net, torch.dtype]:
    """(the net, float32 and in eval mode, the numbers that the file holds: the widest where they are of several kinds).

    Such a file is a pickle of a whole model. It is read with an unpickler that can build tensors, numbers and
    containers and nothing else: every other class in it becomes an inert record. Also read: a dict with `state_dict`.
    """
    path = Path(path)
    content = _unpickle(path)
    try:
        tensors = _tensors(content)
    except Exception as error:  # a record that is no module can hold anything in any place
        raise BadCheckpoint(f"{path} does not hold a torch module: {_reason(error)}") from error
    renamed = {name: tensor for key, tensor in tensors.items() if (name := _rename(key)) is not None}
    left = sorted(key for key in tensors if _rename(key) is None and not key.endswith("num_batches_tracked"))
    if left or len(renamed) == 0:
        what = short_repr(left[0]) if left else "no tensors"
        raise BadCheckpoint(f"{path} is not FastDepth's skip-add net: {what} is not known")
    _check_values(path, renamed)
    try:
        widths = tuple(len(renamed[f"encoder.blocks.{i}.{3 if i else 0}.weight"]) for i in range(14))
        decoder = tuple(len(renamed[f"decoder.blocks.{i}.3.weight"]) for i in range(5))
        spec = Spec(
            "fastdepth", Encoder("mobilenet_v1", widths), Decoder("nnconv5", decoder), Head(), _AUTHORS_VIEW,
            provenance=("imported from the authors' checkpoint",),
        )  # fmt: skip
        net = outline(spec).eval()
        fill_(net, renamed)
    except Exception as error:  # sizes that contradict each other
        raise BadCheckpoint(f"{path} is not FastDepth's skip-add net: {_reason(error)}") from error
    kinds = {tensor.dtype for tensor in renamed.values()}
    return net, kinds.pop() if kinds in ({torch.float16}, {torch.bfloat16}) else torch.float32


def _check_values(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Refuse tensors that are larger than the file, since a view of one number may have any size, or not finite."""
    claimed = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    if claimed > 4 * path.stat().st_size:
        raise BadCheckpoint(f"{path} claims {claimed} bytes of weights, more than it can hold: it is damaged")
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() or not torch.isfinite(tensor.float()).all():
            raise BadCheckpoint(f"{path} holds values that are no finite numbers, first in {name!r}: it is damaged")


def _reason(error: Exception) -> str:
    """The error's kind and what it says, in one line that is not too long."""
    said = " ".join(f"{type(error).__name__}: {error}".split())
    return said if len(said) <= 300 else f"{said[:297]}..."


def _rename(key: str) -> str | None:
    """Our name of an authors' tensor, or None."""
    key = key.removeprefix("module.")
    if match := re.fullmatch(r"conv(\d+)\.(\d)\.(.+)", key):
        found = f"encoder.blocks.{match[1]}.{match[2]}.{match[3]}"
    elif match := re.fullmatch(r"decode_conv([1-5])\.([01])\.([01])\.(.+)", key):
        found = f"decoder.blocks.{int(match[1]) - 1}.{3 * int(match[2]) + int(match[3])}.{match[4]}"
    elif match := re.fullmatch(r"decode_conv6\.([01])\.(.+)", key):
        found = f"head.{'norm' if match[1] == '1' else 'conv'}.{match[2]}"
    else:
        return None
    return None if key.endswith("num_batches_tracked") else found


def _tensors(content: Any) -> dict[str, Tensor]:
    if isinstance(content, dict):
        content = content.get("model", content.get("state_dict", content))
    if isinstance(content, dict):
        return {str(k): v for k, v in content.items() if isinstance(v, Tensor)}
    return dict(_walk(content, ""))


def _walk(module: Any, prefix: str) -> list[tuple[str, Tensor]]:
    """The tensors of a pickled module, by their dotted names."""
    fields = getattr(module, "__dict__", {})
    own = {**fields.get("_parameters", {}), **fields.get("_buffers", {})}
    found = [(prefix + name, value.detach()) for name, value in own.items() if isinstance(value, Tensor)]
    for name, child in fields.get("_modules", {}).items():
        found += _walk(child, f"{prefix}{name}.")
    return found


class _Inert:
    """Stands for any class of a pickle: keeps its fields, does nothing."""

    def __new__(cls, *_: Any, **__: Any) -> _Inert:
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.__dict__.update(state)


_HARMLESS: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor"): torch._utils._rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
    ("torch.nn.parameter", "Parameter"): torch.nn.Parameter,
    ("torch", "Size"): torch.Size,
    ("torch", "device"): torch.device,
}


class _Unpickler(pickle._Unpickler):
    """Python's own, not the faster one in C: that takes memory for whatever number a damaged file names."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _HARMLESS:
            return _HARMLESS[module, name]
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        return type(name, (_Inert,), {"__module__": "inert." + module})


def _load(file: Any, **options: Any) -> Any:
    return _Unpickler(file, **options).load()


_SAFE_PICKLE = types.SimpleNamespace(
    __name__="leadline.nn.pretrained.fastdepth_authors",
    Unpickler=_Unpickler,
    load=_load,
    loads=lambda data, **o: _load(io.BytesIO(data), **o),
)


def _unpickle(path: Path) -> Any:
    if not path.is_file():
        raise BadCheckpoint(f"there is no file {path}")
    try:
        _check_archive(path)
        with warnings.catch_warnings():  # torch compares the stored source of each class with today's
            warnings.simplefilter("ignore")
            # from memory: a read of more bytes than there are gives what there is, and takes no more
            content = io.BytesIO(path.read_bytes())
            return torch.load(content, map_location="cpu", weights_only=False, pickle_module=_SAFE_PICKLE)
    except BadCheckpoint:
        raise
    except Exception as error:  # a damaged pickle can raise anything
        raise BadCheckpoint(f"{path} cannot be read as a torch checkpoint: {_reason(error)}") from error


def _check_archive(path: Path) -> None:
    """Refuse what torch.load takes for TorchScript, which it hands to another, unrestricted loader, and zip bombs."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    if any(member.filename.endswith("constants.pkl") for member in members):
        raise BadCheckpoint(f"{path} is a TorchScript program, not a checkpoint; it is not run")
    claimed = sum(member.file_size for member in members)
    if claimed > 4 * path.stat().st_size:  # torch.save does not compress
        raise BadCheckpoint(f"{path} would be {claimed} bytes once unpacked, more than a checkpoint of its size holds")
