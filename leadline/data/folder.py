"""The plain layout: a folder of images and a folder of depth maps, whose files have the same names but for the suffix.

    images/a.jpg depth/a.png                     (or `rgb/`, `image/`, `color/`; `depths/`)
    train/images/a.jpg train/depth/a.png         (parts outside; `test/` or `val/` is the test part)
    images/train/a.jpg depth/train/a.png         (parts inside)
    train.txt, test.txt (or val.txt)             (parts by lists of names, with or without folder and suffix)

Depth is in any format of `depth_io`. Without parts, the split is in order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from leadline.data.dataset import Dataset
from leadline.data.depth_io import DEPTH_SUFFIXES
from leadline.data.description import Description
from leadline.data.filelist import find_files, read_lines, stem
from leadline.data.frame import Camera, Frame, Source, by_order, dataset, with_rest
from leadline.data.scenes7 import read_intrinsics
from leadline.errors import BadData
from leadline.preprocess import IMAGE_SUFFIXES

IMAGE_FOLDERS = ("images", "rgb", "image", "color")
DEPTH_FOLDERS = ("depth", "depths")
PART_OF = {"train": "train", "test": "test", "val": "test"}


def open_folder(root: Path, description: Description, split: str) -> Dataset:
    """The images that have a depth map of the same name, or all, by `description.items`; none of them with one is a
    BadData. Intrinsics: `camera-intrinsics.txt` (3x3), else none.
    """
    frames = [frame for home in homes(root) for frame in _frames(root, home)]
    if not any(frame.depth for frame in frames):
        raise BadData(f"{root}: {_why_nothing(root, next(iter(homes(root)), ''))}")
    file = root / "camera-intrinsics.txt"
    cameras: dict[str, Camera] = {"": read_intrinsics(file)} if file.is_file() else {}
    return dataset(Source(root, description, cameras), _parts(root, frames, description), split)


def homes(root: Path) -> list[str]:
    """The sub-folders (parts; "" is `root` itself) that hold a folder of images and one of depth maps."""
    both = [
        home for home in ("", *PART_OF) if all(_first(root / home, names) for names in (IMAGE_FOLDERS, DEPTH_FOLDERS))
    ]
    return both[:1] if both[:1] == [""] else both


def _frames(root: Path, home: str) -> list[Frame]:
    image_folder, depth_folder = _first(root / home, IMAGE_FOLDERS), _first(root / home, DEPTH_FOLDERS)
    if image_folder is None or depth_folder is None:
        return []
    depths: dict[str, str] = {}
    for file in find_files(root / home / depth_folder, DEPTH_SUFFIXES):
        if stem(file) in depths:
            raise BadData(f"{root / home / depth_folder}: {depths[stem(file)]} and {file} are for one image; keep one")
        depths[stem(file)] = file
    prefix = f"{home}/" if home else ""
    frames: dict[str, Frame] = {}
    for file in find_files(root / home / image_folder, IMAGE_SUFFIXES):
        if stem(file) in frames:
            raise BadData(f"{root / home / image_folder}: two images are called {stem(file)}; rename one")
        own = depths.get(stem(file), depths.get(f"{stem(file)}_depth"))  # or as `leadline predict` calls it
        depth = f"{prefix}{depth_folder}/{own}" if own is not None else None
        frames[stem(file)] = Frame(prefix + stem(file), f"{prefix}{image_folder}/{file}", depth)
    return list(frames.values())


def _parts(root: Path, frames: list[Frame], description: Description) -> Mapping[str, Sequence[Frame]]:
    every = frames
    frames = [frame for frame in every if frame.depth]
    wanted = every if description.items == "images" else frames
    lists = {name: root / f"{name}.txt" for name in PART_OF if (root / f"{name}.txt").is_file()}
    if lists:
        parts: Mapping[str, Sequence[Frame]] = _listed(frames, lists)
    else:
        inside = {frame: PART_OF.get(frame.name.split("/")[0]) for frame in wanted}
        if all(inside[frame] for frame in frames):
            return {part: [f for f in wanted if (inside[f] or "train") == part] for part in ("train", "test")}
        parts = by_order(frames, description)
    return with_rest(parts, every) if wanted is every else parts


def _listed(frames: list[Frame], lists: dict[str, Path]) -> Mapping[str, Sequence[Frame]]:
    """The parts that lists name. Where there is only one list, the other part is all the rest."""
    names = {frame.name: frame for frame in frames} | {stem(frame.image): frame for frame in frames}
    parts: dict[str, list[Frame]] = {}
    for name, path in lists.items():
        for line in read_lines(path):
            word = line.split()[0]
            frame = next((names[key] for key in (line, stem(line), word, stem(word)) if key in names), None)
            if frame is None:
                raise BadData(f"{path} lists {line!r}, but there is no such image with a depth map")
            parts.setdefault(PART_OF[name], []).append(frame)
    if len(parts) == 1:
        [(part, listed)] = parts.items()
        taken = set(listed)
        parts["test" if part == "train" else "train"] = [frame for frame in frames if frame not in taken]
    return {part: parts.get(part, []) for part in ("train", "test")}


def _first(folder: Path, names: tuple[str, ...]) -> str | None:
    return next((name for name in names if (folder / name).is_dir()), None)


def _why_nothing(root: Path, home: str) -> str:
    images, depths = _first(root / home, IMAGE_FOLDERS), _first(root / home, DEPTH_FOLDERS)
    if images is None or depths is None:
        missing = " and ".join(
            f"one of the folders {', '.join(names)}"
            for names, found in ((IMAGE_FOLDERS, images), (DEPTH_FOLDERS, depths))
            if found is None
        )
        return f"{missing} is needed"
    a = find_files(root / home / images, IMAGE_SUFFIXES)
    b = find_files(root / home / depths, DEPTH_SUFFIXES)
    example = f", such as {a[0]} and {b[0]}" if a and b else ""
    return f"none of {len(a)} images has one of the {len(b)} depth maps with the same name{example}"
