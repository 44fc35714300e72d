"""What a check has to say of folders: images in no part, depth that is there and not read, and what masks take away."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from leadline.core.errors import LeadlineError
from leadline.core.text import some
from leadline.data.dataset import Dataset, evenly
from leadline.data.layouts.description import FILE_NAME, Description
from leadline.data.layouts.frame import Frame
from leadline.data.layouts.homes import homes
from leadline.data.layouts.masks import read_mask
from leadline.data.layouts.parts import SPLITS
from leadline.data.layouts.unlabelled import depth_like, passed_over
from leadline.data.validate.finding import Finding

_N_MASKS = 16


def notes(root: Path, description: Description, data: Dataset, stated: bool = False) -> Iterator[Finding]:
    """All that has to be said of the folders of a data set, opened whole. `stated`: its layout was given."""
    yield from part_notes(root, data)
    if data.note:  # a note about lists: here no part is requested that another could replace
        yield Finding("warning", data.note, str(root), "correct the list, or bring back the files")
    yield from folder_notes(root, description, [key for key in data.keys if isinstance(key, Frame)])
    if description.layout == "unlabelled" and root.is_dir():
        yield from _unpaired(root, stated)
        if n := passed_over(root):
            what = f"{n} pictures are no photographs: depth, labels, masks or the like, by name or by one channel"
            yield Finding("note", what, str(root), "no teacher is asked about them")


def part_notes(root: Path, data: Dataset) -> Iterator[Finding]:
    """Images that no part has, and that val stands in for a test part that is not there."""
    sizes = dict(data.parts)
    others = {part: n for part, n in sizes.items() if part not in (*SPLITS, "holdout")}
    if others and data.rule.startswith("by "):
        what = (
            f"{sum(others.values())} frames are in no part: {', '.join(f'{n} in {part}' for part, n in others.items())}"
        )
        advice = "call their folder or list train, val or test, or ask for it by its name (--split)"
        yield Finding("warning", what, str(root), advice)
    if "val" in sizes and "test" not in sizes:
        what = "there is no test part, so val stands in for it where a test part is asked for"
        yield Finding("note", what, str(root), "do not choose on val and then report it as a test")


def folder_notes(root: Path, description: Description, frames: Sequence[Frame]) -> Iterator[Finding]:
    """Further folders of depth maps that are not read, and masks: which, and how much depth they take away."""
    if description.layout == "folder" and root.is_dir():
        unread = [f"{home.folder}/{name}".lstrip("/") for home in homes(root) for name in home.unread]
        if unread:
            read = sorted({PurePosixPath(frame.depth).parts[0] for frame in frames if frame.depth})
            what = f"{some(unread)} look like depth, too, and are not read; {some(read)} is"
            yield Finding("note", what, str(root), "give the folder that should be read the name depth")
    masked = [frame for frame in frames if frame.mask]
    if masked:
        folders = Counter(PurePosixPath(frame.mask or "").parent.as_posix() for frame in masked)
        shares = [_taken(root, masked[i]) for i in evenly(_N_MASKS, len(masked))]
        taken = float(np.mean([share for share in shares if share is not None] or [0.0]))
        where = some(list(folders))
        what = f"masks or confidence in {where} take {taken:.0%} of the pixels: where they are 0, depth does not count"
        advice = f"masks = false in {FILE_NAME} reads the depth without them"
        yield Finding("warning" if taken > 0.5 else "note", what, str(root), advice)


def _unpaired(root: Path, stated: bool) -> Iterator[Finding]:
    """What looks like depth among images that have none: an error, unless the layout was given."""
    found = depth_like(root)
    if found:
        n = sum(map(len, found.values()))
        places = some(
            [f"{folder}/ ({len(files)}, such as {PurePosixPath(files[0]).name})" for folder, files in found.items()]
        )
        what = f"{n} files look like depth maps, and none is paired with an image: {places}"
        advice = (
            "beside a folder of images (images, rgb, color ...) put their depth maps into one called depth, under the"
            " same names, or write train.txt with a line `image depth` for each; if they are not depth, or should"
            f' not count: layout = "unlabelled" in {FILE_NAME}'
        )
        yield Finding("note" if stated else "error", what, str(root), advice)


def _taken(root: Path, frame: Frame) -> float | None:
    try:
        return float(1 - read_mask(root / str(frame.mask)).mean())
    except LeadlineError:
        return None  # named by the check of the files
