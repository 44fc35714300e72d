"""What a label set says of itself, checked where it is read: the manifest, and the line of each image.

Both may come from anywhere: a copy that was cut short, another program, somebody who means harm. Nothing here opens a
file outside of the set's folder, and what is wrong is a ValueError that says where.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from leadline.core.text import short_repr
from leadline.core.types import KINDS

FORMAT = "leadline-labels-1"
MANIFEST = "manifest.json"
LARGEST = 128 * 2**20
"""Bytes that a manifest, or the index of an archive, has at most."""
LEAST_SCALE, MOST_SCALE = 1e-6, 1e9
"""Units per metre with which 16 bits, and their values in metres, still are numbers."""
_MOST = 4_000_000  # values in a manifest: a short text can hold more than memory does
_LONGEST = 2**20  # bytes of an image's line
_HASH = re.compile("[0-9a-f]{64}")
_LOOK = re.compile("[0-9a-f]{128}")
_ARCHIVE = re.compile(r"labels-\d+\.tar")


OLD_KEYS = {"silent": "no_prediction", "unheard": "abstained"}
"""Key of an older set, in the manifest and in the lines of images -> the key now."""


def _as_now(values: Mapping[str, Any]) -> dict[str, Any]:
    return {OLD_KEYS.get(key, key): value for key, value in values.items()}


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file; ValueError if it holds something else, or is too large to be one of ours."""
    if not path.is_file():
        raise ValueError("it is no file")
    if (n := path.stat().st_size) > LARGEST:
        raise ValueError(f"it has {n} bytes, at most {LARGEST} are read")
    content = path.read_bytes()
    if sum(map(content.count, (b",", b"[", b"{"))) > _MOST:
        raise ValueError(f"it holds more than {_MOST} values")
    try:
        found = json.loads(content)  # of bytes: a byte order mark is no part of it
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(found, dict):
        raise ValueError(f"it holds a {type(found).__name__}, an object is needed")
    return found


def checked_manifest(values: Mapping[str, Any]) -> dict[str, Any]:
    """A finished set's manifest, with what older ones may lack; ValueError if its values make no sense."""
    if values.get("format") != FORMAT:
        raise ValueError(f"format is {short_repr(values.get('format'))}; {FORMAT!r} is needed")
    if values.get("kind") not in KINDS:
        raise ValueError(f"kind is {short_repr(values.get('kind'))}; allowed: {', '.join(KINDS)}")
    if not LEAST_SCALE <= _number(values, "depth_scale") <= MOST_SCALE:
        raise ValueError(
            f"depth_scale is {values['depth_scale']}; {LEAST_SCALE:g} to {MOST_SCALE:g} units per metre fit"
        )
    values = {"skipped": [], "licences": [], "beyond": 0, "no_prediction": 0, "abstained": {}, **_as_now(values)}
    for key, kind in (("teacher", dict), ("data", dict), ("shards", list), ("skipped", list), ("licences", list)):
        if not isinstance(values.get(key), kind):
            raise ValueError(f"{key} is {short_repr(values.get(key))}; a JSON {kind.__name__} is needed")
    for key in ("teacher", "data"):
        _text(values[key], "name")
    if not isinstance(values["data"].get("reading", {}), dict):
        raise ValueError(f"data.reading is {short_repr(values['data']['reading'])}; a JSON object is needed")
    if not all(isinstance(term, str) for term in values["licences"]):
        raise ValueError("licences are not all words")
    for key in ("n", "beyond", "no_prediction"):
        _count(values, key)
    if not isinstance(values["abstained"], dict) or not all(map(_is_count, values["abstained"].values())):
        raise ValueError("abstained is not a number for each teacher")
    for line in map(_object, values["skipped"]):
        for key in ("name", "why"):
            _text(line, key)
    names = [_archive(shard)["file"] for shard in map(_object, values["shards"])]
    if len(set(names)) < len(names):
        raise ValueError("an archive is listed twice")
    if (n := sum(shard["n"] for shard in values["shards"])) != values["n"]:
        raise ValueError(f"n is {values['n']}, and its archives have {n} labels together")
    return dict(values)


