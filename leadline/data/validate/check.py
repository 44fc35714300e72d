"""check: names the likely faults of a data set before anyone trains on it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from leadline.core.errors import BadData, LeadlineError
from leadline.data.dataset import Dataset, evenly
from leadline.data.depth_io import read_stored
from leadline.data.label_set import is_labels
from leadline.data.layouts.description import Description, read_description
from leadline.data.layouts.detect import described, opener
from leadline.data.layouts.frame import Frame
from leadline.data.layouts.metres import rotated_back
from leadline.data.layouts.parts import SPLITS
from leadline.data.layouts.unlabelled import depth_like
from leadline.data.validate.depth import Look, direction, flatness, holes, look, resolution
from leadline.data.validate.files import copies, lone_halves, unreadable
from leadline.data.validate.finding import SEVERITIES, Finding, each
from leadline.data.validate.label_set import check_labels
from leadline.data.validate.leakage import leakage
from leadline.data.validate.orientation import check_turned
from leadline.data.validate.parts import notes
from leadline.data.validate.registration import Edges, alignment, edges
from leadline.data.validate.scale import impossible, likely, rotation, unit, unstated, used

_N_STORED = 16  # so many maps are also looked at as they are stored
_REPAIR = "repair this frame or take it out"
_SPARSE = ("kitti", "kitti_eigen", "kitti_selection")
_CHOOSING = (*_SPARSE, "densedepth", "nyu", "nyu_txt")


@dataclass(frozen=True)
class Checked:
    """What a data set is (`summary`, plain values) and what is wrong with it (`findings`, the worst first)."""

    summary: Mapping[str, Any]
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether there is no finding of severity `error`."""
        return all(finding.severity != "error" for finding in self.findings)


def check(path: str | Path, *, n: int = 64, **overrides: Any) -> Checked:
    """What the data set at `path` is, and its likely faults; `overrides` are the fields of `Description`.

    1. Files (all images and depth maps, from outside): missing, empty, cut short, without a partner, equal bytes.
    2. Depth (`n` frames spread over all): unit, bits, clipping, holes, NaN, constants, disparity for depth.
    3. Colour against depth (the same frames): different sizes, turned (also by EXIF), shifted, wrong pairs.
    4. Splits: equal and near-equal images in train and in val or test, images in no part.
    5. Folders: depth that is there and not read, masks.

    A file that cannot be read is a finding and does not stop the check. BadData only if there is no data set at all, or
    if it is one of classes.
    Of a label set, see `check_labels`.
    """
    if n < 1:
        raise ValueError(f"n is {n}; at least one frame must be looked at")
    if is_labels(Path(path)):
        summary, found = check_labels(Path(path), n)
        return Checked(summary, _worst_first(found))
    root, description = described(path, **overrides)
    if description.max_depth is None:  # else a frame with impossible depth could not be looked at
        description = replace(description, max_depth=math.inf)
    everything = opener(description)(root, description, "all")
    if everything.classes:
        raise BadData(f"{path} holds classes; `data check` looks for faults of depth, `data ls` says what is there")
    opened = {name: _part(root, description, name) for name in SPLITS[:3]}
    parts = {name: part for name, part in opened.items() if part is not None and not part.note}
    frames = [key for key in everything.keys if isinstance(key, Frame)]
    findings = list(unreadable(root, frames))
    named = [str(root / finding.where) for finding in findings]
    looks, fits, sizes, unread = _read(root, description, everything, n)
    findings += [finding for finding in unread if not any(file in finding.what for file in named)]
    findings += lone_halves(root, frames, expected=description.layout in _CHOOSING)
    findings += copies(
        root, {name: [key for key in part.keys if isinstance(key, Frame)] for name, part in parts.items()}
    )
    findings += check_turned(root, everything, description)
    if looks or not unread:
        findings += _depth(root, description, looks, fits)
    for name in ("val", "test"):
        if "train" in parts and name in parts:
            findings += leakage(root, parts["train"], parts[name], n, name)
    stated = "layout" in overrides or read_description(root if root.is_dir() else root.parent).layout is not None
    findings += notes(root, description, everything, stated)
    return Checked(_summary(everything, description, parts, looks, sizes), _worst_first(findings))


def _worst_first(findings: list[Finding]) -> tuple[Finding, ...]:
    return tuple(sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity)))


def _part(root: Path, description: Description, name: str) -> Dataset | None:
    try:
        return opener(description)(root, description, name)
    except BadData:  # the whole set could be opened, so this part is empty
        return None


def _read(
    root: Path, description: Description, data: Dataset, n: int
) -> tuple[list[Look], list[Edges], set[tuple[int, int]], list[Finding]]:
    """What is kept of `n` frames spread over the data, the sizes of their images, and those that cannot be read."""
    looks: list[Look] = []
    fits: list[Edges] = []
    sizes: set[tuple[int, int]] = set()
    findings: list[Finding] = []
    for index in evenly(n, len(data)):
        key = data.keys[index]
        try:
            sample = data[index]
            stored, stated = None, description.depth_scale is not None
            if isinstance(key, Frame) and key.depth is not None and len(looks) < _N_STORED:
                file = read_stored(root / key.depth, key=description.depth_key)
                stored, stated = rotated_back(file, description.depth_rotated), stated or file.scale is not None
        except LeadlineError as error:
            findings.append(Finding("error", str(error), key.name if isinstance(key, Frame) else str(key), _REPAIR))
            continue
        sizes.add(sample.target.shape)
        if isinstance(key, Frame) and key.depth is None:
            continue
        looks.append(look(sample, stored, stated))
        edge = edges(sample)
        if edge is not None:
            fits.append(edge)
    return looks, fits, sizes, list(each(findings, at_most=5))


def _depth(root: Path, description: Description, looks: list[Look], fits: list[Edges]) -> Iterator[Finding]:
    where, layout = str(root), description.layout or ""
    if not looks:
        if layout != "unlabelled" or not depth_like(root):
            yield Finding("note", "no depth to look at", where, "fine for images that a teacher labels")
        return
    yield from impossible(looks, where)
    wrong = list(rotation(looks, where)) or list(unit(looks, where, layout))
    yield from wrong or unstated(looks, where, layout)
    yield from resolution(looks, where)
    yield from holes(looks, where, sparse=layout in _SPARSE)
    yield from flatness(looks, where)
    yield from direction(looks, where)
    yield from alignment(fits, where)


def _summary(
    data: Dataset,
    description: Description,
    parts: Mapping[str, Dataset],
    looks: list[Look],
    sizes: set[tuple[int, int]],
) -> dict[str, Any]:
    values = np.concatenate([one.depth[one.valid] for one in looks] or [np.zeros(0, np.float32)])
    summary: dict[str, Any] = {"name": data.name, "layout": description.layout, "n": len(data)}
    summary |= {f"n_{name}": len(part) for name, part in parts.items()}
    summary |= {"parts": data.rule} if data.rule else {}
    summary |= {"n_read": len(looks), "n_sizes": len(sizes)}
    if sizes:
        summary |= {"size_min": min(sizes), "size_max": max(sizes)}
    if values.size:
        low, median, high = (float(v) for v in np.percentile(values, [0, 50, 100]))
        summary |= {"depth_min_m": low, "depth_median_m": median, "depth_max_m": high}
        summary["valid_fraction"] = float(np.mean([one.valid.mean() for one in looks]))
    now = used(looks)
    if now is not None:
        summary["depth_scale"] = float(f"{now:.4g}")
        summary |= {f"depth_scale_of_{scene}": scales for scene, scales in likely(looks).items()}
    return summary
