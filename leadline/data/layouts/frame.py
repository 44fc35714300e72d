"""Frame: the files of one item of a data set, and how they become an Item."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from leadline.core.errors import BadData
from leadline.core.geometry import scale_intrinsics
from leadline.core.orientation import UPRIGHT, turned_intrinsics, turned_size
from leadline.core.preprocess import read_upright
from leadline.core.types import Item
from leadline.data.depth_io import read_stored
from leadline.data.depth_names import Stored
from leadline.data.layouts.description import Description
from leadline.data.layouts.masks import read_mask
from leadline.data.layouts.metres import ray_lengths, refuse_far, stored_to_metres
from leadline.data.layouts.turning import as_stored, turned_along, with_photograph

MAX_STRETCH = 0.03
"""So much may the shape (height : width) of a depth map differ from its image's."""

_FAR = 1.5
"""An optical axis that is so many times as far from the corner as the middle belongs to a picture of another size."""


class Frame(NamedTuple):
    """Files relative to the data set's folder. `camera` says which of its cameras took it; `name` is unique.

    Where `mask` is 0, depth does not count. `annotation` has a class in each pixel, see `annotations`.
    """

    name: str
    image: str
    depth: str | None = None
    right: str | None = None
    camera: str = ""
    mask: str | None = None
    annotation: str | None = None


