"""Label sets: a teacher's predictions for the images of a data set, on disk. `leadline label` writes them.

    manifest.json            what it is: FORMAT, kind, depth_scale, teacher, data, shards with their SHA-256, what was
                             left out
    labels-00000.tar, ...    for each image NNNNNNNN.depth.png (16 bits), NNNNNNNN.confidence.png (8 bits) and
                             NNNNNNNN.json; at the end index.jsonl, the JSON of all, a line each

Stored numbers, 0 = no prediction. metric: metres x depth_scale. relative_disparity: 1 + 65534 x (value - `low`) /
(`high` - `low`), since nobody knows where its zero is. relative_depth: the same of the values' logarithms, since ratios
are what it says. `low` and `high`, the smallest and largest value, stand in the image's JSON, with its name and the
SHA-256 of its pixels.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image

from leadline.core.errors import BadData, LeadlineError
from leadline.core.spec import Kind
from leadline.core.text import reason
from leadline.core.types import Item
from leadline.data.dataset import Dataset, called
from leadline.data.identity import file_of, is_same
from leadline.data.label_index import FORMAT as FORMAT
from leadline.data.label_index import MANIFEST as MANIFEST
from leadline.data.label_index import checked_manifest, lines_of, read_object
from leadline.data.pictures import opened_picture

ANEW = "label the data set anew, into another folder"
TOP = 65535
"""The largest number that a label can hold."""


@dataclass(frozen=True)
class Labels:
    """An open label set: where each image's numbers lie, by the image's name."""

    root: Path
    kind: Kind
    depth_scale: float
    manifest: Mapping[str, Any] = field(repr=False)
    """What the set says of itself: teacher, data, licences, archives, and images without a label."""
    places: Mapping[str, Any] = field(repr=False)
    """Name -> the image's JSON and, as `file` and `at`, its place."""

    def __len__(self) -> int:
        return len(self.places)

    @property
    def said(self) -> Mapping[str, Any]:
        """The name of `manifest` until 0.1, kept for one release."""
        return self.manifest


def is_labels(root: Path) -> bool:
    """Whether the folder claims to be a label set."""
    return (root / MANIFEST).is_file()


def open_labels(root: Path | str) -> Labels:
    """The label set in the folder `root`; BadData if it is none, is not finished, or a part of it is missing."""
    root = Path(root)
    path = root / MANIFEST
    if not path.is_file():
        unfinished = (root / "plan.json").is_file()
        what = "is not finished: run `leadline label` again, it goes on" if unfinished else f"lacks {MANIFEST}"
        raise BadData(f"{root} {what}; a folder that `leadline label` has written is needed")
    try:
        manifest = checked_manifest(read_object(path))
    except (OSError, ValueError) as error:
        raise BadData(f"{path} is not the description of a label set, or of another version: {error}") from error
    places: dict[str, Any] = {}
    for shard in manifest["shards"]:
        for line in _index(root / shard["file"], shard, manifest["kind"]):
            if line["name"] in places:
                raise BadData(f"{root} has two labels for {line['name']!r}; copy the label set again, or {ANEW}")
            places[line["name"]] = {**line, "file": shard["file"]}
    return Labels(root, manifest["kind"], float(manifest["depth_scale"]), manifest, places)


def _index(path: Path, shard: Mapping[str, Any], kind: Kind) -> list[dict[str, Any]]:
    """The lines of an archive's index, those of images left out excepted."""
    if not path.is_file() or path.stat().st_size != shard["bytes"]:
        found = f"has {path.stat().st_size} bytes" if path.is_file() else "is missing"
        raise BadData(f"{path} {found}, {shard['bytes']} are needed; copy the label set again")
    start, size = shard["index"]
    try:
        with path.open("rb") as file:
            file.seek(start)
            content = file.read(size)
        lines = [line for line in lines_of(content, start) if "skipped" not in line]
        if len(lines) != shard["n"]:
            raise ValueError(f"it has {len(lines)} labels, {shard['n']} are said to be there")
        for line in lines:
            if kind == "relative_depth" and not line.get("low", 1) > 0:
                raise ValueError(f"the smallest depth of {line['name']!r} is {line['low']}; it must be above 0")
    except (OSError, ValueError) as error:
        raise BadData(f"{path} is damaged: its index cannot be read ({error}); copy the label set again") from error
    return lines


