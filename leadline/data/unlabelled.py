"""Images without depth: any folder of them, with its sub-folders. What a teacher labels and what a demo runs on."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from leadline.data.dataset import Dataset
from leadline.data.description import Description
from leadline.data.filelist import find_files, stem
from leadline.data.frame import Frame, Source, by_order, dataset
from leadline.errors import BadData
from leadline.own import is_own_picture
from leadline.preprocess import IMAGE_SUFFIXES

# Pictures in folders of such names are measurements or labels, not photographs.
_NOT_PHOTOGRAPHS = re.compile(
    r"(?<![a-z])(depths?|depth_?maps?|disparity|disparities|labels?|masks?|semantics?|instances?)(?![a-z])[^/]*/"
)


def open_unlabelled(root: Path, description: Description, split: str) -> Dataset:
    """Every image below `root`, with an all-False `valid`; all are the train part unless `test_fraction` is given."""
    images = photographs(root)
    if not images:
        raise BadData(f"{root} holds no images: looked for {', '.join(IMAGE_SUFFIXES)} in it and its sub-folders")
    times = Counter(map(stem, images))
    frames = [Frame(stem(image) if times[stem(image)] == 1 else image, image) for image in images]
    return dataset(Source(root, description), by_order(frames, description, fraction=0.0), split)


def passed_over(root: Path) -> int:
    """How many images below `root` are no photographs by their folder's name."""
    return sum(map(_measured, find_files(root, IMAGE_SUFFIXES)))


def photographs(root: Path) -> list[str]:
    """The images below `root`, relative to it, except those that are depth maps or labels by their folder's name, or
    results of leadline.
    """
    found = [file for file in find_files(root, IMAGE_SUFFIXES) if not _measured(file)]
    return [file for file in found if not is_own_picture(root / file)]


def _measured(file: str) -> bool:
    return _NOT_PHOTOGRAPHS.search(file.lower()) is not None
