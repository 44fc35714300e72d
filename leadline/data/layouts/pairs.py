"""Which depth map belongs to which image, and which mask to which depth map, by the names of the files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from leadline.core.errors import BadData
from leadline.data.layouts.filelist import stem
from leadline.data.layouts.parts import part_of
from leadline.data.layouts.words import TELLING, bits


def pair(images: Sequence[str], others: Sequence[str], where: str) -> dict[str, str]:
    """Image -> its file among `others` (depth maps or masks); names are relative to the folder of each kind.

    Equal names but for the suffix belong together. What is left then belongs together if the names are equal without
    the words that tell the kind: `rgb_00045.jpg` and `sync_depth_00045.png`. BadData, which begins with `where`, if two
    files are for one image or one for two.
    """
    exact = _by_stem(others, where)
    found = {image: exact[stem(image)] for image in images if stem(image) in exact}
    taken = set(found.values())
    loose: dict[tuple[str, ...], list[str]] = {}
    for file in others:
        if file not in taken:
            loose.setdefault(key(file), []).append(file)
    alike: dict[tuple[str, ...], list[str]] = {}
    for image in images:
        if image not in found and key(image) in loose:
            alike.setdefault(key(image), []).append(image)
    for name, own in alike.items():
        if len(own) > 1 or len(loose[name]) > 1:
            raise BadData(
                f"{where}: {' and '.join([*own, *loose[name]])} could all belong together; rename or remove some"
            )
        found[own[0]] = loose[name][0]
    return found


def key(file: str) -> tuple[str, ...]:
    """Of which frame a file is: its folders, and the parts of its name without the words that tell what the file is.

    `a/rgb_00045.jpg`, `A/sync_depth_00045.png` and `a/00045.png` have one key; `val/1.png` and `valid/1.npy`, too.
    """
    folders = [part_of(folder) or folder.lower() for folder in PurePosixPath(file).parts[:-1]]
    return ("/".join(folders), *(bit for bit in bits(file) if bit not in TELLING))


def refuse_twins(images: Sequence[str], where: str) -> None:
    """BadData if two images have one name but for the suffix."""
    seen: set[str] = set()
    for file in images:
        if stem(file) in seen:
            raise BadData(f"{where}: two images are called {stem(file)}; rename one")
        seen.add(stem(file))


def _by_stem(files: Sequence[str], where: str) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for file in files:
        if stem(file) in found:
            raise BadData(f"{where}: {found[stem(file)]} and {file} are for one image; keep one")
        found[stem(file)] = file
    return found
