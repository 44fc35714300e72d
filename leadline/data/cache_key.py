"""What makes the content of cached frames: the data set's keys and reader, the files they name, and our own code.

A file is known by its place, size and times. The time of its last change of any kind is one of them: a tool that keeps
the date of a photograph which it turns, or of a map which it makes anew, does not keep that one.
"""

from __future__ import annotations

import functools
import hashlib
import json
import stat
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from leadline.data.dataset import Dataset


def identity(data: Dataset, height: int | None) -> str | None:
    """A hash of all that decides what the data set's frames hold; None if that cannot be said."""
    roots: list[Path] = []
    try:
        parts = [_code(), data.name, height, _as_json(data.read, roots), _as_json(data.keys, roots)]
    except LookupError:
        return None
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:20]


def _as_json(value: Any, roots: list[Path]) -> Any:
    """`value` as JSON, files with size and time. Folders join `roots`: words may be files in one of those."""
    inner = functools.partial(_as_json, roots=roots)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str | Path):
        if isinstance(value, Path) and value.is_dir() and value not in roots:
            roots.append(value)
        places = [value] if isinstance(value, Path) else [root / value for root in roots]
        return [str(value if isinstance(value, str) else value.resolve()), *map(_stamp, places)]
    if isinstance(value, functools.partial):
        return [inner(value.func), inner(value.args), inner(value.keywords)]
    if isinstance(value, Mapping):
        return [[str(key), inner(item)] for key, item in value.items()]
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return [inner(item) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        return [type(value).__qualname__, *(inner(getattr(value, f.name)) for f in fields(value))]
    if callable(value) and "<" not in getattr(value, "__qualname__", "<"):
        return [value.__module__, value.__qualname__, inner(getattr(value, "__self__", None))]
    raise LookupError(f"{value!r} has no lasting name")


def _stamp(path: Path) -> list[int] | None:
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns] if stat.S_ISREG(found.st_mode) else None


@functools.cache
def _code() -> str:
    """A hash of the sources that read data: what another version has decoded is not taken for what this one would."""
    here = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted(
        (*here.rglob("*.py"), *(here.parent / "core" / f"{name}.py" for name in ("preprocess", "geometry")))
    ):
        digest.update(path.read_bytes())
    return digest.hexdigest()
