"""How data are read and augmented: options of a run that are about its data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from leadline.core.allowed import (
    BELOW_1,
    FROM_0,
    PART,
    SIZE,
    SPAN,
    between,
    check,
    one_of,
    require,
)


@dataclass(frozen=True, kw_only=True)
class View:
    """How `augment` looks at a frame. Ranges are uniform, that of `zoom` in its logarithm; `flip` is a probability.

    `zoom` enlarges (below 1 shows a border of invalid pixels), `stretch` is the factor between the two axes, `rotate`
    in degrees, `shift` moves the cut-out within what zooming leaves free (0 centre, 1 anywhere).
    """

    size: tuple[int, int] | None = None
    """The net's input; None: as the net says. Later photographs are brought to it, too."""
    zoom: tuple[float, float] = (1.0, 1.5)
    stretch: float = 1.0
    rotate: float = 5.0
    shift: float = 1.0
    flip: float = 0.5
    jitter: float = 0.4
    colour_shift: float = 0.0

    def __post_init__(self) -> None:
        check(self, size=SIZE, zoom=SPAN, stretch=between(0.1, 10), rotate=between(0, 180))
        check(self, shift=PART, flip=PART, jitter=PART, colour_shift=BELOW_1)

    @property
    def pixels(self) -> tuple[int, int]:
        """`size`, or where there is no net to ask, FastDepth's."""
        return self.size or (224, 224)


@dataclass(frozen=True, kw_only=True)
class Stereo:
    """`loss=stereo`: how a net learns from pairs of views alone. monodepth's published values (Godard et al. 2017)."""

    size: tuple[int, int] | None = None
    """Both views are brought to this size, and so are later photographs; None: the net's own."""
    ssim: float = 0.85
    """Part of (1 - SSIM) / 2 in the comparison of views; the rest is the mean absolute difference."""
    smoothness: float = 0.1
    """Weight of disparity edges where the image has none, halved at each coarser scale."""
    vertical: bool = True
    """Smooth down the columns too, as the paper says; the authors' code does so along the rows only."""
    consistency: float = 1.0
    """Weight of the difference between the left and the right view's disparities."""
    scales: int = 4
    """How many of the net's maps count, finest first."""
    flip: float = 0.5
    """Probability of mirrored views, which change places."""
    colours: float = 0.5
    """Probability of other colours, the same in both views, drawn from the next three ranges."""
    gamma: tuple[float, float] = (0.8, 1.2)
    brightness: tuple[float, float] = (0.5, 2.0)
    tint: tuple[float, float] = (0.8, 1.2)
    """A factor for each of red, green and blue."""
    cut_bottom: float = 0.0
    """Lowest part of the views that is cut away; Cityscapes' bonnet: 0.2."""

    def __post_init__(self) -> None:
        check(self, size=SIZE, ssim=PART, flip=PART, colours=PART, cut_bottom=BELOW_1, scales=one_of(1, 2, 3, 4))
        check(self, smoothness=FROM_0, consistency=FROM_0, gamma=SPAN, brightness=SPAN, tint=SPAN)


@dataclass(frozen=True, kw_only=True)
class R2Crop:
    """LiteDepth's training list, see `data.r2crop`; the numbers are the published ones. Ranges are uniform around 0,
    those of colours around 1.
    """

    crop: bool = True
    """Cut-outs of random size; without, always the whole frame."""
    sizes: tuple[tuple[int, int], ...] = ((240, 384), (360, 512), (480, 640))
    """What may be cut out of a frame of the size `frame`; of other frames as much in proportion."""
    frame: tuple[int, int] = (480, 640)
    image: tuple[int, int] = (128, 160)
    """The size of a whole frame's image; that of a cut-out is as much smaller."""
    depth: tuple[int, int] = (480, 640)
    """The size of a whole frame's depth, by nearest neighbour. At the published size the loss costs three times as much
    as the net; (120, 160) takes 16 of the 225 targets that each pixel of the net's map is compared with."""
    rotate: float = 2.5
    """Degrees."""
    rotate_chance: float = 0.5
    flip: float = 0.5
    gamma: float = 0.1
    brightness: float = 0.25
    colour: float = 0.1
    """Of each channel by itself."""

    def __post_init__(self) -> None:
        check(self, frame=SIZE, image=SIZE, depth=SIZE, rotate=between(0, 180), rotate_chance=PART, flip=PART)
        check(self, gamma=BELOW_1, brightness=PART, colour=PART)
        sizes, frame = {crop: f"{crop[0]}x{crop[1]}" for crop in self.sizes}, f"{self.frame[0]}x{self.frame[1]}"
        large = [name for (h, w), name in sizes.items() if not (0 < h <= self.frame[0] and 0 < w <= self.frame[1])]
        empty = [
            f"{name} has no pixel in {field} {getattr(self, field)}"
            for field in ("image", "depth")
            for crop, name in sizes.items()
            if self._pixels(crop, getattr(self, field)) < 1
        ]
        fit = f"does not fit into an image of {frame}; crops of 1x1 to {frame} are allowed"
        require(
            (sizes, f"a list of no crops {fit}"),
            (not large, f"the crop {''.join(large[:1])} {fit}"),
            (not empty, f"the crop {''.join(empty[:1])}"),
        )

    def _pixels(self, crop: tuple[int, int], whole: tuple[int, int]) -> int:
        """The shorter side of the crop where a whole frame has the size `whole`."""
        return min(round(crop[i] * whole[i] / self.frame[i]) for i in (0, 1))


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How to read a folder of data where its dataset.toml is silent or wrong; what is given here counts."""

    items: Literal["depth", "labels", "joint"] | None = None
    """What each item is to hold: depth, a class in each pixel, or both; by default what the net that reads it needs."""
    layout: str | None = None
    """Read it as this layout, whatever its files look like; FILE.py:NAME is a function of your own."""
    allow_code: bool | None = None
    """Run the function FILE.py:NAME that its dataset.toml names as its layout; else no code is run."""
    depth_key: str | None = None
    """Of files that hold several arrays, channels or pages: the name of the one that is depth."""
    depth_scale: float | None = None
    """Stored units per metre of its depth files."""
    depth_offset: float | None = None
    """Added to stored values before dividing."""
    depth_rotated: int | None = None
    """16-bit values were rotated left by so many bits; SUN RGB-D has 3."""
    ray_distance: bool | None = None
    """Whether its numbers are distances along each pixel's ray; its intrinsics turn them into depth."""
    invalid: tuple[float, ...] | None = None
    """The stored values that mean no depth; -1: there are none."""
    label_void: tuple[int, ...] | None = None
    """The numbers of its annotations that mean no class; by default 39 and 255 (NYU)."""
    max_depth: float | None = None
    """Farther values, in metres, do not count."""
    test_fraction: float | None = None
    """Without lists of its own: the last share of the frames is the test part."""

    def given(self) -> dict[str, Any]:
        """The fields that are set, for `open_dataset`."""
        return {name: value for name, value in vars(self).items() if value is not None}
