"""wrap(module) -> Net: any `nn.Module` that takes an image and gives a map, made usable like a net of the zoo."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from leadline.core.spec import Decoder, Encoder, Head, Kind, Preprocess, Spec
from leadline.core.text import reason
from leadline.nn.build import Net
from leadline.nn.gates import gate_
from leadline.nn.modes import evaluating
from leadline.nn.skip import leave_out_

_MARK = "module:"
"""So begins the encoder's name in the Spec of a wrapped module; the class's name follows."""


class Wrapped(Net):
    """A Net around `module`, which takes (image - mean) / std float32 [B,3,H,W] and gives [B,1,h,w] or [B,h,w].

    A smaller map is enlarged bilinearly, corner pixels on corner pixels. `module` is held, not copied.
    """

    def __init__(self, module: nn.Module, spec: Spec) -> None:
        nn.Module.__init__(self)
        self.spec = spec
        self.module = module
        first = next(module.parameters(), torch.empty(0))
        for name in ("mean", "std"):
            values = torch.tensor(getattr(spec.preprocess, name), device=first.device)
            self.register_buffer(name, values.view(1, 3, 1, 1), persistent=False)

    def forward(self, image: Tensor, raw: bool = False) -> Any:
        """As `Net.forward`; the raw map is the module's own."""
        out: Tensor = self.module((image - self.mean) / self.std)
        out = out.unsqueeze(1) if out.ndim == 3 else out
        return [out] if raw else self.enlarged(out, (image.shape[-2], image.shape[-1]))


def wrap(
    module: nn.Module,
    *,
    size: tuple[int, int] = (224, 224),
    kind: Kind = "metric",
    mean: Sequence[float] = (0.0, 0.0, 0.0),
    std: Sequence[float] = (1.0, 1.0, 1.0),
    name: str | None = None,
) -> Net:
    """`module` as a Net: it can be trained, pruned, saved, exported and validated like a net of the zoo.

    `size` is the (height, width) that images are brought to. `kind` says what the map means: `metric` is metres,
    `relative_depth` is larger where it is farther, `relative_disparity` where it is nearer. `mean` and `std` are what
    the module expects of RGB in 0..1: (0.485, 0.456, 0.406) and (0.229, 0.224, 0.225) for most nets of ImageNet.
    `name` is part of file names; None: the class's name.

    The module runs once, on two grey images. What it cannot do is a ValueError: it must give one float32 map
    [B,1,h,w] or [B,h,w] of finite numbers, of the images' size or of an n-th of it.
    A saved file holds weights and no code: `leadline.load(file, module=...)` opens it.
    """
    if isinstance(module, Net):
        raise ValueError(f"{module.spec.name} is a Net already; use it without wrap")
    if not isinstance(module, nn.Module):
        what = module.__name__ if isinstance(module, type) else type(module).__name__
        raise ValueError(
            f"wrap takes an object of a torch.nn.Module, not {what}; create the module first, as in Name()"
        )
    label = type(module).__name__
    if len(mean) != 3 or len(std) != 3:
        raise ValueError(f"mean is {tuple(mean)} and std {tuple(std)}; three numbers each, for R, G and B, are needed")
    how = Preprocess(
        size=(int(size[0]), int(size[1])),
        mean=(float(mean[0]), float(mean[1]), float(mean[2])),
        std=(float(std[0]), float(std[1]), float(std[2])),
    )
    head = Head(kind, "m" if kind == "metric" else kind, layer="conv", resize="corners")
    spec = Spec(name or label.lower(), Encoder(f"{_MARK}{label}", ()), Decoder("module", ()), head, how)
    _check_tensors(module, label)
    net = Wrapped(module, spec)
    _check_map(net, label)
    return net


def module_of(net: nn.Module) -> nn.Module | None:
    """The module inside a wrapped net, which `checkpoint.load` needs to open its files; None for other nets."""
    return net.module if isinstance(net, Wrapped) else None


def class_of(spec: Spec) -> str | None:
    """The class's name of the module that such a Spec was made for; None if it is a net of the zoo."""
    name = spec.encoder.name
    return name.removeprefix(_MARK) if name.startswith(_MARK) else None


def around_copy(module: nn.Module, spec: Spec) -> Wrapped:
    """A wrapped copy of `module` without the blocks that `spec` leaves out, and with its gates: whoever changes its
    tensors leaves the caller's alone.
    """
    net = Wrapped(copy.deepcopy(module), spec)
    leave_out_(net, spec.skipped)
    gate_(net, spec.gates)
    return net


def _check_tensors(module: nn.Module, label: str) -> None:
    places: dict[int, str] = {}
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point() and tensor.dtype != torch.float32:
            raise ValueError(f"{label} holds {tensor.dtype} in {name!r}; float32 is needed: call module.float() first")
        if tensor.numel() and (other := places.setdefault(tensor.data_ptr(), name)) != name:
            raise ValueError(
                f"{label} has the same tensor in {other!r} and {name!r}; a checkpoint cannot store that: use the layer "
                "under one name, or copy it"
            )


def _check_map(net: Wrapped, label: str) -> None:
    """A ValueError unless the module turns two images of its size into two maps."""
    height, width = net.spec.preprocess.size
    image = torch.full((2, 3, height, width), 0.5, device=net.mean.device)
    try:
        with evaluating(net), torch.no_grad():
            out = net.module((image - net.mean) / net.std)
    except Exception as error:  # any layer may refuse, each in its own way
        raise ValueError(
            f"{label} fails on images [2,3,{height},{width}]: {reason(error, 200)}; give the size that it takes: "
            "size=(height, width)"
        ) from error
    _check_output(out, label, (height, width))


def _check_output(out: Any, label: str, size: tuple[int, int]) -> None:
    needed = "one map [B,1,h,w] or [B,h,w] is needed"
    if isinstance(out, tuple | list | dict):
        keys = f" ({', '.join(map(str, out))})" if isinstance(out, dict) else ""
        n = f"{len(out)} output{'s' if len(out) != 1 else ''}"
        raise ValueError(
            f"{label} gives a {type(out).__name__} of {n}{keys}; {needed}: wrap a module whose forward returns it alone"
        )
    if not isinstance(out, Tensor):
        raise ValueError(f"{label} gives {type(out).__name__}, not a tensor; {needed}")
    if out.dtype != torch.float32:
        raise ValueError(f"{label} gives {out.dtype}; float32 is needed: call module.float(), or .float() on the map")
    shape = list(out.shape)
    if out.ndim not in (3, 4) or shape[0] != 2 or (out.ndim == 4 and shape[1] != 1) or 0 in shape:
        raise ValueError(f"{label} gives the shape {shape} for images [2,3,{size[0]},{size[1]}]; {needed}")
    if not _is_part(size, (shape[-2], shape[-1])):
        raise ValueError(
            f"{label} gives a map of {shape[-2]}x{shape[-1]} for images of {size[0]}x{size[1]}; a map of that size, or "
            "of an n-th of it, is needed: a map that is cropped would be stretched"
        )
    if not torch.isfinite(out).all():
        wild = int((~torch.isfinite(out)).sum())
        raise ValueError(f"{label} gives {wild} values for grey images that are not finite (NaN or infinite)")


def _is_part(size: tuple[int, int], map_size: tuple[int, int]) -> bool:
    """Whether the map has an n-th of the image's rows and columns, rounded up or down."""
    n = max(1, round(size[0] / map_size[0]))
    return all(found in (whole // n, -(-whole // n)) for whole, found in zip(size, map_size, strict=True))