def read_label(labels: Labels, name: str) -> tuple[np.ndarray, np.ndarray]:
    """(values float32 [h,w], confidence float32 [h,w] in 0..1) of one image; without a prediction both are 0.

    Values are metres, or relative numbers above 0: depth as a part of the image's largest, disparity as its place
    between the image's lowest and highest.
    """
    place = labels.places[name]
    path = labels.root / place["file"]
    try:
        with path.open("rb") as file:
            layers = (("depth", ("I;16", "I;16B", "I")), ("confidence", ("L",)))
            numbers, trust = (_picture(file, place["at"][what], modes) for what, modes in layers)
        if numbers.shape != trust.shape:
            raise ValueError(f"its depth is {numbers.shape}, its confidence {trust.shape}")
        if labels.kind == "relative_depth" and "low" not in place and numbers.any():
            raise ValueError("its smallest and largest depth are not said")
    except Exception as error:  # damaged pictures make pillow raise nearly anything
        raise BadData(
            f"{path}: the label of {name} cannot be read: {reason(error)}; copy the label set again"
        ) from error
    sure = trust.astype(np.float32)
    sure /= 255
    sure *= numbers > 0
    values = numbers.astype(np.float32)
    if labels.kind == "relative_depth":
        values -= TOP
        values /= TOP - 1
        values *= np.float32(np.log(place.get("high", 1.0) / place.get("low", 1.0)))
        np.exp(values, out=values)
        values[numbers == 0] = 0
    else:
        values /= np.float32(labels.depth_scale if labels.kind == "metric" else TOP)
    return values, sure


def _picture(file: IO[bytes], place: Sequence[int], modes: tuple[str, ...]) -> np.ndarray:
    """A PNG picture [h,w] of one of the modes; ValueError for another, and for one that would fill the memory."""
    file.seek(place[0])
    with opened_picture(io.BytesIO(file.read(place[1])), ("PNG",)) as picture:
        if picture.mode not in modes:
            raise ValueError(f"a {picture.mode!r} picture stands where {modes[0]!r} (grey) is needed")
        return np.asarray(picture)


def stored(values: np.ndarray, kind: Kind, depth_scale: float) -> tuple[np.ndarray, dict[str, float]]:
    """(uint16 [h,w], `low` and `high` for the image's JSON) of values of a kind, NaN = no prediction.

    Metres that 16 bits do not hold are nothing; the JSON then says how many as `beyond`.
    """
    known = np.isfinite(values) & ((values > 0) | (kind == "relative_disparity"))
    if not known.any():
        return np.zeros(values.shape, np.uint16), {}
    x = np.where(known, values, 0).astype(np.float64)
    low, high = float(x[known].min()), float(x[known].max())
    if kind == "metric":
        units = np.rint(x * depth_scale).clip(1)
        beyond = known & (units > TOP)
        facts: dict[str, float] = {"beyond": int(beyond.sum())} if beyond.any() else {}
        return np.where(known & ~beyond, units, 0).astype(np.uint16), facts
    if kind == "relative_depth":
        place = np.log(np.where(known, x, low) / low) / (np.log(high / low) or 1.0)
    else:
        place = (x - low) / ((high - low) or 1.0)
    units = 1 + np.rint(place * (TOP - 1))
    return np.where(known, units, 0).astype(np.uint16), {"low": low, "high": high}


def labels_of(data: Dataset, sets: Sequence[Labels]) -> Labels | None:
    """The one of `sets` that is about `data`, or None: the first image decides that can be read and was not left out,
    by its name and its picture (`data.identity`). BadData if several fit, or if no image can be read.
    """
    if _first(data, frozenset()) is None:
        raise BadData(f"no image of {data.name} can be read; `leadline data check` says why")
    fitting = [labels for labels in sets if _fits(labels, data)]
    if len(fitting) > 1:
        places = " and ".join(str(labels.root) for labels in fitting)
        raise BadData(f"{places} are both about {data.name}; give one of them")
    return fitting[0] if fitting else None


