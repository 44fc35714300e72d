"""Which files are photographs by their endings, and which formats pillow may try when it opens one."""

from __future__ import annotations

import functools
import importlib
import importlib.util

from PIL import features

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