@dataclass(frozen=True)
class Camera:
    """Intrinsics in pixels for images of `size` (height, width); None: for the images as they are on disk."""

    fx: float
    fy: float
    cx: float
    cy: float
    size: tuple[int, int] | None = None
    baseline_m: float | None = None

    def is_of_another_size(self, size: tuple[int, int], orientation: int = UPRIGHT) -> bool:
        """Whether intrinsics that state no size have their optical axis far from the middle of images of `size`, also
        as they were before an EXIF `orientation` turned them.
        """
        middle = (2 * self.cy + 1, 2 * self.cx + 1)
        ways = (size, turned_size(size, orientation))
        ratios = [[m / n for m, n in zip(middle, way, strict=True)] for way in ways]
        return self.size is None and all(max(ratio) > _FAR or min(ratio) < 1 / _FAR for ratio in ratios)

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

    def read(self, frame: Frame) -> Item:
        """The Item of one frame; BadImage or BadData names the file that cannot be read.

        The image is turned upright as its EXIF block says, and depth, mask and intrinsics with it; see `orientation` in
        Description. The two images of a stereo pair stay as they are stored: turned, they would be no pair.
        """
        image, turn = read_upright(self.root / frame.image)
        right = None if frame.right is None else as_stored(*read_upright(self.root / frame.right))
        if frame.right is not None or self.description.orientation == "ignored":
            image, turn = as_stored(image, turn), UPRIGHT
        along = partial(turned_along, upright=image.shape, orientation=turn, lies=self.description.orientation)
        stored = mask = None
        if frame.depth is not None:
            file = self.root / frame.depth
            stored = read_stored(file, key=self.description.depth_key)
            stored = replace(stored, values=along(stored.values, file))
        if frame.mask is not None and stored is not None:
            mask = along(read_mask(self.root / frame.mask), self.root / frame.mask)
        return self.sample(frame.name, image, stored, camera=frame.camera, right=right, mask=mask, orientation=turn)

    def sample(
        self,
        name: str,
        image: np.ndarray,
        values: np.ndarray | Stored | None,
        *,
        camera: str = "",
        right: np.ndarray | None = None,
        mask: np.ndarray | None = None,
        orientation: int = UPRIGHT,
    ) -> Item:
        """The Item made of an image and of stored depth values (None: without depth), which count only where `mask`,
        bool, says so. All are upright already; `orientation` is how the image was turned, which its intrinsics follow.

        Depth of another size is brought to the image's size by taking the nearest value, since a mean over an edge
        would invent a distance. If its shape (height : width) differs by up to MAX_STRETCH, each axis is stretched by
        itself: colour and depth of one view are often resampled to sizes of their own. Of another shape, or of equal
        width or height and so cropped: BadData with both sizes. The same holds for the mask.
        Depth that nothing on earth has, see `refuse_far`, is a BadData, too.
        """
        size = (image.shape[0], image.shape[1])
        target, valid = np.zeros(size, np.float32), np.zeros(size, bool)
        if values is not None:
            stored = values if isinstance(values, Stored) else Stored(values)
            depth, counts = self.metres(stored, self._rays(camera, size, stored.values.shape, orientation))
            if mask is not None:
                here = (depth.shape[0], depth.shape[1])
                counts = counts & mask[_nearest(mask.shape, here, f"{self.root}: {name}", "mask", "depth")]
                depth = np.where(counts, depth, np.float32(0))
            if self.description.max_depth is None:
                refuse_far(depth, stored, f"{self.root}: {name}")
            by = "" if orientation == UPRIGHT else f" (turned by its EXIF orientation {orientation})"
            pick = _nearest(depth.shape, size, f"{self.root}: {name}{by}")
            target, valid = depth[pick], counts[pick]
        if right is not None and right.shape != image.shape:
            raise BadData(f"{self.root}: {name}: left is {_size(size)} and right {_size(right.shape)}")
        seen = self._camera(camera)
        return Item(
            image=image,
            target=target,
            valid=valid,
            name=name,
            intrinsics=None if seen is None else seen.matrix(size, orientation, self.description.orientation),
            right=right,
            baseline_m=None if seen is None or right is None else seen.baseline_m,
        )

    def metres(self, stored: Stored, rays: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """(metres, valid) of stored values, by the file, the description and the layout, see `stored_to_metres`."""
        scale = self.scales.get(stored.values.dtype.name)
        return stored_to_metres(stored, self.description, scale=scale, marks=self.marks, rays=rays)

    def _rays(self, camera: str, size: tuple[int, int], have: tuple[int, ...], orientation: int) -> np.ndarray | None:
        """The lengths of the rays of a depth map of the shape `have`, where its numbers are distances along them."""
        if not self.description.ray_distance:
            return None
        seen = self._camera(camera)
        if seen is None:
            raise BadData(f"{self.root}: ray_distance needs the camera: state intrinsics = [fx, fy, cx, cy], in pixels")
        if seen.is_of_another_size(size, orientation):
            raise BadData(
                f"{self.root}: the image is {_size(size)}, and the optical axis of its intrinsics at {seen.cx:g},"
                f" {seen.cy:g} is far from its middle: they are of another size. State those of the images as they are"
            )
        own = (have[0], have[1])
        matrix = seen.matrix(size, orientation, self.description.orientation)
        return ray_lengths(scale_intrinsics(matrix, size, own), own)

    def _camera(self, name: str) -> Camera | None:
        stated, camera = self.description.intrinsics, self.cameras.get(name)
        return camera if stated is None else Camera(*stated, baseline_m=None if camera is None else camera.baseline_m)


def _nearest(
    have: tuple[int, ...], want: tuple[int, int], where: str, what: str = "depth", of: str = "image"
) -> tuple[np.ndarray, ...]:
    """Row and column indices that take a map of size `have` to size `want`."""
    (height, width), (rows, columns) = have, want
    if not _same_view((height, width), want):
        turned = _same_view((width, height), want)
        advice = (
            "one of the two is turned by 90 degrees, since the image's EXIF orientation was lost, is wrong, or was"
            " applied to one only: turn one, or see `orientation` in dataset.toml"
            if turned
            else f"sizes must be equal, or of the same shape to {MAX_STRETCH:.0%}: crop or pad one to the other's view"
        )
        raise BadData(f"{where}: the {of} is {_size(want)} and its {what} {_size(have)}; {advice}")
    to_row = ((np.arange(rows) + 0.5) * height / rows).astype(np.intp)
    to_column = ((np.arange(columns) + 0.5) * width / columns).astype(np.intp)
    return np.ix_(to_row, to_column)


def _same_view(have: tuple[int, int], want: tuple[int, int]) -> bool:
    """Whether two sizes can be of one view: of one shape to a pixel of the smaller one, or to MAX_STRETCH if both sides
    differ. A map with one side equal and the other not was cropped, since nobody resamples one axis.
    """
    (height, width), (rows, columns) = sorted((have, want), key=lambda size: size[0] * size[1])
    if min(abs(height - width * rows / columns), abs(width - height * columns / rows)) <= 1:
        return True
    one_side = abs(height - rows) <= 1 or abs(width - columns) <= 1
    return not one_side and abs(math.log(width * rows / (height * columns))) <= math.log1p(MAX_STRETCH)


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} wide, {shape[0]} high"
