"""Batch: what a net learns from, several items together on the device."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from leadline.core.spec import Kind


@dataclass(frozen=True)
class Batch:
    """B items as `loader` yields them (torch); fields have the names of `Item`, which are its numpy counterparts.

    Where `valid` is False, `target` is 0.
    """

    image: Tensor
    """float32 [B,3,H,W], RGB in 0..1."""
    target: Tensor
    """float32 [B,1,h,w], depth in metres; some transforms give it another size than the image. A class is int64: [B]
    that of each image (CIFAR), [B,1,H,W] those of its pixels (CamVid). float32 [B,2,h,w] is depth and class.
    """
    valid: Tensor
    """bool, of the target's shape: True where it counts."""
    name: tuple[str, ...]
    """Of each item."""
    right: Tensor | None = None
    """The right camera's images, as `image`."""
    pseudo_depth: Tensor | None = None
    """float32 [B,1,h,w], a teacher's depth, above 0 where it has one."""
    pseudo_kind: tuple[Kind, ...] = ()
    """What `pseudo_depth` means, for each item."""
