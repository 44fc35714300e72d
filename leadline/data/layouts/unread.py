"""What a data set's folder holds that a user may think is read: pictures in formats that are not, folders that may not
be entered, frames whose files are not there. It is said, so that nothing is passed over silently.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from leadline.core.formats import is_other_picture, passed_over
from leadline.core.text import some
from leadline.data.dataset import Dataset
from leadline.data.layouts.filelist import is_file, walk
from leadline.data.layouts.frame import Frame


def unread(folder: Path) -> str:
    """One line on what in a folder and those below it has the ending of a picture that is not read, or may not be
    entered; "" if nothing does.
    """
    refused: list[str] = []
    files = [file for file in walk(folder, refused) if is_other_picture(file)]
    return passed_over(str(folder), files, {f"the folder {name}": "it may not be read" for name in refused})


def with_files(data: Dataset, root: Path, say: Callable[[str], None]) -> Dataset:
    """`data` without the frames of which a file is missing, as lists may name them, or empty; `say` gets a line that
    counts them. No file is opened. If no frame is whole, all stay, and reading them says what is wrong.
    """
    lost = {key: file for key in data.keys if isinstance(key, Frame) and (file := _missing(root, key)) is not None}
    if not lost or len(lost) == len(data):
        return data
    message = f"left out {len(lost)} of {len(data)} frames whose files are missing or empty"
    say(f"{data.name}: {message}: {some([*lost.values()])}")
    return replace(data, keys=tuple(key for key in data.keys if key not in lost))


def _missing(root: Path, frame: Frame) -> str | None:
    files = [file for file in (frame.image, frame.depth, frame.right, frame.annotation) if file is not None]
    return next((file for file in files if not is_file(root / file) or not os.path.getsize(root / file)), None)
