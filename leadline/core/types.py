"""Item, what a data set holds, and what comes out of a net, Depth first: values that say what they hold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from leadline.core.spec import Kind

KINDS: tuple[Kind, ...] = ("metric", "relative_depth", "relative_disparity")


@dataclass(frozen=True)
class Item:
    """One item of a data set (numpy). `data.batch.Batch` has several as tensors, in fields of the same names.

    An unlabelled item has an all-False `valid`; where `valid` is False, `target` is 0.
    """

    image: np.ndarray
    """uint8 [H,W,3], RGB."""
    target: np.ndarray
    """float32 [H,W], depth in metres along the optical axis. A class is int64: [] that of the image, [H,W] those of its
    pixels. float32 [2,H,W] is depth and class.
    """
    valid: np.ndarray
    """bool, of the target's shape: True where it counts."""
    name: str
    """Unique in its data set."""
    intrinsics: np.ndarray | None = None
    """float64 [3,3] in pixels."""
    right: np.ndarray | None = None
    """The right camera's image, as `image`."""
    baseline_m: float | None = None
    """The distance of the two cameras."""
    pseudo_depth: np.ndarray | None = None
    """float32 [H,W], a teacher's depth, above 0 where it has one."""
    pseudo_kind: Kind = "metric"
    """What `pseudo_depth` means."""


Sample = Item
"""The name of Item until 0.1, kept for one release."""


@dataclass(frozen=True)
class ClassScores:
    """What a classifier says of an image: `values` float32 [K], larger is likelier, and the names of the K classes."""

    values: np.ndarray
    classes: tuple[str, ...]

    def best(self, n: int = 5) -> list[tuple[str, float]]:
        """The `n` likeliest classes with their probabilities (softmax), the likeliest first."""
        odds = np.exp(self.values.astype(np.float64) - self.values.max())
        order = np.argsort(-self.values, kind="stable")[:n]
        return [(self.classes[i], float(odds[i] / odds.sum())) for i in order]


@dataclass(frozen=True)
class Labels:
    """What a net says of each pixel: `values` uint8 or int64 [H,W], numbers of `classes`; `valid` bool [H,W]: which
    pixels it has seen.
    """

    values: np.ndarray
    classes: tuple[str, ...]
    valid: np.ndarray

    def shares(self) -> dict[str, float]:
        """The part of the valid pixels that each class has, of those that occur, the largest first."""
        counts = np.bincount(self.values[self.valid].astype(np.int64), minlength=len(self.classes))
        order = [i for i in np.argsort(-counts, kind="stable") if counts[i]]
        return {self.classes[i]: float(counts[i] / counts.sum()) for i in order}


@dataclass(frozen=True)
class Depth:
    """A depth map that knows what it is.

    `values` is float32 [H,W] at the size of the image it belongs to. `kind` is `metric` (metres along the optical
    axis), `relative_depth` (larger is farther, scale unknown) or `relative_disparity` (larger is nearer, scale and
    shift unknown). `valid` is bool [H,W]; where it is False the value means nothing.
    """

    values: np.ndarray
    kind: Kind = "metric"
    valid: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind is {self.kind!r}; allowed: {', '.join(KINDS)}")
        if self.values.ndim != 2:
            raise ValueError(f"values have shape {self.values.shape}; [H,W] is needed")
        if self.valid is None:
            object.__setattr__(self, "valid", np.isfinite(self.values))
        elif self.valid.shape != self.values.shape or self.valid.dtype != bool:
            raise ValueError(f"valid is {self.valid.dtype} {self.valid.shape}; bool {self.values.shape} is needed")

    @property
    def unit(self) -> str:
        """`m` for metric depth, otherwise the kind itself."""
        return "m" if self.kind == "metric" else self.kind


@dataclass(frozen=True)
class Joint:
    """What a net of two tasks says of an image: its depth, and what each pixel shows. Both have the image's size."""

    depth: Depth
    labels: Labels


def joint_truth(item: Item, classes: tuple[str, ...]) -> Joint:
    """What an item with depth and classes says, as a net of both would."""
    depth = Depth(item.target[0], "metric", item.valid[0])
    return Joint(depth, Labels(item.target[1].astype(np.int64), classes, item.valid[1]))


def depth_of(item: Item) -> tuple[np.ndarray, np.ndarray]:
    """(depth float32 [H,W], where it counts bool [H,W]) of an item with depth, also where classes are beside it."""
    return (item.target[0], item.valid[0]) if item.target.ndim == 3 else (item.target, item.valid)
