"""Whether the test part shows what the train part shows: near-equal views across the splits, found by a small hash."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from leadline.core.formats import formats
from leadline.core.preprocess import read_image
from leadline.data.dataset import Dataset
from leadline.data.layouts.filelist import is_file, natural
from leadline.data.layouts.frame import Frame
from leadline.data.layouts.parts import part_of
from leadline.data.pictures import opened_picture
from leadline.data.validate.finding import Finding

# Distances of two hashes: differing bits per bit that either has. Unrelated pictures: 0.45 to 0.7; neighbouring frames
# of a video: 0.1 to 0.35.
_NEAR, _SAME_VIEW = 0.30, 0.42
_PER_TEST_ITEM = 4  # so many train items are looked at for each test item


def view_hash(image: np.ndarray | Image.Image) -> np.ndarray:
    """256 bits (bool): whether brightness grows from each of 16 x 17 cells to its right neighbour."""
    picture = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    cells = np.asarray(picture.convert("L").resize((17, 16), Image.Resampling.BOX), np.int16)
    return np.asarray(cells[:, 1:] > cells[:, :-1]).ravel()


def leakage(root: Path, train: Dataset, test: Dataset, n: int, name: str = "test") -> Iterator[Finding]:
    """Views of the test part (or of another, by `name`) that train has, too: by `n` test items spread over the part,
    and 4 `n` train items.

    Half of the train items are the neighbours of the test items in the order of their names (without the parts' names),
    because frames of one video that were dealt out at random are neighbours; the others are spread.
    """
    chosen = _spread(len(test), n)
    near = _neighbours(train, test, chosen)[: _PER_TEST_ITEM * n // 2]
    against = sorted({*near, *_spread(len(train), _PER_TEST_ITEM * n - len(near))})
    ours = {i: bits for i in chosen if (bits := _hash(root, test, i)) is not None}
    theirs = {j: bits for j in against if (bits := _hash(root, train, j)) is not None}
    if not ours or not theirs:
        return
    a, b = np.array(list(ours.values()), np.int32), np.array(list(theirs.values()), np.int32)
    differing = a @ (1 - b.T) + (1 - a) @ b.T  # [test, train]
    distance = differing / np.maximum(differing + a @ b.T, 1)
    nearest = distance.min(1)
    equal, alike = float(np.mean(nearest <= _NEAR)), float(np.mean(nearest <= _SAME_VIEW))
    if max(equal / 0.05, alike / 0.2) < 1 or np.sum(nearest <= _SAME_VIEW) < 3:
        return
    i, j = np.unravel_index(int(distance.argmin()), distance.shape)
    example = f"{_name(test, list(ours)[i])} and {_name(train, list(theirs)[j])}"
    what = f"{equal:.0%} of the {name} images have a near-equal one in train, {alike:.0%} a similar view"
    what = f"{what}, such as {example}"
    advice = f"split by scenes or by long runs of frames, not by single frames: else {name} results are too good"
    yield Finding("error" if equal >= 0.25 else "warning", what, str(root), advice)


def _hash(root: Path, data: Dataset, index: int) -> np.ndarray | None:
    key = data.keys[index]
    try:
        if not isinstance(key, Frame):
            return view_hash(data[index].image)
        if is_file(root / key.image) and key.image.lower().endswith((".jpg", ".jpeg", ".jfif")):
            with opened_picture(root / key.image, formats()) as picture:
                picture.draft("L", (64, 64))  # decodes an eighth of the size only
                return view_hash(picture)
        return view_hash(read_image(root / key.image))
    except Exception:  # damaged pictures make pillow raise nearly anything
        return None  # named by the check of the files


def _spread(count: int, n: int) -> list[int]:
    return sorted({int(i) for i in np.linspace(0, count - 1, min(n, count))}) if count and n > 0 else []


def _neighbours(train: Dataset, test: Dataset, chosen: Sequence[int]) -> list[int]:
    """Train items right before and after the chosen test items, in the natural order of all names."""
    names = [(_name(data, i), part, i) for part, data in enumerate((train, test)) for i in range(len(data))]
    order = sorted((_order(name), part, i) for name, part, i in names)
    place = {i: at for at, (_, part, i) in enumerate(order) if part}
    found: dict[int, None] = {}
    for i in chosen:
        for step in (-1, 1):
            at = place[i] + step
            while 0 <= at < len(order) and order[at][1] and abs(at - place[i]) < 8:
                at += step
            if 0 <= at < len(order) and not order[at][1]:
                found[order[at][2]] = None
    return list(found)


def _order(name: str) -> tuple[tuple[bool, int, str], ...]:
    folders = [folder for folder in name.split("/")[:-1] if part_of(folder) is None]
    bare = "/".join([*folders, name.rpartition("/")[2]])
    for part in ("train", "test", "val"):
        bare = bare.replace(part, "")
    return natural(bare)


def _name(data: Dataset, index: int) -> str:
    key = data.keys[index]
    return key.name if isinstance(key, Frame) else str(key)
