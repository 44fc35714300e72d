"""Spec: what a net is. Frozen dataclasses without behaviour, and a strict round trip to JSON."""

from __future__ import annotations

import dataclasses
import types
import typing
from dataclasses import dataclass
from typing import Any, Literal

T = typing.TypeVar("T")
Kind = Literal["metric", "relative_depth", "relative_disparity"]


@dataclass(frozen=True)
class Preprocess:
    """How a camera frame becomes the net's input.

    The frame's centre part `view` (fractions of height and width; the published FastDepth looks at 228/250 of it) is
    stretched to `size` with `resize`, and divided by 255. The net itself then computes (x - mean) / std, so that
    every exported file does so too. `corners` is bilinear between the four nearest pixels, the corner pixels of both
    images at the same place (torch's align_corners), as LiteDepth's export does; `bilinear` averages when it shrinks.
    `back` brings the output to the frame's size; None: as `resize`.
    """

    size: tuple[int, int] = (224, 224)
    resize: Literal["bilinear", "nearest", "corners"] = "bilinear"
    back: Literal["bilinear", "nearest", "corners"] | None = None
    view: tuple[float, float] = (1.0, 1.0)
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Encoder:
    """A feature extractor: its family and the widths (channels) of its blocks, in order."""

    name: str
    widths: tuple[int, ...]


@dataclass(frozen=True)
class Decoder:
    """The part that goes from the coarsest features back to full resolution.

    `skip` is how encoder features join: added (both need the same width), concatenated, or not at all.
    """

    name: str
    widths: tuple[int, ...]
    skip: Literal["add", "cat", "none"] = "add"
    depthwise: bool = True
    kernel: int = 5


@dataclass(frozen=True)
class Head:
    """The last layer, and what it means.

    `layer` is `norm`: 1x1 convolution, batch norm, ReLU (FastDepth); `conv`: a `kernel` x `kernel` convolution with
    bias, then ReLU if `relu`; `disparity`: the decoder gives disparities as fractions of the image's width (monodepth),
    and depth is `metres` over them. `metres` is the camera's focal length as a fraction of its image's width times the
    baseline in metres; 0: unknown, the output is relative disparity.
    `batch_statistics`: whether the batch norm uses the batch's mean and variance in training, as published (then the
    mean of every training batch's depth is one constant), or fixed ones. `resize` brings the map to the image's size.
    """

    kind: Kind = "metric"
    unit: str = "m"
    batch_statistics: bool = True
    layer: Literal["norm", "conv", "disparity"] = "norm"
    kernel: int = 1
    relu: bool = True
    resize: Literal["nearest", "corners"] = "nearest"
    metres: float = 0.0


@dataclass(frozen=True)
class Spec:
    """A net, described completely: `build(spec)` makes it, `to_json` and `from_json` store it.

    `skipped` names blocks replaced by identity, `gates` layers with a dynamic gate (both by compression steps).
    `provenance` has one line for each thing that happened to the net.
    """

    name: str
    encoder: Encoder
    decoder: Decoder
    head: Head = Head()
    preprocess: Preprocess = Preprocess()
    skipped: tuple[str, ...] = ()
    gates: tuple[str, ...] = ()
    provenance: tuple[str, ...] = ()


def to_json(value: Any) -> dict[str, Any]:
    """A dataclass as plain JSON values (dicts, lists, strings, numbers)."""
    return typing.cast("dict[str, Any]", _plain(value))


def from_json(cls: type[T], value: Any) -> T:
    """The dataclass `cls` from what `to_json` gave; an unknown key, a missing one or a wrong type is a ValueError."""
    return typing.cast(T, _parse(cls, value, cls.__name__))


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value


def _parse(kind: Any, value: Any, where: str) -> Any:
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        return _parse_dataclass(typing.cast(type, kind), value, where)
    if origin is Literal:
        if value not in args:
            raise ValueError(f"{where} is {value!r}; allowed: {', '.join(map(repr, args))}")
        return value
    if origin in (typing.Union, types.UnionType):
        return None if value is None else _parse(next(a for a in args if a is not type(None)), value, where)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ValueError(f"{where} is {value!r}; a list is needed")
        kinds = [args[0]] * len(value) if args[-1] is Ellipsis else list(args)
        if len(kinds) != len(value):
            raise ValueError(f"{where} has {len(value)} values; {len(kinds)} are needed")
        return tuple(_parse(k, v, f"{where}[{i}]") for i, (k, v) in enumerate(zip(kinds, value, strict=True)))
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ValueError(f"{where} is {value!r}; {kind.__name__} is needed")
    return value


def _parse_dataclass(cls: type, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f"{where} is {value!r}; an object is needed")
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}
    unknown = sorted(set(value) - set(fields))
    if unknown:
        raise ValueError(f"{where} has the unknown key {unknown[0]!r}; allowed: {', '.join(fields)}")
    required = [
        n for n, f in fields.items() if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    missing = [name for name in required if name not in value]
    if missing:
        raise ValueError(f"{where} lacks the key {missing[0]!r}")
    return cls(**{name: _parse(hints[name], item, f"{where}.{name}") for name, item in value.items()})
