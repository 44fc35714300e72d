"""Which files are photographs by their endings, which formats pillow may try when it opens one, and why others are
passed over.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping

from PIL import features

from leadline.core.text import shown

# Format of pillow -> endings. Stated, so that pillow never tries formats that start other programs (EPS) or hold no
# photograph.
_FORMATS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".jfi", ".mpo"),
    "PNG": (".png", ".apng"),
    "WEBP": (".webp",),
    "BMP": (".bmp", ".dib"),
    "TIFF": (".tif", ".tiff"),
    "GIF": (".gif",),
    "PPM": (".ppm", ".pgm", ".pnm"),
    "JPEG2000": (".jp2", ".j2k"),
    "AVIF": (".avif",),
    "HEIF": (".heic", ".heif", ".hif"),
}
_IF_BUILT = {"WEBP": "webp", "JPEG2000": "jpg_2000", "AVIF": "avif"}
_HEIF_READER = "pillow_heif"

_RAW = ".3fr .arw .cr2 .cr3 .dng .erf .kdc .mos .mrw .nef .nrw .orf .pef .raf .raw .rw2 .sr2 .srw .x3f"
_VIDEO = ".3gp .avi .flv .insv .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .webm .wmv"
_OTHER = (
    ".ai .cur .dds .emf .eps .hdp .icns .ico .j2c .jpc .jpf .jpx .jxl .jxr .pbm .pcx .pdf .psb .psd .sgi .svg .tga "
    ".wdp .wmf .xcf"
)
_HEIC = "HEIC, read where pillow-heif is installed: pip install pillow-heif"
_AVIF = "AVIF, read by newer pillows: pip install -U pillow"
_WHY = {
    **dict.fromkeys(_RAW.split(), "a raw format, save it as JPEG or PNG first"),
    **dict.fromkeys(_VIDEO.split(), "a video, save its frames first"),
    **dict.fromkeys(_OTHER.split(), "not read, save it as JPEG or PNG first"),
    **dict.fromkeys((".heic", ".heif", ".hif"), _HEIC),
    **dict.fromkeys((".avif", ".avifs"), _AVIF),
    **dict.fromkeys((".webp", ".jp2", ".j2k"), "not read by the pillow that is installed: pip install -U pillow"),
}
_BESIDE = ".aae .csv .db .html .ini .json .log .md .npy .npz .ply .rst .thm .toml .txt .url .xml .xmp .yaml .yml"


def _is_read(name: str) -> bool:
    """Whether the pillow that is installed reads the format; HEIF (HEIC) by the package pillow-heif, if it is there."""
    if name == "HEIF":
        return importlib.util.find_spec(_HEIF_READER) is not None
    return name not in _IF_BUILT or bool(features.check(_IF_BUILT[name]))


IMAGE_SUFFIXES = tuple(ending for name, endings in _FORMATS.items() if _is_read(name) for ending in endings)
"""What counts as an image when a folder is read: what the pillow that is installed reads."""


@functools.cache
def formats() -> tuple[str, ...]:
    """The formats that pillow may try when it opens a photograph, the reader of HEIC made known to it."""
    found = [name for name, endings in _FORMATS.items() if endings[0] in IMAGE_SUFFIXES]
    if "HEIF" in found:
        try:
            importlib.import_module(_HEIF_READER).register_heif_opener()
        except ImportError:  # installed for another system
            found.remove("HEIF")
    return tuple(found)


def suffix(file: str) -> str:
    """The ending, in lower case; blanks and dots behind it do not count: `a.JPG ` -> `.jpg`"""
    return os.path.splitext(file.rstrip(" ."))[1].lower()


def is_other_picture(file: str) -> bool:
    """Whether the ending is that of a picture or video in a format that is not read."""
    return (ending := suffix(file)) in _WHY and ending not in IMAGE_SUFFIXES


def is_beside(file: str) -> bool:
    """Whether the file is what often lies beside photographs: texts, tables, arrays, point clouds, README."""
    return suffix(file) in _BESIDE.split() or re.fullmatch("[A-Za-z]+", os.path.basename(file)) is not None


def passed_over(where: str, files: Iterable[str], others: Mapping[str, str]) -> str:
    """One line that counts `files`, which are not read, by their endings with the reasons, and names `others`, each
    with its reason; "" if there are none.
    """
    counts = Counter(map(suffix, files))
    why = {ending: _WHY.get(ending, "no ending of a photograph") for ending in sorted(counts)}
    parts = []
    for reason in dict.fromkeys(why.values()):
        same = ", ".join(f"{counts[end]} {end or 'without an ending'}" for end in why if why[end] == reason)
        parts.append(f"{same} ({reason})")
    parts += [f"{name} ({reason})" for name, reason in others.items()]
    return shown(f"{where}: passed over {', '.join(parts)}") if parts else ""


def guess(start: bytes) -> str:
    """What a file that is no readable photograph is, by its first bytes, as far as that helps; "" if unknown."""
    if start[4:8] == b"ftyp" and start[8:12] in (b"avif", b"avis"):
        return _AVIF if "AVIF" not in formats() else ""
    if start[4:8] == b"ftyp" and start[8:12] in (b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"heim", b"heis"):
        return _HEIC if "HEIF" not in formats() else ""
    if start.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS; git lfs pull brings the file itself"
    if start.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page or XML; download the file again"
    return "a text" if start and all(32 <= byte < 127 or byte in b"\t\r\n" for byte in start) else ""
