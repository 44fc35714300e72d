"""CamVid (Brostow et al. 2009) in SegNet's split and classes: street pictures with a class for each pixel.

    train/a.png trainannot/a.png        and val, test likewise; the pictures may be JPEG
    train.txt, val.txt, test.txt        two columns, picture and annotation, relative to the folder; without, all files

An annotation is an 8-bit picture of one channel: 0 to 10 are classes, 11 is void and does not count.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from leadline.core.errors import BadData
from leadline.core.preprocess import IMAGE_SUFFIXES, read_image
from leadline.core.tasks import CAMVID
from leadline.core.types import Item
from leadline.data.dataset import Dataset
from leadline.data.layouts.annotations import read_classes
from leadline.data.layouts.description import Description
from leadline.data.layouts.filelist import is_file, is_hidden, read_lines
from leadline.data.layouts.parts import SPLITS, divided
from leadline.data.layouts.unlabelled import open_unlabelled

VOID = 11


class Pair(NamedTuple):
    """A picture and its annotation, relative to the folder."""

    name: str
    image: str
    labels: str


def is_camvid(root: Path) -> bool:
    """Whether there is a part with annotations beside it."""
    return any((root / part).is_dir() and (root / f"{part}annot").is_dir() for part in SPLITS[:3])


def open_camvid(root: Path, description: Description, split: str) -> Dataset:
    """Splits by the lists, else by the folders. `target` is int64 [H,W]; void pixels are not `valid`.

    As images for a teacher the pictures alone, as `unlabelled`. BadData if there is nothing, or a list names a file
    that is missing.
    """
    if description.items == "images":
        return open_unlabelled(root, description, split)
    parts = {part: pairs for part in SPLITS[:3] if (pairs := _pairs(root, part))}
    if not parts:
        raise BadData(f"{root} holds no CamVid: looked for train/ and trainannot/, val and test likewise")
    rule = "by its lists and folders"
    data = divided(root.resolve().name, parts, split, description, root, Reader(root), rule)
    return replace(data, classes=CAMVID)


@dataclass(frozen=True)
class Reader:
    """Reads one pair. BadData for an annotation of another size, or with other numbers than classes and void."""

    root: Path

    def __call__(self, pair: Pair) -> Item:
        image = read_image(self.root / pair.image)
        where, file = f"{self.root}: {pair.name}", self.root / pair.labels
        labels, valid = read_classes(file, image, where, len(CAMVID), (VOID,), "another coding of CamVid")
        return Item(image, labels, valid, pair.name)


def _pairs(root: Path, part: str) -> list[Pair]:
    listed = root / f"{part}.txt"
    if not listed.is_file():
        images = sorted(path for path in (root / part).glob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
        shown = (path for path in images if not is_hidden(path.name))
        return [_pair(f"{part}/{path.name}", f"{part}annot/{path.stem}.png") for path in shown]
    pairs, missing = [], []
    for line in read_lines(listed):
        words = line.split()
        if len(words) != 2:
            raise BadData(f"{listed}: the line {line!r} has {len(words)} columns; picture and annotation are needed")
        image, labels = (_found(root, word) for word in words)
        missing += [word for word, file in zip(words, (image, labels), strict=True) if not file]
        if image and labels:
            pairs.append(_pair(image, labels))
    if missing:
        raise BadData(f"{listed} names {len(missing)} files that are not there, such as {missing[0]}")
    return list(dict.fromkeys(pairs))  # a line that stands twice counts once


def _found(root: Path, word: str) -> str:
    """The file below the folder, by the longest end of its path that is there: SegNet's lists name it as
    `/SegNet/CamVid/train/a.png`. "" if there is none.
    """
    parts = [part for part in PurePosixPath(word.replace("\\", "/")).parts if part != "/"]
    ends = ("/".join(parts[i:]) for i in range(len(parts)) if ".." not in parts[i:])
    return next((end for end in ends if is_file(root / end)), "")


def _pair(image: str, labels: str) -> Pair:
    return Pair(str(PurePosixPath(image).with_suffix("")), image, labels)
