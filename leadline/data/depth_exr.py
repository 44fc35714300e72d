"""Depth in OpenEXR files: which layer and channel it is, and nothing read but that one."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from leadline.core.errors import BadData, MissingPackage
from leadline.core.preprocess import MAX_PIXELS
from leadline.core.spec import Kind
from leadline.data.depth_names import (
    DEPTH_NAMES,
    OTHER_NAMES,
    Stored,
    agreeing,
    choose,
    few_enough,
    kind_of,
    plain,
    unit_of,
)

_ALONE = ("z", "v", "y", "r")  # what programs call the one channel of a layer
_NUMBERS = {"HALF": "f2", "FLOAT": "f4", "UINT": "u4"}
_N_SAMPLES = 4 * MAX_PIXELS  # of all channels of a file with several parts, which are read together


class _Part(NamedTuple):
    """A part of a file by its header: `size` is (height, width), `channels` name -> (every so many columns, rows)."""

    prefix: str
    size: tuple[int, int]
    channels: dict[str, tuple[int, int]]
    deep: bool


def read_exr(path: Path, kind: Kind | None, key: str | None) -> Stored:
    """The depth channel of a file: `key`, else one called depth or of a layer called depth, else Z, else Y or V where
    nothing but A is beside it, else the only one. In a file of several parts a channel's name begins with its part's.
    """
    exr = open_exr()
    with exr.File(str(path), header_only=True) as file:  # before memory is taken for its pixels
        parts = [_part(i, part, len(file.parts)) for i, part in enumerate(file.parts)]
    if any(part.deep for part in parts):
        raise BadData(f"{path} has deep pixels, several depths in each; flatten it to one channel first")
    for part in parts:
        few_enough(path, *part.size)
    places = {part.prefix + channel: (i, channel) for i, part in enumerate(parts) for channel in part.channels}
    name = choose_channel(path, list(places), kind, key)
    index, channel = places[name]
    if parts[index].channels[channel] != (1, 1):
        raise BadData(f"{path}: its channel {name} has fewer pixels than the image; save it at full size")
    if len(parts) == 1:
        return Stored(_one(path, channel, parts[0].size), unit_of(name), _kind_of(name))
    n_samples = sum(part.size[0] * part.size[1] * len(part.channels) for part in parts)
    if n_samples > _N_SAMPLES:
        raise BadData(f"{path} has {n_samples} numbers in all its parts; save the part with {name} alone")
    with exr.File(str(path), separate_channels=True) as file:
        pixels = np.array(file.parts[index].channels[channel].pixels)
    return Stored(pixels, unit_of(name), _kind_of(name))


def choose_channel(path: Path, names: Collection[str], kind: Kind | None, key: str | None) -> str:
    """The channel that is the depth, as `read_exr` says; BadData, with all names, where nothing tells."""
    found = dict.fromkeys(names, "")
    if key in found or len(names) == 1:
        for name in [key] if key in found else names:
            agreeing(path, name, _kind_of(name), kind)
    if key is None and kind != "relative_disparity":
        ranks = {name: rank for name in names if (rank := _rank(name, names)) is not None}
        best = [name for name, rank in ranks.items() if rank == min(ranks.values())]
        if len(best) == 1:
            return agreeing(path, best[0], _kind_of(best[0]), kind)
        if best or len(names) > 1:
            why = f"; {' and '.join(best)} may both be depth" if best else ""
            some = ", ".join(list(names)[:40])
            raise BadData(f"{path} has the channels {some}{why}; depth is one called Z or depth, or state depth_key")
    return choose(path, found, kind, key, "channel")


def _kind_of(name: str) -> Kind | None:
    """What a channel holds, where its own name or its layer's tells that it is no metres."""
    layer, _, channel = name.rpartition(".")
    return kind_of(channel) or kind_of(layer.rpartition(".")[2])


def _rank(name: str, names: Collection[str]) -> int | None:
    """How surely a channel is the depth: 0, 1, 2, or None: it is not."""
    layer, _, channel = name.rpartition(".")
    inside = [other for other in names if other.rpartition(".")[0] == layer]
    above, own = plain(layer.rpartition(".")[2]), plain(channel)
    if kind_of(above) is not None or above in OTHER_NAMES:
        return None
    if own != "z" and own in DEPTH_NAMES:
        return 0
    if above != "z" and above in DEPTH_NAMES and own in _ALONE:
        first = min(_ALONE.index(plain(other.rpartition(".")[2])) for other in inside if plain(other[-1]) in _ALONE)
        return 0 if _ALONE.index(own) == first else None
    if own == "z" and not {"x"} & {plain(other.rpartition(".")[2]) for other in inside}:  # else it is a vector
        return 1
    if own in ("y", "v") and all(other == name or plain(other) == "a" for other in names):
        return 2
    return None


def open_exr() -> Any:
    """The package OpenEXR; MissingPackage without it."""
    try:
        import OpenEXR
    except ImportError as error:
        raise MissingPackage("OpenEXR", "exr", "depth in OpenEXR files") from error
    return OpenEXR


def _part(index: int, part: Any, n_parts: int) -> _Part:
    (left, top), (right, bottom) = ((int(a), int(b)) for a, b in part.header["dataWindow"])
    size = max(bottom - top + 1, 0), max(right - left + 1, 0)
    prefix = "" if n_parts == 1 else f"{part.header.get('name') or index}."
    channels = {str(c.name): (int(c.xSampling), int(c.ySampling)) for c in part.header["channels"]}
    return _Part(prefix, size, channels, "deep" in str(part.type()))


def _one(path: Path, name: str, size: tuple[int, int]) -> np.ndarray:
    """One channel of a file with one part, without reading the others."""
    exr = open_exr()
    file = exr.InputFile(str(path))
    try:
        dtype = _NUMBERS[str(file.header()["channels"][name].type)]
        return np.frombuffer(file.channel(name), dtype).reshape(size).copy()
    finally:
        file.close()
