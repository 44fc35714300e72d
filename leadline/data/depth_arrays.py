"""Depth in files of arrays: `.npy`, `.npz`, HDF5 and MATLAB's `.mat`.

Headers are read first: what is no depth map, or too large for one, is refused before memory is taken for it. Nothing
here loads a pickle, and no HDF5 file leads to another file.
"""

from __future__ import annotations

import importlib
import io
import math
import os
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from leadline.core.errors import BadData, MissingPackage
from leadline.core.preprocess import MAX_PIXELS
from leadline.core.spec import Kind
from leadline.core.text import reason
from leadline.data.depth_names import (
    UNITS,
    Stored,
    agreeing,
    allowed,
    choose,
    few_enough,
    plain,
    stated_kind,
    unit_of,
)

_MARKS = ("valid", "validmask", "validity")
_COMPRESSED = 15  # the type of a packed variable in MATLAB's files
_MAX_TEXT = 1024  # bytes of an array that holds a word
_MAX_ARRAYS = 10_000
_MAX_HEADER = 10_000
_HEADERS = {
    (1, 0): (2, np.lib.format.read_array_header_1_0),
    (2, 0): (4, np.lib.format.read_array_header_2_0),
}


class _Array(NamedTuple):
    """An array that a header describes; `member` is its place in a zip archive."""

    shape: tuple[int, ...]
    dtype: np.dtype
    member: zipfile.ZipInfo | None = None

    def __str__(self) -> str:
        return f"{self.dtype} {self.shape}"

    @property
    def n_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def read_npy(path: Path, kind: Kind | None, key: str | None) -> Stored:
    """The one array of a `.npy` file; it has no name, so that `key` does not count."""
    with path.open("rb") as file:
        array = _header(path, file)
        allowed(path, "it", array.shape, array.dtype)
        if path.stat().st_size - file.tell() < array.n_bytes:
            raise BadData(f"{path} is cut short: its header tells of {array.n_bytes} bytes; copy it again")
        file.seek(0)
        return Stored(np.lib.format.read_array(file, allow_pickle=False))


def read_npz(path: Path, kind: Kind | None, key: str | None) -> Stored:
    """The depth of a `.npz` file, by `choose`, with what its arrays `kind`, `unit` and `valid` say (`predict` writes
    them): where `valid` is False there is no depth.
    """
    with zipfile.ZipFile(path) as archive:
        arrays = _members(path, archive)
        facts = {plain(name): name for name in arrays if plain(name) in (*_MARKS, "kind", "unit")}
        words = {fact: _word(path, archive, arrays[facts[fact]]) for fact in ("kind", "unit") if fact in facts}
        says = stated_kind(path, words["kind"]) if words.get("kind") else None
        agreeing(path, "", says, kind)
        found = {name: str(array) for name, array in arrays.items() if name == key or name not in facts.values()}
        name = choose(path, found, says or kind, key)
        allowed(path, name, arrays[name].shape, arrays[name].dtype)
        values = _taken(path, archive, arrays[name])
        for fact in _MARKS:
            if fact in facts and facts[fact] != name:
                values = _masked(path, archive, arrays[facts[fact]], values)
    unit = (words.get("unit") or "").strip().lower()
    if unit in UNITS and says in (None, "metric"):
        return Stored(values, UNITS[unit], says)
    return Stored(values, unit_of(name), says)


def _header(path: Path, file: IO[bytes]) -> _Array:
    """What stands before the numbers of a `.npy` file."""
    try:
        version = np.lib.format.read_magic(file)
        if version not in _HEADERS:
            raise ValueError(f"version {version} of its header is for named fields")
        n_bytes, reader = _HEADERS[version]
        size = file.read(n_bytes)
        if int.from_bytes(size, "little") > _MAX_HEADER:  # numpy would read it whole, and a zip archive unpack it
            raise ValueError(f"it has {int.from_bytes(size, 'little')} bytes")
        shape, _, dtype = reader(io.BytesIO(size + file.read(int.from_bytes(size, "little"))))
    except Exception as error:  # numpy parses the header as Python, and raises whatever that does
        raise BadData(f"{path} has no header of a numpy array ({reason(error, 200)}); copy it again") from error
    if not all(isinstance(n, int) and n >= 0 for n in shape):
        raise BadData(f"{path} has the shape {shape} in its header; copy it again")
    return _Array(tuple(shape), dtype)


def _members(path: Path, archive: zipfile.ZipFile) -> dict[str, _Array]:
    infos = archive.infolist()
    if not 0 < len(infos) <= _MAX_ARRAYS:
        raise BadData(f"{path} holds {len(infos)} arrays; one is needed, and at most {_MAX_ARRAYS} are looked at")
    arrays = {}
    for info in infos:
        with archive.open(info) as file:
            arrays[info.filename.removesuffix(".npy")] = _header(path, file)._replace(member=info)
    return arrays


def _taken(path: Path, archive: zipfile.ZipFile, array: _Array) -> np.ndarray:
    if array.member is None or array.member.file_size < array.n_bytes:
        raise BadData(f"{path} is damaged: a header tells of {array.n_bytes} bytes, which are not there; copy it again")
    with archive.open(array.member) as file:
        return np.asarray(np.lib.format.read_array(file, allow_pickle=False))


def _word(path: Path, archive: zipfile.ZipFile, array: _Array) -> str | None:
    """The word that an array holds; None if it holds numbers."""
    if array.dtype.kind not in "US":
        return None
    if math.prod(array.shape) != 1 or array.n_bytes > _MAX_TEXT:
        raise BadData(f"{path}: its arrays 'kind' and 'unit' should be one short word each")
    text = _taken(path, archive, array).item()
    return text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)


