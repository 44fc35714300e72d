"""Frame: the files of one item of a data set, and how they become a Sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from leadline.data.dataset import Dataset
from leadline.data.depth_io import read_values, to_metres
from leadline.data.description import Description
from leadline.data.turning import as_stored, turned_along, with_photograph
from leadline.errors import BadData
from leadline.geometry import scale_intrinsics
from leadline.orientation import UPRIGHT, turned_intrinsics, turned_size
from leadline.preprocess import read_upright
from leadline.types import Sample

T = TypeVar("T")
SPLITS = ("train", "test", "all")


class Frame(NamedTuple):
    """Files relative to the data set's folder. `camera` says which of its cameras took it; `name` is unique."""

    name: str
    image: str
    depth: str | None = None
    right: str | None = None
    camera: str = ""


@dataclass(frozen=True)
class Camera:
    """Intrinsics in pixels for images of `size` (height, width); None: for the images as they are on disk."""

    fx: float
    fy: float
    cx: float
    cy: float
    size: tuple[int, int] | None = None
    baseline_m: float | None = None

    def matrix(self, size: tuple[int, int], orientation: int = UPRIGHT, lies: str | None = None) -> np.ndarray:
        """float64 [3,3] for images of `size`; pixel centres lie at whole numbers.

        For images that were turned upright by an EXIF `orientation`, the intrinsics are those of the image as it is
        stored, unless only the upright one fits them (the size, else the principal point); `lies` as in Description.
        """
        own = np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1]], np.float64)
        if not with_photograph(self.size or (2 * self.cy, 2 * self.cx), size, orientation, lies):
            return scale_intrinsics(own, self.size or size, size)
        stored = turned_size(size, orientation)
        return turned_intrinsics(scale_intrinsics(own, self.size or stored, stored), stored, orientation)


