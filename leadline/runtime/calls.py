"""The one check around every compiled call: it costs a few microseconds and turns a crash into a sentence."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable, Sequence

import numpy as np

from leadline.preprocess import Runner
from leadline.runtime.card import Card
from leadline.timing import usable_cores


def runner(card: Card, call: Callable[[np.ndarray], np.ndarray]) -> Runner:
    """A Runner from `call`, which takes one contiguous input that fits the card and gives an array of its own.

    A batch runs image by image, since an artefact has batch 1. An input of another shape or type is a ValueError.
    """
    shape = (3, *card.size) if card.frame is None else (*card.frame, 3)
    dtype = np.dtype(np.float32 if card.frame is None else np.uint8)

    def run(images: np.ndarray) -> np.ndarray:
        if images.shape[1:] != shape or images.dtype != dtype or not len(images):
            raise ValueError(f"the input is {images.dtype} {list(images.shape)}; {dtype} {['N', *shape]} is needed")
        images = np.ascontiguousarray(images)
        if len(images) == 1:
            return call(images)
        return np.concatenate([call(images[i : i + 1]) for i in range(len(images))])

    return run


def check_threads(threads: int | None) -> int:
    """The number of threads to use: `threads`, or by default every core this process may run on."""
    if threads is not None and threads < 1:
        raise ValueError(f"threads is {threads}; at least 1 is needed")
    return threads or usable_cores()


def lacking(modules: Sequence[str], extra: str) -> str | None:
    """None if all `modules` can be imported, otherwise the command that installs them."""
    found = all(importlib.util.find_spec(name) for name in modules)
    return None if found else f"pip install 'leadline[{extra}]'"


NO_COMPILER = "install g++ (Debian: apt install g++) or set CXX to another"


def compiler() -> str | None:
    """The C++ compiler that PyTorch would find; None if there is none, and NO_COMPILER says what to do."""
    return next(filter(None, map(shutil.which, (os.environ.get("CXX", ""), "g++", "clang++", "cl"))), None)
