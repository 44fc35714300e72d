"""Images without depth: any folder of them, with its sub-folders. What a teacher labels and what a demo runs on.

A picture with one channel of more than 8 bits, or of floats, is a measurement and no photograph, whatever its name. So
is what lies in folders called depth, labels, masks, normals and the like, and what is named as a picture of another one
beside it: `a_depth.png`, `a_mask.png`, `a_vis.png`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from leadline.core.errors import BadData
from leadline.core.own_results import is_own_picture
from leadline.core.preprocess import IMAGE_SUFFIXES
from leadline.data.dataset import Dataset
from leadline.data.depth_io import DEPTH_SUFFIXES
from leadline.data.layouts.description import Description
from leadline.data.layouts.filelist import find_files, stem
from leadline.data.layouts.frame import Frame, Source
from leadline.data.layouts.headers import is_measurement
from leadline.data.layouts.parts import BY_FOLDERS, by_folders, by_order, dataset, order_rule
from leadline.data.layouts.words import about_others, in_measured_folder, kind_of_file, kind_of_folder


def open_unlabelled(root: Path, description: Description, split: str) -> Dataset:
    """Every photograph below `root`, with an all-False `valid`.

    Split: by folders of parts if a val or test part is among them; else all are train unless `test_fraction` is given.
    """
    images = photographs(root)
    if not images:
        raise BadData(f"{root} holds no photographs: {_why_none(root)}")
    times = Counter(map(stem, images))
    frames = [Frame(stem(image) if times[stem(image)] == 1 else image, image) for image in images]
    parts, rule = by_folders(frames), BY_FOLDERS
    if parts is None or not (parts["val"] or parts["test"]):
        parts, rule = by_order(frames, description, fraction=0.0), order_rule(description, 0.0)
    return dataset(Source(root, description), parts, split, rule=rule)


def passed_over(root: Path) -> int:
    """How many pictures below `root` are no photographs."""
    files = find_files(root, IMAGE_SUFFIXES)
    return len(files) - sum(1 for _ in _photographs(root, files))


def photographs(root: Path) -> list[str]:
    """The photographs below `root`, relative to it, without results of leadline."""
    return list(_photographs(root, find_files(root, IMAGE_SUFFIXES)))


def has_photographs(root: Path) -> bool:
    """Whether there is one; the rest is not looked at."""
    return any(True for _ in _photographs(root, find_files(root, IMAGE_SUFFIXES)))


def depth_like(root: Path) -> Mapping[str, list[str]]:
    """Folder -> its files that look like depth maps: by their type, their channel and bits, or by a folder's name."""
    found: dict[str, list[str]] = {}
    for file in find_files(root, DEPTH_SUFFIXES):
        picture = file.lower().endswith(IMAGE_SUFFIXES)
        in_depth_folder = any(kind_of_folder(folder) == "depth" for folder in Path(file).parts[:-1])
        if (
            (picture and is_measurement(root / file))
            or (not picture and kind_of_file(file) != "mask")
            or in_depth_folder
        ):
            found.setdefault(Path(file).parent.as_posix(), []).append(file)
    return found


def _photographs(root: Path, files: Sequence[str]) -> Iterator[str]:
    free = [file for file in files if not in_measured_folder(file)]
    about = about_others(free)
    others = (file for file in free if file not in about and not (_may_measure(file) and is_measurement(root / file)))
    return (file for file in others if not is_own_picture(root / file))


def _may_measure(file: str) -> bool:
    """Whether files of that suffix can hold more than 8 bits, so that their first bytes have to be looked at."""
    return file.lower().endswith((".png", ".tif", ".tiff", ".pgm"))


def _why_none(root: Path) -> str:
    if n := len(find_files(root, IMAGE_SUFFIXES)):
        return f"its {n} pictures are depth maps, labels or the like, by their names or by one channel of many bits"
    return f"looked for {', '.join(IMAGE_SUFFIXES)} in it and its sub-folders"