@dataclass(frozen=True)
class Source:
    """What all frames of a data set share, bound to `read_frame`. It pickles, for worker processes.

    `scales` are the layout's own units per metre for each stored number type, used when the description states none;
    `marks` are its own further values for "no depth".
    """

    root: Path
    description: Description
    cameras: Mapping[str, Camera] = field(default_factory=dict)
    scales: Mapping[str, float] = field(default_factory=dict)
    marks: tuple[int, ...] = ()

    def read(self, frame: Frame) -> Sample:
        """The Sample of one frame; BadImage or BadData names the file that cannot be read.

        The image is turned upright as its EXIF block says, and depth and intrinsics with it; see `orientation` in
        Description. The two images of a stereo pair stay as they are stored: turned, they would be no pair.
        """
        image, turn = read_upright(self.root / frame.image)
        values = None if frame.depth is None else read_values(self.root / frame.depth)
        right = None if frame.right is None else as_stored(*read_upright(self.root / frame.right))
        if frame.right is not None or self.description.orientation == "ignored":
            image, turn = as_stored(image, turn), UPRIGHT
        if values is not None and frame.depth is not None:
            lies = self.description.orientation
            values = turned_along(values, self.root / frame.depth, image.shape, turn, lies)
        return self.sample(frame.name, image, values, camera=frame.camera, right=right, orientation=turn)

    def sample(
        self,
        name: str,
        image: np.ndarray,
        values: np.ndarray | None,
        *,
        camera: str = "",
        right: np.ndarray | None = None,
        orientation: int = UPRIGHT,
    ) -> Sample:
        """The Sample made of an image and of stored depth values (None: without depth), both upright already;
        `orientation` is how the image was turned, which its intrinsics follow.

        Depth of another size but the same shape (height : width, to one pixel) is brought to the image's size by taking
        the nearest value, since a mean over an edge would invent a distance. Of another shape: BadData with both sizes.
        """
        size = (image.shape[0], image.shape[1])
        target, valid = np.zeros(size, np.float32), np.zeros(size, bool)
        if values is not None:
            depth, counts = self.measured(values)
            by = "" if orientation == UPRIGHT else f" (turned by its EXIF orientation {orientation})"
            pick = _nearest(depth.shape, size, f"{self.root}: {name}{by}")
            target, valid = depth[pick], counts[pick]
        if right is not None and right.shape != image.shape:
            raise BadData(f"{self.root}: {name}: left is {_size(size)} and right {_size(right.shape)}")
        seen = self._camera(camera)
        return Sample(
            image=image,
            target=target,
            valid=valid,
            name=name,
            intrinsics=None if seen is None else seen.matrix(size, orientation, self.description.orientation),
            right=right,
            baseline_m=None if seen is None or right is None else seen.baseline_m,
        )

    def measured(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(metres, valid) of stored values, by the description: scale, offset, marks and range."""
        said = self.description
        scale = self.scales.get(values.dtype.name) if said.depth_scale is None else said.depth_scale
        marks = (said.invalid, *self.marks)
        depth, valid = to_metres(values, scale=scale, offset=said.depth_offset, invalid=marks)
        if said.min_depth is not None:
            valid &= depth >= said.min_depth
        if said.max_depth is not None:
            valid &= depth <= said.max_depth
        return np.where(valid, depth, np.float32(0)), valid

    def _camera(self, name: str) -> Camera | None:
        said, camera = self.description.intrinsics, self.cameras.get(name)
        return camera if said is None else Camera(*said, baseline_m=None if camera is None else camera.baseline_m)


def dataset(source: Source, parts: Mapping[str, Sequence[Frame]], split: str, note: str = "") -> Dataset:
    """The Dataset of the frames that `choose` takes."""
    name = " ".join(filter(None, (source.root.resolve().name, split, note)))
    return Dataset(name, choose(parts, split, source.description, source.root), source.read)


def with_rest(parts: Mapping[str, Sequence[Frame]], frames: Sequence[Frame]) -> dict[str, Sequence[Frame]]:
    """`parts` with those of `frames`, all in order, that have no depth: each belongs where the last one before it in
    its folder does that has some (or else the first), for neighbours show the same; in a folder without, to `train`.
    """
    of = {frame: part for part, own in parts.items() for frame in own}
    here: dict[str, str] = {}
    for frame in reversed([frame for frame in frames if frame in of]):
        here[Path(frame.image).parent.as_posix()] = of[frame]
    made: dict[str, list[Frame]] = {part: [] for part in {"train": (), **parts}}
    for frame in frames:
        folder = Path(frame.image).parent.as_posix()
        here[folder] = of.get(frame, here.get(folder, "train"))
        if frame in of or frame.depth is None:
            made[here[folder]].append(frame)
    return dict(made)


def choose(parts: Mapping[str, Sequence[T]], split: str, description: Description, root: Path) -> tuple[T, ...]:
    """The items of one split out of a layout's `parts` (usually train and test); `all` is train, test, then the rest.

    A description that says the whole folder is one part overrules the layout. No items at all: BadData.
    """
    allowed = (*SPLITS, *(part for part in parts if part not in SPLITS))
    if split not in allowed:
        raise ValueError(f"split is {split!r}; allowed: {', '.join(allowed)}")
    every = [item for part in parts.values() for item in part]
    if description.split is not None:
        parts = {description.split: every}
    chosen = tuple(every if split == "all" else parts.get(split, ()))
    if not chosen:
        sizes = ", ".join(f"{part} {len(items)}" for part, items in parts.items()) or "nothing"
        raise BadData(f"{root} has no frames for the split {split!r} (it has: {sizes})")
    return chosen


def by_order(items: Sequence[T], description: Description, fraction: float = 0.2) -> dict[str, Sequence[T]]:
    """The parts without lists: the last `test_fraction` of the items in order (or `fraction`) is test, the rest train.

    In order, not at random: neighbouring frames of a video show the same thing, so a random choice would leak.
    """
    share = fraction if description.test_fraction is None else description.test_fraction
    n_test = round(len(items) * share)
    if 0 < share < 1 and len(items) > 1:
        n_test = min(max(n_test, 1), len(items) - 1)
    return {"train": items[: len(items) - n_test], "test": items[len(items) - n_test :]}


def _nearest(have: tuple[int, ...], want: tuple[int, int], where: str) -> tuple[np.ndarray, ...]:
    """Row and column indices that take a map of size `have` to size `want`."""
    (height, width), (rows, columns) = have, want
    if _off(have, want) > 1:
        hint = ""
        if _off((width, height), want) <= 1:
            hint = (
                "; one of the two is turned by 90 degrees, since the image's EXIF orientation was lost, is wrong, or"
                " was applied to one only: turn one, or see `orientation` in dataset.toml"
            )
        raise BadData(
            f"{where}: the image is {_size(want)} and its depth {_size(have)}{hint}; sizes must be equal, or at least"
            " of the same shape: crop or pad one to the other's view first"
        )
    to_row = ((np.arange(rows) + 0.5) * height / rows).astype(np.intp)
    to_column = ((np.arange(columns) + 0.5) * width / columns).astype(np.intp)
    return np.ix_(to_row, to_column)


def _off(have: tuple[int, ...], want: tuple[int, ...]) -> float:
    """By how many pixels of the smaller one two sizes miss the same shape."""
    (height, width), (rows, columns) = (have, want) if have[0] * have[1] <= want[0] * want[1] else (want, have)
    return min(abs(height - width * rows / columns), abs(width - height * columns / rows))


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} wide, {shape[0]} high"
