"""Read the checkpoints of other programs without running anything that is in them."""

from __future__ import annotations

import io
import pickle
import re
import types
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from leadline.errors import BadCheckpoint
from leadline.nn.build import Net, build
from leadline.spec import Decoder, Encoder, Head, Preprocess, Spec

# The authors' evaluation view: height to 250, the middle 228x304, stretched to 224x224, nearest-neighbour, RGB / 255.
_AUTHORS_VIEW = Preprocess(size=(224, 224), resize="nearest", view=(228 / 250, 304 / 333))


def import_fastdepth(path: Path | str) -> Net:
    """The authors' FastDepth from their `.pth.tar`, in eval mode: un-pruned or pruned, skip-add.

    Such a file is a pickle of a whole model. It is read with an unpickler that can build tensors, numbers and
    containers and nothing else: every other class in it becomes an inert record. Also read: a dict with `state_dict`.
    """
    try:
        tensors = _tensors(_unpickle(Path(path)))
    except (AttributeError, TypeError, RecursionError) as error:  # a record that is no module
        raise BadCheckpoint(f"{path} does not hold a torch module: {error}") from error
    renamed = {name: tensor for key, tensor in tensors.items() if (name := _rename(key)) is not None}
    left = sorted(key for key in tensors if _rename(key) is None and not key.endswith("num_batches_tracked"))
    if left or len(renamed) == 0:
        raise BadCheckpoint(f"{path} is not FastDepth's skip-add net: {left[0] if left else 'no tensors'} is not known")
    try:
        widths = tuple(len(renamed[f"encoder.blocks.{i}.{3 if i else 0}.weight"]) for i in range(14))
        decoder = tuple(len(renamed[f"decoder.blocks.{i}.3.weight"]) for i in range(5))
        spec = Spec(
            "fastdepth", Encoder("mobilenet_v1", widths), Decoder("nnconv5", decoder), Head(), _AUTHORS_VIEW,
            provenance=("imported from the authors' checkpoint",),
        )  # fmt: skip
        net = build(spec, seed=0)
        state = {k: v for k, v in net.state_dict().items() if k.endswith("num_batches_tracked")}
        net.load_state_dict(state | renamed)
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        raise BadCheckpoint(f"{path} is not FastDepth's skip-add net: {error}") from error
    return net.eval()


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


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _HARMLESS:
            return _HARMLESS[module, name]
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        return type(name, (_Inert,), {"__module__": "inert." + module})


def _load(file: Any, **options: Any) -> Any:
    return _Unpickler(file, **options).load()


_SAFE_PICKLE = types.SimpleNamespace(
    __name__="leadline.foreign", Unpickler=_Unpickler, load=_load, loads=lambda data, **o: _load(io.BytesIO(data), **o)
)


def _unpickle(path: Path) -> Any:
    if not path.is_file():
        raise BadCheckpoint(f"there is no file {path}")
    try:
        if _is_program(path):
            raise BadCheckpoint(f"{path} is a TorchScript program, not a checkpoint; it is not run")
        with warnings.catch_warnings():  # torch compares the stored source of each class with today's
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=False, pickle_module=_SAFE_PICKLE)
    except BadCheckpoint:
        raise
    except Exception as error:  # a damaged pickle can raise anything
        raise BadCheckpoint(f"{path} cannot be read as a torch checkpoint: {type(error).__name__}: {error}") from error


def _is_program(path: Path) -> bool:
    """Whether torch.load would take this for TorchScript, which it hands to another, unrestricted loader."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("constants.pkl") for name in archive.namelist())
