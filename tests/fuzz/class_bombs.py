"""Files of CIFAR that are whole and hold what they should not: pictures, labels and arrays of other kinds, pickles that
ask for more memory than they are long.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
from support.tiny_classes import pictures, png, write_parquet

from fuzz.case import pick
from fuzz.chunks import hostile, plain

Rng = np.random.Generator
_LABELS = (-1, 10, 99, 999, 1000, 10**9, 2**31, 2**63 - 1, 2**64, 1.0, float("nan"), True, None, "cat", [0], b"0")


class _Call:
    """Asks, when it is unpickled, for an array that numpy itself makes."""

    def __init__(self, *given: Any) -> None:
        self.given = given

    def __reduce__(self) -> Any:
        return np.ndarray, self.given


def write(rng: Rng, path: Path) -> str:
    """Put one in place of the file `path`; what it is."""
    return _parquet(rng, path) if path.suffix == ".parquet" else _batch(rng, path)


def _parquet(rng: Rng, path: Path) -> str:
    images, labels = pictures(4, 0)
    stored = [png(image) for image in images]
    what, _, stored[int(rng.integers(4))] = pick(rng, (hostile, plain))(rng)
    write_parquet(path.parent, "x", stored, labels).replace(path)
    return f"a picture is {what}"


def _batch(rng: Rng, path: Path) -> str:
    images, labels = pictures(4, 0)
    content: dict[bytes, Any] = {b"data": images.reshape(4, 3072), b"labels": labels}
    if rng.random() < 0.5:
        odd = pick(rng, _LABELS)
        content[b"labels"] = [*labels[:3], odd]
        what = f"a label is {odd!r}"
    else:
        lists: Any = [0] * 10
        for _ in range(12):
            lists = [lists] * 10
        what, content[pick(rng, (b"data", b"labels"))] = pick(
            rng,
            (
                ("lists of lists", lists),
                ("a large array", _Call((10**9, 3072), "u1")),
                ("an array of a strange shape", _Call((-1, 3072), "u1")),
                ("objects", np.full((4, 3072), None)),
                ("texts", np.full((4, 3072), "x")),
                ("records", np.zeros((4, 3072), "u1,f4")),
                ("no rows", np.zeros((0, 3072), np.uint8)),
                ("a number", 4),
            ),
        )
    data = pickle.dumps(content, protocol=int(rng.integers(6)))
    if rng.random() < 0.2:  # a memo of the largest number
        what, data = f"{what}, a large memo", b"\x80\x02]r\xff\xff\xff\x7f0" + data
    path.write_bytes(data)
    return what
