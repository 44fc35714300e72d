"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009): images of 32x32 with one class each, in two spellings.

    parquet    train-*.parquet, test-*.parquet with columns `img` (bytes of a picture) and `label` (or `fine_label`)
    batches    data_batch_1 ... data_batch_5, test_batch (CIFAR-100: train, test): the authors' pickles

A pickle may run code, so the authors' files are read by an unpickler that knows arrays and plain values only.
"""

from __future__ import annotations

import codecs
import io
import pickle
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from leadline.core.errors import BadData, BadImage
from leadline.core.formats import formats
from leadline.core.packages import need
from leadline.core.tasks import CIFAR10
from leadline.core.text import reason
from leadline.core.types import Item
from leadline.data.dataset import Dataset
from leadline.data.layouts.description import Description
from leadline.data.layouts.filelist import is_file
from leadline.data.layouts.parts import divided, part_in
from leadline.data.pictures import opened_picture

_BATCHES = {
    "train": ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "train"),
    "test": ("test_batch", "test"),
}
MOST = 1000
"""So many classes are read: each has a name, and a damaged label could ask for billions."""


class Place(NamedTuple):
    """An item: its name, its file and its number there."""

    name: str
    file: str
    number: int


def parquet_files(root: Path) -> dict[str, list[Path]]:
    """The parquet files of each part, by their names."""
    found: dict[str, list[Path]] = {}
    for path in sorted([*root.glob("*.parquet"), *root.glob("data/*.parquet")]):
        if (part := part_in(path.stem)) is not None and is_file(path):  # a pipe would be waited for
            found.setdefault(part, []).append(path)
    return found


def batch_files(root: Path) -> dict[str, list[Path]]:
    """The authors' files of each part."""
    homes = (root, *(root / name for name in ("cifar-10-batches-py", "cifar-100-python")))
    found = {
        part: [home / name for home in homes for name in names if (home / name).is_file()]
        for part, names in _BATCHES.items()
    }
    return {part: files for part, files in found.items() if files}


def is_cifar(root: Path) -> bool:
    """Whether one of the two spellings lies in `root`; parquet files are looked into."""
    if any(path.name in ("data_batch_1", "test_batch") for files in batch_files(root).values() for path in files):
        return True
    files = [path for files in parquet_files(root).values() for path in files]
    return bool(files) and {"img", "label"} <= set(_columns(files[0]))


def open_cifar(root: Path, description: Description, split: str) -> Dataset:
    """Splits `train` and `test` by the files' names. `target` is int64 [], `valid` bool []; `classes` are the names, or
    numbers where the files do not say them.

    BadData for files that are damaged, of other columns, or whose labels are no whole numbers from 0 to MOST - 1.
    """
    files = parquet_files(root) or batch_files(root)
    if not files:
        raise BadData(f"{root} holds no CIFAR: looked for train-*.parquet, test-*.parquet and data_batch_1 to _5")
    parts = {}
    for part, paths in files.items():
        sizes = {path: len(_labels(path)) for path in paths}
        parts[part] = [
            Place(f"{path.stem.partition('-')[0]}/{i:05d}" if len(paths) == 1 else f"{path.stem}/{i:05d}", str(path), i)
            for path, n in sizes.items()
            for i in range(n)
        ]
    data = divided(root.resolve().name, parts, split, description, root, _read, "by the names of its files")
    n = 1 + max(int(_labels(path).max(initial=0)) for paths in files.values() for path in paths)
    return replace(data, classes=CIFAR10 if n == len(CIFAR10) else tuple(map(str, range(n))))


def _read(place: Place) -> Item:
    path = Path(place.file)
    label = int(_labels(path)[place.number])
    image = _picture(path, place.number)
    return Item(image, np.asarray(label, np.int64), np.asarray(True), place.name)


def _picture(path: Path, index: int) -> np.ndarray:
    if path.suffix == ".parquet":
        return np.asarray(_decoded(path)[index])
    flat = _batch(path)["data"][index]
    return np.ascontiguousarray(flat.reshape(3, 32, 32).transpose(1, 2, 0))


