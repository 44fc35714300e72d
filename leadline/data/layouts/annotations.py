"""Annotations: a class in each pixel, as 8-bit pictures of one channel, beside photographs or beside their depth.

A folder of annotations has `NNNNN.png` for the photograph `NNNNN.jpg` or `NNNNN_colors.jpg`, wherever that lies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np

from leadline.core.errors import BadData, BadImage
from leadline.core.formats import formats
from leadline.core.text import reason
from leadline.core.types import Item
from leadline.data.layouts.filelist import is_file
from leadline.data.layouts.frame import Frame, Source
from leadline.data.pictures import opened_picture

COLOURS = "_colors"
"""How the stems of NYU's photographs end, and those of their annotations do not."""


@dataclass(frozen=True)
class Annotated:
    """Reads the frames of `source` with their annotations. It pickles, for worker processes.

    `void` are the numbers that do not count, the others are numbers of `classes`. With `depth` the target is float32
    [2,H,W], depth and class, else int64 [H,W]; `valid` has its shape.
    """

    source: Source
    classes: tuple[str, ...]
    void: tuple[int, ...]
    depth: bool

    def read(self, frame: Frame) -> Item:
        """BadData for an annotation of another size, or with other numbers than classes and void."""
        file = self.source.root / str(frame.annotation)
        item = self.source.read(frame if self.depth else frame._replace(depth=None))
        where = f"{self.source.root}: {frame.name}"
        labels, valid = read_classes(file, item.image, where, len(self.classes), self.void, "another coding of NYU")
        if not self.depth:
            return replace(item, target=labels, valid=valid)
        target = np.stack([item.target, labels.astype(np.float32)])
        return replace(item, target=target, valid=np.stack([item.valid, valid]))


def with_annotations(root: Path, frames: Sequence[Frame], folder: str) -> list[Frame]:
    """Those of the frames that have an annotation in `root/folder`, with it. BadData if there is no such folder."""
    if not (root / folder).is_dir():
        raise BadData(
            f"{root} has no folder {folder} with a class in each pixel; put NNNNN.png for each photograph NNNNN there, "
            'or say in dataset.toml where they are: labels = "FOLDER"'
        )
    found = [frame._replace(annotation=f"{folder}/{_stem(frame.image)}.png") for frame in frames]
    return [frame for frame in found if is_file(root / str(frame.annotation))]


def read_classes(
    path: Path, image: np.ndarray, where: str, n: int, void: tuple[int, ...], else_it_is: str
) -> tuple[np.ndarray, np.ndarray]:
    """(classes int64 [H,W], 0 where void; which pixels count, bool [H,W]) of the annotation of an image [H,W,3].

    BadData, which begins with `where`, for an annotation of another size, and one for numbers that are neither below
    `n` nor void, which says what it then is. BadImage for a picture that cannot be read.
    """
    labels = _numbers(path)
    if labels.shape != image.shape[:2]:
        raise BadData(
            f"{where} is {image.shape[1]} wide, {image.shape[0]} high, and its annotation "
            f"{labels.shape[1]} wide, {labels.shape[0]} high; they must be equal"
        )
    valid = np.isin(labels, void, invert=True)
    if valid.any() and (most := int(labels[valid].max())) >= n:
        of_void = " and ".join(map(str, sorted(void)))
        raise BadData(
            f"{path} holds the number {most}; 0 to {n - 1} are classes and {of_void} "
            f"{'is' if len(void) == 1 else 'are'} void: this is {else_it_is}"
        )
    return np.where(valid, labels, 0).astype(np.int64), valid


def _numbers(path: Path) -> np.ndarray:
    try:
        with opened_picture(path, formats()) as picture:
            mode, labels = picture.mode, np.array(picture)
    except Exception as error:  # damaged pictures make pillow raise nearly anything
        raise BadImage(f"{path} cannot be read as an annotation: {reason(error)}") from error
    if mode not in ("L", "P"):
        raise BadData(f"{path} has the mode {mode}; one channel of 8 bits is needed, a class in each pixel")
    return labels


def _stem(image: str) -> str:
    return PurePosixPath(image).stem.removesuffix(COLOURS)
