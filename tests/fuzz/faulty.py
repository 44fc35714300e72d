"""Cases that do what leadline must not, in the order of WAYS: what the fuzz test is there to find."""

from __future__ import annotations

import os
import signal
import time
import warnings
from pathlib import Path

import numpy as np

from fuzz.case import Case

WAYS = ("refused", "key", "said by numpy", "memory", "memory, but caught", "greedy", "warned", "crash", "fine", "hang")


def make(rng: np.random.Generator, folder: Path, prepared: Path) -> Case:
    """The case whose number is that of the folder's name."""
    way = WAYS[int(folder.name.rpartition("-")[2])]
    (folder / "input.txt").write_text(way)
    return Case(way, lambda: _do(way), told=True)


def _do(way: str) -> None:
    from leadline.core.errors import BadData

    if way == "refused":
        raise BadData("no depth")
    if way == "key":
        _ = {}["depth"]
    if way == "said by numpy":
        np.zeros(3).reshape(2, 2)
    if way == "memory":
        np.ones(1 << 40)
    if way == "memory, but caught":
        try:
            np.ones(1 << 40)
        except MemoryError as error:
            raise BadData("the file is damaged") from error
    if way == "greedy":
        held = np.ones(40 << 20)  # 320 MiB
        held[0] = 0
    if way == "warned":
        warnings.warn("overflow", RuntimeWarning, stacklevel=1)
    if way == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if way == "hang":
        time.sleep(600)
