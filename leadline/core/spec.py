"""Spec: what a net is. Frozen dataclasses without behaviour, and a strict round trip to JSON.

A Spec that says what no net can be is a ValueError where it is made, by code or from a file: its numbers decide how
much memory a net takes and whether its depth means anything.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from leadline.core.allowed import require
from leadline.core.old_keys import with_new_keys
from leadline.core.text import short_repr

T = typing.TypeVar("T")
Kind = Literal["metric", "relative_depth", "relative_disparity", "classes", "labels", "joint"]
"""What a net's numbers are: depth of three kinds, scores for the image or for each pixel, or depth and scores."""

MAX_SIDE, MAX_SEEN = 1 << 14, 1 << 24
"""The longest side, and the most pixels, of a net's input."""
MAX_WIDTH, MAX_BLOCKS = 1 << 14, 1000
"""The most channels of a block, and the most blocks."""
MAX_KERNEL = 63
MAX_NAME = 200


@lru_cache(maxsize=16)
def _choices(cls: Any) -> dict[str, tuple[Any, ...]]:
    """The fields of a class that are one of a few words, and these."""
    hints = typing.get_type_hints(cls)
    kinds = {name: (kind, *typing.get_args(kind)) for name, kind in hints.items()}
    words = {name: [k for k in kind if typing.get_origin(k) is Literal] for name, kind in kinds.items()}
    none = {name: (None,) if type(None) in kinds[name] else () for name in words}
    return {name: (*typing.get_args(kind[0]), *none[name]) for name, kind in words.items() if kind}


def _words(part: Any) -> Iterator[tuple[bool, str]]:
    for name, allowed in _choices(part.__class__).items():
        value = getattr(part, name)
        yield value in allowed, f"{name} is {short_repr(value)}; allowed: {', '.join(map(repr, allowed))}"


def _whole(value: Any, most: int) -> bool:
    return isinstance(value, numbers.Integral) and 1 <= int(value) <= most


def _named(name: str) -> tuple[bool, str]:
    holds = 0 < len(name) <= MAX_NAME and name.isprintable() and name == name.strip()
    return holds, f"name is {short_repr(name)}; 1 to {MAX_NAME} characters that can be printed are needed"


def _wide(widths: tuple[int, ...]) -> tuple[tuple[bool, str], ...]:
    wrong = next((width for width in widths if not _whole(width, MAX_WIDTH)), None)
    return (
        (len(widths) <= MAX_BLOCKS, f"widths are {len(widths)} numbers; at most {MAX_BLOCKS} are allowed"),
        (wrong is None, f"widths hold {short_repr(wrong)}; whole numbers from 1 to {MAX_WIDTH} are needed"),
    )


def _odd(kernel: int) -> tuple[bool, str]:
    holds = _whole(kernel, MAX_KERNEL) and kernel % 2 == 1
    return holds, f"kernel is {short_repr(kernel)}; an odd number from 1 to {MAX_KERNEL} is needed"


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

    def __post_init__(self) -> None:
        sides = len(self.size) == 2 and all(_whole(side, MAX_SIDE) for side in self.size)
        require(
            *_words(self),
            (
                sides and math.prod(self.size) <= MAX_SEEN,
                f"size is {short_repr(self.size)}; "
                f"height and width, 1 to {MAX_SIDE}, are needed, at most {MAX_SEEN} pixels",
            ),
            (
                len(self.view) == 2 and all(0 < part <= 1 for part in self.view),
                f"view is {short_repr(self.view)}; "
                "the seen parts of height and width are needed, above 0 and at most 1",
            ),
            (
                len(self.mean) == 3 and all(abs(value) <= 1000 for value in self.mean),
                f"mean is {short_repr(self.mean)}; three numbers from -1000 to 1000 are needed",
            ),
            (
                len(self.std) == 3 and all(1e-6 <= value <= 1e6 for value in self.std),
                f"std is {short_repr(self.std)}; three numbers from 0.000001 to 1000000 are needed",
            ),
        )


@dataclass(frozen=True)
class Encoder:
    """A feature extractor: its family and the widths (channels) of its blocks, in order."""

    name: str
    widths: tuple[int, ...]

    def __post_init__(self) -> None:
        require(_named(self.name), *_wide(self.widths))


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

    def __post_init__(self) -> None:
        require(_named(self.name), *_wide(self.widths), *_words(self), _odd(self.kernel))


_OF_DEPTH = ("norm", "conv", "disparity")
_OF_CLASSES = {"classes": ("classes",), "labels": ("labels", "enlarge"), "joint": ("joint",)}
"""The layers that a head of each kind may have."""