def _masked(path: Path, archive: zipfile.ZipFile, mark: _Array, values: np.ndarray) -> np.ndarray:
    """`values`, and where the array `mark` is 0 the number that never is depth: NaN, or 0 in integers."""
    if math.prod(mark.shape) != values.size or mark.dtype.kind not in "biuf" or mark.dtype.itemsize > 8:
        raise BadData(f"{path}: its array of valid pixels is {mark}, and its depth {values.dtype} {values.shape}")
    keep = _taken(path, archive, mark).reshape(values.shape) != 0
    return np.where(keep, values, values.dtype.type(np.nan if values.dtype.kind == "f" else 0))


def read_h5(path: Path, kind: Kind | None, key: str | None) -> Stored:
    """The depth among the datasets of an HDF5 file, at any level, by `choose`."""
    with opened_h5(path) as file:
        found: dict[str, str] = {}

        def note(name: str, item: Any) -> bool | None:
            if hasattr(item, "dtype") and item.dtype.kind in "biuf":
                found[name] = f"{item.dtype} {item.shape}"
            return True if len(found) > _MAX_ARRAYS else None

        file.visititems(note)
        name = choose(path, found, kind, key, "dataset")
        values = dataset(path, file[name])
        return Stored(values.T if path.suffix.lower() == ".mat" else values, unit_of(name))  # MATLAB's axes run back


def read_mat(path: Path, kind: Kind | None, key: str | None) -> Stored:
    """The depth among the variables of a MATLAB file, by `choose`; version 7.3 is HDF5."""
    with path.open("rb") as file:
        start = file.read(520)
    if b"\x89HDF\r\n" in start or b"MATLAB 7.3" in start:
        return read_h5(path, kind, key)
    variables = mat_variables(path)
    name = choose(path, {name: f"{what} {shape}" for name, (shape, what) in variables.items()}, kind, key, "variable")
    return Stored(mat_variable(path, name), unit_of(name))


def opened_h5(path: Path) -> Any:
    """An HDF5 file for reading, a context manager; BadData if it is none."""
    try:
        h5py = importlib.import_module("h5py")
    except ImportError:
        raise MissingPackage("h5py", "data", f"reading {path.name}") from None
    if not os.path.isfile(path):  # a pipe would be waited for
        raise BadData(f"{path} {'is no file' if os.path.lexists(path) else 'does not exist'}; get it again")
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise BadData(f"{path} is cut short or not HDF5 ({reason(error)}); get it again") from error


def dataset(path: Path, stored: Any, at: Any = (), limit_of: tuple[int, ...] | None = None) -> np.ndarray:
    """A dataset of an open HDF5 file, or the part `at` of it, whose shape is then `limit_of`; BadData before it is read
    if it is too large, no numbers, or lies in another file.
    """
    if not hasattr(stored, "dtype"):
        raise BadData(f"{path} has a group where an array is needed; state another name as depth_key")
    allowed(path, str(stored.name).lstrip("/"), stored.shape if limit_of is None else limit_of, stored.dtype)
    few_enough(path, *(stored.chunks or ()))  # one is unpacked whole, whatever the shape
    if stored.external or stored.is_virtual:
        raise BadData(f"{path} only points to other files; a file that holds its numbers is needed")
    try:
        return np.asarray(stored[at])
    except (OSError, IndexError, RuntimeError, ValueError, MemoryError) as error:
        raise BadData(f"{path} is damaged: {' '.join(str(error).split())}; get it again") from error


def mat_variables(path: Path) -> Mapping[str, tuple[tuple[int, ...], str]]:
    """The numeric variables of a MATLAB file before version 7.3: name -> (shape, type)."""
    scipy = _scipy(path)
    try:
        listed = scipy.whosmat(path)
    except Exception as error:  # scipy raises nearly anything on damaged files
        raise BadData(f"{path} is damaged or no MATLAB file ({error!r}); get it again") from error
    numeric = ("double", "single", "logical", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)))
    return {name: (tuple(shape), what) for name, shape, what in listed if what in numeric}


def mat_variable(path: Path, name: str) -> np.ndarray:
    """One of `mat_variables`; BadData before it is read if it is too large or not there."""
    variables = mat_variables(path)
    if name not in variables:
        raise BadData(f"{path} is damaged or lacks {name}; it holds {', '.join(variables) or 'no numbers'}")
    allowed(path, name, variables[name][0], np.dtype(np.float64))
    try:
        _unpacks_to_little(path)
        return np.asarray(_scipy(path).loadmat(path, variable_names=[name])[name])
    except BadData:
        raise
    except Exception as error:
        raise BadData(f"{path} is damaged: {error!r}; get it again") from error


def _unpacks_to_little(path: Path) -> None:
    """BadData if the compressed variables of a MATLAB file become larger than a map may be, whatever they claim."""
    left = 8 * MAX_PIXELS
    with path.open("rb") as file:
        order = "big" if file.read(128)[126:] == b"MI" else "little"
        while len(tag := file.read(8)) == 8:
            n_bytes, after = int.from_bytes(tag[4:], order), file.tell()  # type: ignore[arg-type]
            if int.from_bytes(tag[:4], order) == _COMPRESSED:  # type: ignore[arg-type]
                unpack, rest = zlib.decompressobj(), n_bytes
                while rest > 0 and left >= 0 and (packed := file.read(min(rest, 1 << 16))):
                    rest -= len(packed)
                    left -= len(unpack.decompress(packed))
            file.seek(after + n_bytes)
    if left < 0:
        raise BadData(f"{path} unpacks to more than {8 * MAX_PIXELS} bytes; more than {MAX_PIXELS} pixels are not read")


def _scipy(path: Path) -> Any:
    try:
        return importlib.import_module("scipy.io")
    except ImportError:
        raise MissingPackage("scipy", "data", f"reading {path.name}") from None
