"""What a folder holds beside its photographs that a user may take for one: files in formats that are not read, pipes,
folders that may not be entered. Said in one line, so that nothing is passed over silently.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from leadline.data.dataset import Dataset
from leadline.data.filelist import is_file, is_hidden, walk
from leadline.data.finding import some
from leadline.data.frame import Frame
from leadline.formats import IMAGE_SUFFIXES
from leadline.text import shown

_RAW = ".3fr .arw .cr2 .cr3 .dng .erf .kdc .mos .mrw .nef .nrw .orf .pef .raf .raw .rw2 .sr2 .srw .x3f"
_VIDEO = ".3gp .avi .flv .insv .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .webm .wmv"
_OTHER = (
    ".ai .cur .dds .emf .eps .hdp .icns .ico .j2c .jpc .jpf .jpx .jxl .jxr .pbm .pcx .pdf .psb .psd .sgi .svg .tga "
    ".wdp .wmf .xcf"
)
_WHY = {
    **dict.fromkeys(_RAW.split(), "a raw format, save it as JPEG or PNG first"),
    **dict.fromkeys(_VIDEO.split(), "a video, save its frames first"),
    **dict.fromkeys(_OTHER.split(), "not read, save it as JPEG or PNG first"),
    **dict.fromkeys((".heic", ".heif", ".hif"), "HEIC, read where pillow-heif is installed: pip install pillow-heif"),
    **dict.fromkeys((".avif", ".avifs"), "AVIF, read by newer pillows: pip install -U pillow"),
    **dict.fromkeys((".webp", ".jp2", ".j2k"), "not read by the pillow that is installed: pip install -U pillow"),
}
_BESIDE = ".aae .csv .db .html .ini .json .log .md .npy .npz .ply .rst .thm .toml .txt .url .xml .xmp .yaml .yml"
_UNKNOWN = "no ending of a photograph"


def unread(folder: Path) -> str:
    """One line on what in a folder and those below it has the ending of a picture that is not read, or may not be
    entered; "" if nothing does.
    """
    refused: list[str] = []
    counts = Counter(ending for file in walk(folder, refused) if (ending := suffix(file)) in _WHY)
    return _said(folder, {ending: _WHY[ending] for ending in counts if ending not in IMAGE_SUFFIXES}, counts, refused)


def unread_here(folder: Path) -> str:
    """As `unread`, of the files right in the folder, where only photographs are looked for: any other file counts but
    texts, tables, arrays and point clouds. "" also if there is no such folder.
    """
    try:
        with os.scandir(folder) as listing:
            files = [entry for entry in listing if not is_hidden(entry.name) and not os.path.isdir(entry.path)]
    except OSError:  # it is no folder, or may not be read
        return ""
    counts: Counter[str] = Counter()
    why: dict[str, str] = {}
    for entry in files:
        ending = suffix(entry.name)
        if os.path.exists(entry.path) and not os.path.isfile(entry.path):
            ending, why["pipe or device"] = "pipe or device", "no file"
        elif (
            ending in IMAGE_SUFFIXES
            or ending in _BESIDE.split()
            or (not ending and re.fullmatch("[A-Za-z]+", entry.name))
        ):
            continue  # README and LICENSE are no photographs
        counts[ending or "without an ending"] += 1
        why.setdefault(ending or "without an ending", _WHY.get(ending, _UNKNOWN))
    return _said(folder, why, counts, ())


def with_files(data: Dataset, root: Path, say: Callable[[str], None]) -> Dataset:
    """`data` without the frames of which a file is not there, as lists may name them; `say` is told how many. No file
    is opened. If no frame is whole, all stay, and reading them says what is wrong.
    """
    lost = {key: file for key in data.keys if isinstance(key, Frame) and (file := _missing(root, key)) is not None}
    if not lost or len(lost) == len(data):
        return data
    say(f"{data.name}: left out {len(lost)} of {len(data)} frames whose files are not there: {some([*lost.values()])}")
    return replace(data, keys=tuple(key for key in data.keys if key not in lost))


def _missing(root: Path, frame: Frame) -> str | None:
    files = [file for file in (frame.image, frame.depth, frame.right) if file is not None]
    return next((file for file in files if not is_file(root / file)), None)


def suffix(file: str) -> str:
    """The ending, in lower case; blanks and dots behind it do not count: `a.JPG ` -> `.jpg`"""
    return os.path.splitext(file.rstrip(" ."))[1].lower()


def _said(folder: Path, why: dict[str, str], counts: Counter[str], refused: Iterable[str]) -> str:
    parts = []
    for reason in dict.fromkeys(why.values()):
        endings = sorted(ending for ending in why if why[ending] == reason)
        parts.append(f"{', '.join(f'{counts[ending]} {ending}' for ending in endings)} ({reason})")
    parts += [f"the folder {name or folder} (it may not be read)" for name in refused]
    return f"{shown(folder)}: passed over {shown(', '.join(parts))}" if parts else ""
