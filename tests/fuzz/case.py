"""A case: an input made from a random generator, and what leadline is to do with it."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

FAMILIES = {"images": 1000, "checkpoints": 200, "exported": 100, "folders": 100, "runs": 20}
"""The module of this folder that makes the cases -> how many `make fuzz` tries for each seed."""


@dataclass(frozen=True)
class Case:
    """`use` reads the input. It may end well, or with an error of leadline's own; `what` says what the input is.

    By `told` a ValueError that leadline itself raises is fine as well: the input is an argument of a command.
    """

    what: str
    use: Callable[[], Any]
    told: bool = False


Make = Callable[[np.random.Generator, Path, Path], Case]
"""A family's function `make`: (generator, the case's empty folder, the folder that `prepare` filled) -> the case."""


def generator(family: str, seed: int, number: int) -> np.random.Generator:
    """The same numbers each time for one case, whatever was tried before it."""
    return np.random.default_rng([zlib.crc32(family.encode()), seed, number])


def pick(rng: np.random.Generator, options: Any) -> Any:
    """One of the options, which stay what they are."""
    options = list(options)
    return options[int(rng.integers(len(options)))]
