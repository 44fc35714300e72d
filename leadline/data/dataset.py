"""Dataset: a list of keys and a function that reads one of them. Layouts return it; it needs no subclass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from leadline.core.errors import LeadlineError
from leadline.core.text import some
from leadline.core.types import Item
from leadline.data.label_index import FORMAT as FORMAT
from leadline.data.label_index import MANIFEST as MANIFEST


@dataclass(frozen=True)
class Dataset:
    """`len(data)` items; `data[i]` reads one as an Item (numpy), in the order of the files."""

    name: str
    keys: tuple[Any, ...]
    read: Callable[[Any], Item]
    parts: tuple[tuple[str, int], ...] = ()
    """(part, how many items it has) of the whole data set that these items are from, where that is known."""
    rule: str = ""
    """What made the parts."""
    note: str = ""
    """What has to be said of these items: that another part stands in for the one that was asked for."""
    classes: tuple[str, ...] = ()
    """The names of the classes, where targets are classes."""
    joint: bool = False
    """Whether targets are [2,H,W], depth and then a class in each pixel."""

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, index: int) -> Item:
        return self.read(self.keys[index])


def first_readable(data: Dataset) -> Item:
    """The first item that can be read, since one bad file says nothing about the others; if none can, the first's
    error. ValueError if there are no items.
    """
    failed: Exception | None = None
    for index in range(len(data)):
        try:
            return data[index]
        except (LeadlineError, OSError) as error:
            failed = failed or error
    raise failed or ValueError(f"the data set {data.name!r} has no items")


def readable(data: Dataset, say: Callable[[str], None]) -> Dataset:
    """`data` without the items that cannot be read, which takes as long as reading all; `say` is told how many. If none
    can be read, all stay.
    """
    bad: list[Any] = []
    for key in data.keys:
        try:
            data.read(key)
        except (LeadlineError, OSError):
            bad.append(key)
    if not bad or len(bad) == len(data):
        return data
    say(f"{data.name}: left out {len(bad)} of {len(data)} images that cannot be read: {some([*map(called, bad)])}")
    return replace(data, keys=tuple(key for key in data.keys if key not in set(bad)))


def subset(data: Dataset, indices: Sequence[int]) -> Dataset:
    """The items at `indices`, in that order."""
    return replace(data, keys=tuple(data.keys[i] for i in indices))


def with_depth(data: Dataset) -> Dataset:
    """The items whose key names a depth map, or does not say: no file is read."""
    return replace(data, keys=tuple(key for key in data.keys if getattr(key, "depth", key) is not None))


def evenly(n: int, of: int) -> list[int]:
    """At most `n` different numbers below `of`, spread over all, the first and the last included."""
    return [int(i) for i in np.linspace(0, of - 1, min(n, of))]


def hold_out(data: Dataset, every: int = 10, block: int = 20) -> tuple[Dataset, Dataset]:
    """(to learn from, to validate on): the last of `every` runs of `block` neighbouring items is the validation split.

    Runs, not single items: neighbouring frames of a video show the same room, so single ones would leak.
    """
    kept = [i for i in range(len(data)) if (i // block) % every == every - 1]
    rest = [i for i in range(len(data)) if (i // block) % every != every - 1]
    return subset(data, rest), subset(data, kept)


def hold_out_few(data: Dataset, least: int = 8) -> tuple[Dataset, Dataset, bool]:
    """(to learn from, to validate on, whether scenes stay whole) of a data set that is too small for `hold_out`.

    At least `least` images are kept, or a third of fewer than three times as many: of several scenes (folders in the
    items' names) the last whole ones that are no more than half of the images together, else the last images.
    """
    n = len(data)
    least = min(least, n // 3)
    scenes: dict[str, list[int]] = {}
    for i, key in enumerate(data.keys):
        scenes.setdefault(PurePosixPath(called(key)).parent.as_posix(), []).append(i)
    kept: list[int] = []
    for scene in reversed(scenes.values()):
        if len(kept) < least and len(kept) + len(scene) <= n // 2:
            kept += scene
    whole = len(kept) >= least > 0
    indices = set(kept if whole else range(n - least, n))
    rest = [i for i in range(n) if i not in indices]
    return subset(data, rest), subset(data, sorted(indices)), whole


def called(key: Any) -> str:
    """The name of an item that cannot be read."""
    return str(getattr(key, "name", key))
