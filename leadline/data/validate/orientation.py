"""What the EXIF orientation of photographs does to their depth: which are turned, and whether sizes say how."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from leadline.core.errors import LeadlineError
from leadline.core.formats import formats
from leadline.core.orientation import UPRIGHT, exchanges, of_file
from leadline.core.text import some
from leadline.data.dataset import Dataset, evenly
from leadline.data.depth_io import read_values
from leadline.data.layouts.description import Description
from leadline.data.layouts.frame import Frame
from leadline.data.pictures import opened_picture
from leadline.data.validate.finding import Finding
from leadline.data.validate.registration import Edges, alignment, edges

_LOOKED_AT = 32  # so many of the photographs that are turned are looked at with their depth
_TAIL = 1 << 16
_ADVICE = (
    "look at some with `leadline data show`; dataset.toml may say how depth lies: orientation = "
    '"stored", as the pixels of the file, "upright", or "ignored" where the tag is wrong'
)


def check_turned(root: Path, data: Dataset, description: Description) -> Iterator[Finding]:
    """How many photographs with depth are turned by their EXIF block, and how their depth is taken to lie.

    A warning where sizes cannot tell and nobody says it. Depth that fits better turned is an error, on these frames
    alone: the check of all frames would not see a fault of a few.
    """
    frames = [key for key in data.keys if isinstance(key, Frame) and (key.depth or key.right)]
    turns = {frame: turn for frame in frames if (turn := _orientation(root / frame.image)) != UPRIGHT}
    pairs = [frame for frame in turns if frame.right]
    if pairs:
        what = f"{len(pairs)} stereo pairs have an EXIF orientation, which is not applied: turned they are no pair"
        yield Finding("note", what, str(root), "nothing to do, if both views lie as the cameras see them")
    turns = {frame: turn for frame, turn in turns.items() if not frame.right}
    if not turns:
        return
    looked_at = [list(turns)[i] for i in evenly(_LOOKED_AT, len(turns))]
    yield _counted(root, len(frames), turns, looked_at, description)
    if len(turns) == len(frames):
        return  # what is said of all frames is said of these
    for finding in alignment(list(_edges(data, looked_at)), str(root)):
        if finding.severity == "error":
            what = f"of the photographs that EXIF turns: {finding.what}"
            yield Finding("error", what, some([frame.image for frame in turns]), _ADVICE)


def _counted(
    root: Path, n: int, turns: Mapping[Frame, int], looked_at: Sequence[Frame], description: Description
) -> Finding:
    tags = ", ".join(f"{count} by tag {tag}" for tag, count in sorted(Counter(turns.values()).items()))
    what = f"{len(turns)} of {n} photographs with depth have an EXIF orientation ({tags})"
    if description.orientation is not None:
        lies = {"stored": "depth is turned with them", "upright": "depth is upright already"}
        usage = lies.get(description.orientation, "which is ignored")
        return Finding("note", f"{what}; {usage}, as dataset.toml says", str(root), "nothing to do")
    fits = Counter(_fit(root, frame, turns[frame]) for frame in looked_at)
    counted = "; ".join(f"{count} {fit}" for fit, count in sorted(fits.items()))
    of = "" if len(looked_at) == len(turns) else f" ({len(looked_at)} looked at)"
    return Finding("warning" if _UNSURE in fits else "note", f"{what}; their depth{of}: {counted}", str(root), _ADVICE)


_UNSURE = "turned by 180 degrees, mirrored or square: sizes cannot tell, taken to lie as stored and turned with them"


def _fit(root: Path, frame: Frame, turn: int) -> str:
    try:
        with opened_picture(root / frame.image, formats()) as image:
            wide, high = image.size  # of a TIFF or HEIC, once it is upright
            if exchanges(turn) and image.format not in ("TIFF", "HEIF"):
                wide, high = high, wide
        depth = read_values(root / str(frame.depth)).shape
    except Exception:  # damaged pictures make pillow raise nearly anything
        return "cannot be read"
    if not exchanges(turn) or depth[0] == depth[1] or wide == high:
        return _UNSURE
    upright = (depth[0] < depth[1]) == (high < wide)
    return "fits upright and is left so" if upright else "fits the photograph as stored and is turned with it"


def _edges(data: Dataset, frames: Sequence[Frame]) -> Iterator[Edges]:
    for frame in frames:
        try:
            found = edges(data.read(frame))
        except (LeadlineError, OSError):
            continue
        if found is not None:
            yield found


def _orientation(path: Path) -> int:
    """The EXIF orientation by the file's header; a PNG, which pillow would decode for it, is searched for the chunk."""
    try:
        with opened_picture(path, formats()) as image:
            if image.format == "PNG" and "exif" not in image.info and not _ends_with_exif(path):
                return UPRIGHT
            return of_file(image)
    except Exception:  # reading it will name what is wrong
        return UPRIGHT


def _ends_with_exif(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL))
        return b"eXIf" in file.read()
