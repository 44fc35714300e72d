"""Sample, what a net learns from, and Depth, what comes out: two values that say what they hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from leadline.core.spec import Kind

KINDS: tuple[Kind, ...] = ("metric", "relative_depth", "relative_disparity")


@dataclass(frozen=True)
class Sample:
    """One item, or a batch of them.

    field         item, as a data set reads it (numpy)    batch, as `loader` yields it (torch)
    image         uint8 [H,W,3], RGB                      float32 [B,3,H,W], RGB in 0..1
    target        float32 [H,W], depth in metres          float32 [B,1,H,W]
    valid         bool [H,W], True where target counts    bool [B,1,H,W]
    name          str, unique in its data set             tuple of str
    intrinsics    float64 [3,3] in pixels, or None        None
    right         the right camera's image, or None       float32 [B,3,H,W], or None
    baseline_m    distance of the two cameras, or None    None
    pseudo_depth  float32 [H,W], a teacher's depth, > 0   float32 [B,1,H,W], or None
                  where it has one; or None
    pseudo_kind   the Kind of `pseudo_depth`              tuple of them

    An unlabelled item has an all-False `valid`; where `valid` is False, `target` is 0.
    """

    image: Any
    target: Any
    valid: Any
    name: Any
    intrinsics: Any = None
    right: Any = None
    baseline_m: float | None = None
    pseudo_depth: Any = None
    pseudo_kind: Any = "metric"


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