def _first(data: Dataset, left_out: frozenset[str]) -> tuple[Any, Item] | None:
    for i, key in enumerate(data.keys):
        if called(key) not in left_out:
            with suppress(LeadlineError, OSError):
                return key, data[i]
    return None


def _fits(labels: Labels, data: Dataset) -> bool:
    first = _first(data, _left_out(labels))
    return first is not None and _is_of(labels, *first, data.read)


def _is_of(labels: Labels, key: Any, sample: Item, read: Any) -> bool:
    """Whether the set's label of that name is about this very picture."""
    place = labels.places.get(sample.name)
    return place is not None and is_same(place, sample.image, file_of(read, key))


def _left_out(labels: Labels) -> frozenset[str]:
    return frozenset(line["name"] for line in labels.manifest["skipped"])


def with_labels(data: Dataset, labels: Labels, *, keep_depth: bool = True, min_confidence: float = 0.0) -> Dataset:
    """`data` with the labels: each item's `pseudo_depth` and `pseudo_kind`.

    Without `keep_depth` the items lose their depth, as if nobody had measured it. Pixels whose confidence is below
    `min_confidence` have no label. Images that could not be read when they were labelled are left out, and without
    `keep_depth` also those without a prediction. An image that the set lacks is a BadData, and so is, once it is read,
    one of which it knew another picture.
    """
    left_out = _left_out(labels)
    known = {*labels.places, *left_out}
    if lacking := [name for key in data.keys if (name := called(key)) not in known]:
        some = f"{len(lacking)} images of {data.name}, such as {lacking[0]}"
        raise BadData(f"{labels.root} has no label for {some}; {ANEW}")
    if not keep_depth:
        left_out |= {name for name, line in labels.places.items() if line.get("no_prediction")}
    data = replace(data, keys=tuple(key for key in data.keys if called(key) not in left_out))
    if not len(data):
        raise BadData(f"{labels.root} has no prediction for any image of {data.name}; ask another teacher")
    # the place and a hash say which labels they are, also to the cache; the index itself would be a long name
    root = labels.root.resolve()
    made = sha256((root / MANIFEST).read_bytes()).hexdigest()
    how: dict[str, Any] = {"keep_depth": keep_depth, "min_confidence": min_confidence}
    return replace(data, read=partial(_with_label, read=data.read, root=root, made=made, **how))


@lru_cache(maxsize=64)
def _opened(root: Path, made: str) -> Labels:
    """The label set once for each state of its manifest."""
    return open_labels(root)


def _with_label(key: Any, read: Any, root: Path, made: str, keep_depth: bool, min_confidence: float) -> Item:
    labels = _opened(root, made)
    sample: Item = read(key)
    if not _is_of(labels, key, sample, read):
        raise BadData(f"{labels.root}: its label for {sample.name!r} is of another picture; {ANEW}")
    values, confidence = read_label(labels, sample.name)
    values = np.where(confidence >= max(min_confidence, 1e-9), values, np.float32(0))
    size = (sample.image.shape[1], sample.image.shape[0])
    if abs(values.shape[1] - size[0] * values.shape[0] / size[1]) > 1:
        shape = f"{values.shape[1]} x {values.shape[0]}, the picture {size[0]} x {size[1]}"
        raise BadData(f"{labels.root}: the label of {sample.name!r} is {shape}: not one shape; {ANEW}")
    if values.shape != sample.image.shape[:2]:
        known = values > 0
        smooth = Image.fromarray(values).resize(size, Image.Resampling.BILINEAR)
        near = Image.fromarray(known.astype(np.uint8)).resize(size, Image.Resampling.NEAREST)
        # between a pixel that is known and one that is not, bilinear gives something that neither is
        sharp = Image.fromarray(values).resize(size, Image.Resampling.NEAREST)
        values = np.asarray(smooth if known.all() else sharp) * (np.asarray(near) > 0)
    sample = replace(sample, pseudo_depth=values.astype(np.float32), pseudo_kind=labels.kind)
    if keep_depth:
        return sample
    return replace(sample, target=np.zeros_like(sample.target), valid=np.zeros_like(sample.valid))