@dataclass(frozen=True)
class Head:
    """The last layer, and what it means.

    `layer` is `norm`: 1x1 convolution, batch norm, ReLU (FastDepth); `conv`: a `kernel` x `kernel` convolution with
    bias, then ReLU if `relu`; `disparity`: the decoder gives disparities as fractions of the image's width (monodepth),
    and depth is `focal_times_baseline` over them: the camera's focal length as a fraction of its image's width times
    the baseline in metres; 0: unknown, the output is relative disparity.
    `batch_statistics`: whether the batch norm uses the batch's mean and variance in training, as published (then the
    mean of every training batch's depth is one constant), or fixed ones. `resize` brings the map to the image's size.
    `layer` `classes`: the mean over the map and a linear layer, a score for each of `classes`, which are names;
    `labels` and `enlarge`: such scores for each pixel, by a convolution or by a transposed one of `stride`; `joint`:
    depth as by `conv`, and behind it, in channels 1 to K, such scores.
    """

    kind: Kind = "metric"
    unit: str = "m"
    batch_statistics: bool = True
    layer: Literal["norm", "conv", "disparity", "classes", "labels", "enlarge", "joint"] = "norm"
    kernel: int = 1
    relu: bool = True
    resize: Literal["nearest", "corners"] = "nearest"
    focal_times_baseline: float = 0.0
    classes: tuple[str, ...] = ()
    stride: int = 1

    def __post_init__(self) -> None:
        units = ("m", "relative_depth", "relative_disparity", "score")
        names = self.classes
        odd = next((name for name in names if not _named(name)[0]), None)
        require(
            *_words(self),
            _odd(self.kernel),
            (self.unit in units, f"unit is {short_repr(self.unit)}; allowed: {', '.join(units)}"),
            (
                0 <= self.focal_times_baseline <= 1e6,
                f"focal_times_baseline is {self.focal_times_baseline}; 0 (unknown) to 1000000 is needed",
            ),
            (
                (self.kind in _OF_CLASSES) == bool(names) and self.layer in _OF_CLASSES.get(self.kind, _OF_DEPTH),
                f"kind is {self.kind!r}, layer {self.layer!r}, and there are {len(names)} classes; a head of classes "
                "has kind and layer classes, of labels a layer labels or enlarge, of both joint, and all have names",
            ),
            (_whole(self.stride, MAX_KERNEL), f"stride is {self.stride}; 1 to {MAX_KERNEL} is needed"),
            (
                odd is None and len(names) <= MAX_WIDTH and len(set(names)) == len(names),
                f"classes are {short_repr(names)}; different names of 1 to {MAX_NAME} characters are needed, at most "
                f"{MAX_WIDTH}",
            ),
        )


@dataclass(frozen=True)
class Spec:
    """A net, described completely: `build(spec)` makes it, `to_json` and `from_json` store it.

    `skipped` names blocks replaced by identity (`nn.skip`), `gates` convolutions with a dynamic gate (`nn.gates`).
    `provenance` has one line for each thing that happened to the net. `name` is part of file names.
    """

    name: str
    encoder: Encoder
    decoder: Decoder
    head: Head = Head()
    preprocess: Preprocess = Preprocess()
    skipped: tuple[str, ...] = ()
    gates: tuple[str, ...] = ()
    provenance: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        of_file = not set("/\\") & set(self.name) and self.name not in (".", "..")
        require(
            _named(self.name),
            (of_file, f"name is {short_repr(self.name)}; files are called so: a name without slashes is needed"),
            (
                len(self.gates) <= MAX_BLOCKS and len(set(self.gates)) == len(self.gates),
                f"gates is {short_repr(self.gates)}; at most {MAX_BLOCKS} different names are allowed",
            ),
        )


def to_json(value: Any) -> dict[str, Any]:
    """A dataclass as plain JSON values (dicts, lists, strings, numbers)."""
    return typing.cast("dict[str, Any]", _plain(value))


def from_json(cls: type[T], value: Any) -> T:
    """The dataclass `cls` from what `to_json` gave; an unknown key, a missing one or a wrong type is a ValueError."""
    return typing.cast(T, _parse(cls, value, getattr(cls, "__name__", "the value")))


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _parse(kind: Any, value: Any, where: str) -> Any:
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        return _parse_dataclass(typing.cast(type, kind), value, where)
    if origin is Literal:
        if value not in args:
            raise ValueError(f"{where} is {short_repr(value)}; allowed: {', '.join(map(repr, args))}")
        return value
    if origin in (typing.Union, types.UnionType):
        return None if value is None else _parse(next(a for a in args if a is not type(None)), value, where)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ValueError(f"{where} is {short_repr(value)}; a list is needed")
        kinds = [args[0]] * len(value) if args[-1] is Ellipsis else list(args)
        if len(kinds) != len(value):
            raise ValueError(f"{where} has {len(value)} values; {len(kinds)} are needed")
        return tuple(_parse(k, v, f"{where}[{i}]") for i, (k, v) in enumerate(zip(kinds, value, strict=True)))
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise ValueError(f"{where} is {short_repr(value)}, which no floating-point number holds") from None
    if kind is Path and isinstance(value, str):
        return Path(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ValueError(f"{where} is {short_repr(value)}; {kind.__name__} is needed")
    return value


def _parse_dataclass(cls: type, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f"{where} is {short_repr(value)}; an object is needed")
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}
    value = with_new_keys(value, fields)
    unknown = sorted(set(value) - set(fields))
    if unknown:
        raise ValueError(f"{where} has the unknown key {short_repr(unknown[0])}; allowed: {', '.join(fields)}")
    required = [
        n for n, f in fields.items() if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    missing = [name for name in required if name not in value]
    if missing:
        raise ValueError(f"{where} lacks the key {missing[0]!r}")
    parsed = {name: _parse(hints[name], item, f"{where}.{name}") for name, item in value.items()}
    try:
        return cls(**parsed)
    except ValueError as error:  # of the class's own checks, which do not know where it stands
        raise ValueError(f"{where}: {error}") from error