def lines_of(content: bytes, end: int) -> Iterator[dict[str, Any]]:
    """The lines of an archive's index; `end` is where its images' files end, at the latest, in bytes."""
    for line in io.BytesIO(content):
        if len(line) > _LONGEST:
            raise ValueError(f"a line of its index has {len(line)} bytes")
        try:
            yield checked_line(json.loads(line), end)
        except RecursionError:
            raise ValueError("a line of its index is nested too deeply") from None


def checked_line(values: Any, end: int) -> dict[str, Any]:
    """What is said of one image: its name, and why it was left out or where its label lies, before the byte `end`."""
    line = _as_now(_object(values))
    name = _text(line, "name")
    _count(line, "i")
    if "skipped" in line:
        _text(line, "why")
        return line
    for key, pattern in (("image", _HASH), ("source", _HASH), ("look", _LOOK)):
        if (key == "image" or key in line) and not pattern.fullmatch(str(line.get(key))):
            raise ValueError(f"{key} of {name!r} is {short_repr(line.get(key))}; a hash is needed")
    places = _object(line.get("at"))
    for what in ("depth", "confidence"):
        start, size = _pair(places, what)
        if not (size > 0 and start + size <= end):
            raise ValueError(f"the {what} of {name!r} lies outside of its archive: byte {start}, {size} bytes")
    if ("low" in line) != ("high" in line) or ("low" in line and not _number(line, "low") <= _number(line, "high")):
        raise ValueError(f"{name!r} has low {short_repr(line.get('low'))} and high {short_repr(line.get('high'))}")
    for key in ("beyond", "no_prediction"):
        if key in line:
            _count(line, key)
    if not isinstance(absent := line.get("abstained", []), list) or not all(isinstance(one, str) for one in absent):
        raise ValueError(f"abstained of {name!r} is {short_repr(absent)}; a list of names is needed")
    return line


def _archive(shard: dict[str, Any]) -> dict[str, Any]:
    name = _text(shard, "file")
    if not _ARCHIVE.fullmatch(name):  # never a path that leads out of the folder
        raise ValueError(f"an archive is called {short_repr(name)}; labels-NNNNN.tar is needed")
    for key in ("n", "bytes"):
        _count(shard, key)
    if not _HASH.fullmatch(_text(shard, "sha256")):
        raise ValueError(f"sha256 of {name} is {short_repr(shard['sha256'])}")
    start, size = _pair(shard, "index")
    if start + size > shard["bytes"] or size > LARGEST:
        raise ValueError(f"the index of {name} lies outside of it: byte {start}, {size} bytes")
    return shard


def _object(values: Any) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise ValueError(f"{short_repr(values)} stands where a JSON object is needed")
    return values


def _text(values: Mapping[str, Any], key: str) -> str:
    value = values.get(key)
    if not isinstance(value, str):
        raise ValueError(f"{key} is {short_repr(value)}; a text is needed")
    return value


def _number(values: Mapping[str, Any], key: str) -> float:
    value = values.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e300:
        raise ValueError(f"{key} is {short_repr(value)}; a finite number is needed")
    return value


def _count(values: Mapping[str, Any], key: str) -> None:
    if not _is_count(values.get(key)):
        raise ValueError(f"{key} is {short_repr(values.get(key))}; a whole number, 0 or more, is needed")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**62


def _pair(values: Mapping[str, Any], key: str) -> tuple[int, int]:
    value = values.get(key)
    if not isinstance(value, list) or len(value) != 2 or not all(map(_is_count, value)):
        raise ValueError(f"{key} is {short_repr(value)}; a first byte and a length are needed")
    return value[0], value[1]
