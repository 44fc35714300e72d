"""From which folders a data set is read: nothing else may be written there."""

from __future__ import annotations

import os
from pathlib import Path

from leadline.data.dataset import Dataset
from leadline.data.layouts.frame import Frame


def folders_read(root: Path, data: Dataset) -> list[Path]:
    """The folders, also behind links, of the files that the items of `data` name; of images without depth `root` too,
    below which every image counts.
    """
    top = root if root.is_dir() else root.parent
    folders = {Path(folder) for key in data.keys for file in _files(key) for folder in _homes(top / file)}
    if all(isinstance(key, Frame) and key.depth is None for key in data.keys):
        folders.add(top)
    return sorted(folders)


def _files(key: object) -> list[str]:
    """The files that a key names: every text of it that is not a name."""
    fields = getattr(key, "_fields", ())
    values = {field: getattr(key, field) for field in fields if field not in ("name", "camera")}
    return [value for value in values.values() if isinstance(value, str)]


def _homes(path: Path) -> set[str]:
    return {os.path.dirname(path), *([os.path.dirname(os.path.realpath(path))] if os.path.islink(path) else [])}
