"""A data set from a function of the user's own, `(root, description, split) -> Dataset`, checked as it is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from leadline.core.errors import BadCode, BadData, LeadlineError
from leadline.core.types import Item
from leadline.core.user_code import UserFunction
from leadline.data.dataset import Dataset, called
from leadline.data.layouts.description import Description
from leadline.data.layouts.parts import SPLITS, stand_in


def open_own(root: Path, description: Description, split: str, *, function: UserFunction) -> Dataset:
    """What `function` gives for a split; val stands in for a test part that is empty.

    BadCode if the function fails or gives no Dataset, BadData if that has no items.
    """
    function.refuse_unless_takes("root", "description", "split")
    data = _dataset_of(root, description, split, function)
    if split == "test" and not len(data) and len(val := _dataset_of(root, description, "val", function)):
        split, data = "val", replace(val, note=stand_in({"val": val.keys}, "test"))
    if not len(data):
        raise BadData(f"{function} has no items in the part {split!r}")
    data = replace(data, keys=tuple(data.keys))
    name, n = Counter(map(called, data.keys)).most_common(1)[0]
    if n > 1:
        raise BadCode(f"{function.where()}: {n} keys are called {name!r}; each item needs a key of its own")
    parts = data.parts or (tuple(_sizes(root, description, function)) if split == "all" else ())
    return replace(data, parts=parts, read=OwnReader(function, root, description, split, data.read))


def _dataset_of(root: Path, description: Description, split: str, function: UserFunction) -> Dataset:
    data = function(root, description, split)
    if not isinstance(data, Dataset):
        gave = f"{function.where()}: {function.name} gives {type(data).__name__}"
        raise BadCode(f"{gave}; a leadline.Dataset(name, keys, read) is needed")
    return data


def _sizes(root: Path, description: Description, function: UserFunction) -> Iterator[tuple[str, int]]:
    """How many items the parts have that the function knows."""
    for part in SPLITS[:3]:
        with suppress(LeadlineError):
            if n := len(_dataset_of(root, description, part, function)):
                yield part, n


class OwnReader:
    """Reads one item and checks it. It pickles as what made it: another process asks the function again."""

    def __init__(
        self, function: UserFunction, root: Path, description: Description, split: str, read: Callable[[Any], Item]
    ) -> None:
        self.made_by = function, root, description, split
        self.read = read

    def __call__(self, key: Any) -> Item:
        name, function = called(key), self.made_by[0]
        try:
            sample = self.read(key)
        except (LeadlineError, OSError, MemoryError):
            raise
        except Exception as error:  # it is the user's code: anything may be raised
            raise BadData(f"{name}: {function.told(error, 'reading it')}") from error
        if wrong := _wrong(sample):
            raise BadData(f"{name}: {function} gives {wrong}")
        target = np.where(sample.valid, sample.target, 0).astype(np.float32)
        return replace(sample, target=target, name=name)

    def __reduce__(self) -> tuple[Callable[..., OwnReader], tuple[Any, ...]]:
        return _again, self.made_by


def _again(function: UserFunction, root: Path, description: Description, split: str) -> OwnReader:
    reader: Any = open_own(root, description, split, function=function).read
    return reader  # type: ignore[no-any-return]


def _wrong(sample: Any) -> str:
    """What an item is that it may not be; "" if it is sound."""
    if not isinstance(sample, Item):
        return f"{type(sample).__name__}; a leadline.Item is needed"
    image, target, valid = sample.image, sample.target, sample.valid
    for what, value in (("image", image), ("target", target), ("valid", valid)):
        if not isinstance(value, np.ndarray):
            return f"{what} as {type(value).__name__}; a numpy array is needed"
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        return f"an image {image.dtype} {list(image.shape)}; uint8 [H,W,3], RGB, is needed"
    for what, value, kind in (("target", target, np.floating), ("valid", valid, np.bool_)):
        if value.shape != image.shape[:2] or not np.issubdtype(value.dtype, kind):
            needed = f"{'float32' if what == 'target' else 'bool'} {list(image.shape[:2])}"
            return f"{what} as {value.dtype} {list(value.shape)}; {needed}, the image's size, is needed"
    depths = target[valid]
    if wild := int(np.count_nonzero(~(np.isfinite(depths) & (depths > 0)))):
        return f"{wild} valid pixels whose depth is not finite or not above 0; valid is to be False there"
    return ""
