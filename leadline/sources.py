"""What a user means by images: a file, a folder, a pattern or a list, as a list of files."""

from __future__ import annotations

import glob
from pathlib import Path

from leadline.errors import BadImage
from leadline.own import without_results
from leadline.preprocess import IMAGE_SUFFIXES


def sources(source: str | Path) -> list[Path]:
    """The images that `source` names, in order:

    1. a folder: the files in it (not in folders below) that end in IMAGE_SUFFIXES, by name, but leadline's own results;
    2. a `.txt` file: one path a line, relative to the list's own folder; blank lines and lines with # do not count;
    3. any other file: itself;
    4. a pattern such as `photos/**/*.jpg`: the files that match, by name, but leadline's own results among others.

    BadImage if it names nothing. A file that a list names but that does not exist is kept: its turn brings the error.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        found = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
        found = without_results(found)
        reason = (
            f"the folder {path} holds no image ({' '.join(IMAGE_SUFFIXES)}); for folders below it use '{path}/**/*.jpg'"
        )
    elif path.suffix.lower() == ".txt" and path.is_file():
        found = _listed(path)
        reason = f"the list {path} names no image; one path a line is needed"
    elif path.exists():
        return [path]
    else:
        found = sorted(p for p in map(Path, glob.glob(str(path), recursive=True)) if p.is_file())
        found = without_results(found) or found  # a pattern may mean them
        what = "no file matches" if glob.has_magic(str(path)) else "there is no"
        reason = f"{what} {path}; an image, a folder, a pattern in quotes or a .txt list of images is needed"
    if not found:
        raise BadImage(reason)
    return found


def _listed(path: Path) -> list[Path]:
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise BadImage(f"{path} is not a text file (UTF-8)") from None
    entries = [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]
    return [path.parent / Path(entry).expanduser() for entry in entries]