@lru_cache(maxsize=8)
def _decoded(path: Path) -> np.ndarray:
    """uint8 [N,32,32,3]: all pictures of a parquet file, decoded once, since each is read in every epoch."""
    stored = _table(path)[0]
    pictures = np.empty((len(stored), 32, 32, 3), np.uint8)
    for i, one in enumerate(stored):
        try:
            with opened_picture(io.BytesIO(one.as_py()), formats()) as picture:
                if picture.size != (32, 32):
                    raise ValueError(f"it is {picture.width} wide, {picture.height} high")
                pictures[i] = np.asarray(picture.convert("RGB"))
        except Exception as error:  # damaged pictures make pillow raise nearly anything
            raise BadImage(f"{path}: its picture {i} cannot be read, or is not 32x32: {reason(error)}") from error
    return pictures


@lru_cache(maxsize=16)
def _labels(path: Path) -> np.ndarray:
    """int64 [N], checked once: each item asks for its own."""
    raw = _table(path)[1] if path.suffix == ".parquet" else _batch(path)["labels"]
    labels = np.asarray(raw)
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer) or (len(labels) and labels.min() < 0):
        raise BadData(f"{path} has labels that are no whole numbers from 0; get the file again")
    if (most := int(labels.max(initial=0))) >= MOST:
        raise BadData(f"{path} holds the label {most}; at most {MOST - 1} is read: get the file again")
    return labels.astype(np.int64)


def _columns(path: Path) -> list[str]:
    try:
        from pyarrow import parquet

        return list(parquet.read_schema(path).names)
    except ImportError:
        return ["img", "label"]  # `_table` says what to install
    except Exception:  # pyarrow's errors have no common class
        return []


@lru_cache(maxsize=8)
def _table(path: Path) -> tuple[Any, np.ndarray]:
    """(the pictures' bytes, the labels) of a parquet file."""
    need("pyarrow", f"reading {path.name}")
    from pyarrow import compute, parquet

    try:
        table = parquet.read_table(path)
        names = [name for name in ("label", "fine_label") if name in table.column_names]
        pictures = table["img" if "img" in table.column_names else "image"].combine_chunks()
        labels = table[names[0]].to_numpy()
        stored = compute.struct_field(pictures, "bytes") if pictures.type.num_fields else pictures
    except Exception as error:  # pyarrow's errors have no common class
        raise BadData(f"{path} is damaged, or has no columns img and label: {reason(error)}") from error
    return stored, labels


@lru_cache(maxsize=16)
def _batch(path: Path) -> dict[str, Any]:
    """`data` uint8 [N,3072] and `labels` of one of the authors' files."""
    try:
        raw = _Plain(io.BytesIO(path.read_bytes()), encoding="bytes").load()
        found = {key.decode() if isinstance(key, bytes) else key: value for key, value in raw.items()}
        data, labels = found["data"], found.get("labels", found.get("fine_labels", ()))
        if (
            not isinstance(data, np.ndarray)
            or data.dtype != np.uint8
            or data.shape[1:] != (3072,)
            or len(labels) != len(data)
            or not all(isinstance(label, int | np.integer) for label in labels)
        ):
            raise ValueError("data uint8 [N,3072] and as many whole numbers as labels are needed")
    except Exception as error:  # a damaged pickle raises nearly anything
        raise BadData(f"{path} is no batch of CIFAR, or damaged: {reason(error)}") from error
    return {"data": data, "labels": labels}


def _empty(*_: object) -> np.ndarray:
    """An array whose state the pickle then sets: a size that it asks for here is not made."""
    return np.empty(0, np.int8)


def _dtype(*given: Any) -> np.dtype:
    found: np.dtype = np.dtype(*given)
    if found.hasobject:
        raise pickle.UnpicklingError("it holds an array of objects, not of numbers")
    return found


_SAFE: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _empty,
    ("numpy._core.multiarray", "_reconstruct"): _empty,
    ("numpy", "ndarray"): _empty,
    ("numpy", "dtype"): _dtype,
    ("_codecs", "encode"): codecs.encode,
}


class _Plain(pickle._Unpickler):  # in Python: the one in C makes room for as many memos as a file claims
    """Knows numpy's arrays and plain values; whatever else a pickle names is refused, so that no code runs."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _SAFE:
            return _SAFE[module, name]
        raise pickle.UnpicklingError(f"it names {module}.{name}, which is no array")
