"""TUM RGB-D (Sturm et al., IROS 2012): `rgb/` and `depth/` with `rgb.txt` and `depth.txt`, 5000 units per metre.

Colour and depth are taken at different moments; pairs are the nearest in time, at most 0.02 s apart, one to one.
"""

from __future__ import annotations

import bisect
import re
from pathlib import Path

from leadline.core.errors import BadData
from leadline.core.preprocess import IMAGE_SUFFIXES
from leadline.data.dataset import Dataset
from leadline.data.depth_io import DEPTH_SUFFIXES
from leadline.data.layouts.description import Description
from leadline.data.layouts.filelist import find_files, located, read_lines, stem
from leadline.data.layouts.frame import Camera, Frame, Source
from leadline.data.layouts.parts import BY_FOLDERS, by_folders, by_scenes, dataset, with_rest
from leadline.data.layouts.scenes7 import read_intrinsics
from leadline.data.layouts.words import folders

MAX_GAP_S = 0.02
_SIZE = (480, 640)
FREIBURG = {
    1: Camera(517.3, 516.5, 318.6, 255.3, _SIZE),
    2: Camera(520.9, 521.0, 325.1, 249.7, _SIZE),
    3: Camera(535.4, 539.2, 320.1, 247.6, _SIZE),
}
"""The data set's own calibration of its three colour cameras at 640x480 (lens distortion is left aside)."""


def open_tum(root: Path, description: Description, split: str) -> Dataset:
    """The associated frames of one sequence, or of all sequences in a folder; by `description.items` also images
    without depth near enough in time.

    Split: by the sequences' names if they are those of parts, else by whole sequences, else in order.

    Intrinsics: `camera-intrinsics.txt` (3x3) beside the sequence or above, else the calibration of the camera that the
    sequence's name tells (`freiburg1`, `fr1`, ...), else none: other people record in this layout, too.
    """
    sequences = [root, *(root / name for name in folders(root))]
    every: list[Frame] = []
    cameras = {}
    for sequence in sequences:
        if not all((sequence / f"{kind}.txt").is_file() or (sequence / kind).is_dir() for kind in ("rgb", "depth")):
            continue
        folder = "" if sequence == root else f"{sequence.name}/"
        images, depths = _stamped(sequence, "rgb", IMAGE_SUFFIXES), _stamped(sequence, "depth", DEPTH_SUFFIXES)
        near = dict(associate([time for time, _ in images], [time for time, _ in depths], MAX_GAP_S))
        for i in sorted(range(len(images)), key=lambda i: images[i][0]):
            image, depth = folder + images[i][1], folder + depths[near[i]][1] if i in near else None
            every.append(Frame(stem(image), image, depth, camera=folder))
        camera = _camera(sequence, root)
        if camera is not None:
            cameras[folder] = camera
    frames = [frame for frame in every if frame.depth]
    if not frames:
        raise BadData(
            f"{root} holds no TUM RGB-D frames: looked for rgb.txt and depth.txt"
            f" (or rgb/ and depth/ with times as names) with entries at most {MAX_GAP_S} s apart"
        )
    source = Source(root, description, cameras, scales={"uint16": 5000.0})
    parts, rule = by_folders(frames), BY_FOLDERS
    if parts is None:
        parts, rule = by_scenes(frames, description)
    return dataset(source, with_rest(parts, every) if description.items == "images" else parts, split, rule=rule)


def associate(first: list[float], second: list[float], max_gap_s: float) -> list[tuple[int, int]]:
    """Index pairs of the times nearest to each other, one to one, closest first served; in order of `first`."""
    order = sorted(range(len(second)), key=second.__getitem__)
    times = [second[j] for j in order]
    candidates = []
    for i, time in enumerate(first):
        start, end = bisect.bisect_left(times, time - max_gap_s), bisect.bisect_right(times, time + max_gap_s)
        candidates += [(abs(times[k] - time), i, order[k]) for k in range(start, end)]
    taken: dict[int, int] = {}
    used = set()
    for _, i, j in sorted(candidates):
        if i not in taken and j not in used:
            taken[i] = j
            used.add(j)
    return [(i, taken[i]) for i in sorted(taken, key=first.__getitem__)]


def _stamped(sequence: Path, kind: str, suffixes: tuple[str, ...]) -> list[tuple[float, str]]:
    """(time in seconds, file) of a sequence's images or depth maps, from its list or else from the files' names."""
    path = sequence / f"{kind}.txt"
    if path.is_file():
        rows = [line.split(maxsplit=1) for line in read_lines(path)]
    else:
        rows = [[Path(stem(file)).name, f"{kind}/{file}"] for file in find_files(sequence / kind, suffixes)]
    stamped = []
    for row in rows:
        try:
            time, file = row
            stamped.append((float(time), located(sequence, [file], [""])[0]))
        except ValueError:
            raise BadData(f"{path}: {' '.join(row)!r} is not a time in seconds and a file") from None
    return stamped


def _camera(sequence: Path, root: Path) -> Camera | None:
    for folder in (sequence, root):
        if (folder / "camera-intrinsics.txt").is_file():
            return read_intrinsics(folder / "camera-intrinsics.txt")
    number = re.search(r"(?:freiburg|(?<![a-z])fr)([123])(?!\d)", sequence.resolve().name.lower())
    return FREIBURG[int(number.group(1))] if number else None
