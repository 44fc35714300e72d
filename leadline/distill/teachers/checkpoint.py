"""A net of leadline's as a teacher: it answers where the batch lies, on a GPU too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from leadline.core.preprocess import seen_part
from leadline.core.spec import Preprocess
from leadline.data.batch import Batch
from leadline.distill.teachers.teacher import Teacher
from leadline.nn.build import Net
from leadline.nn.fold import fold

_MODES: dict[str, dict[str, Any]] = {
    "bilinear": {"mode": "bilinear", "antialias": True},
    "nearest": {"mode": "nearest-exact"},
    "corners": {"mode": "bilinear", "align_corners": True},
}
"""The rules of `Preprocess.resize` in PyTorch's words. It does not round to whole grey levels as pillow does, so that
an answer differs from that of `leadline predict` by what 1/255 in the input makes.
"""


def net_teacher(net: Net, facts: Mapping[str, Any] | None = None) -> Teacher:
    """The net as a teacher, brought to its own input size and back as `leadline predict` does it.

    It has no prediction outside the part of a frame that it sees.
    """
    how, folded = net.spec.preprocess, fold(net).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def ask(batch: Batch) -> Tensor:
        image = batch.image
        folded.to(image.device)
        top, left, height, width = seen_part((image.shape[-2], image.shape[-1]), how)
        seen = image[..., top : top + height, left : left + width]
        found = _back(folded(_resized(seen, how.size, how)), (height, width), how)
        depth: Tensor = image.new_full((len(image), 1, *image.shape[-2:]), torch.nan)
        depth[..., top : top + height, left : left + width] = found
        return depth

    return Teacher(net.spec.name, net.spec.head.kind, ask, facts or {}, net)


def _resized(image: Tensor, size: tuple[int, int], how: Preprocess) -> Tensor:
    """Pictures at the net's input size."""
    if (image.shape[-2], image.shape[-1]) == size:
        return image
    small: Tensor = F.interpolate(image, size=size, **_MODES[how.resize])
    return small.contiguous(memory_format=torch.channels_last)


def _back(depth: Tensor, size: tuple[int, int], how: Preprocess) -> Tensor:
    """A map at the pictures' size."""
    if (depth.shape[-2], depth.shape[-1]) == size:
        return depth
    large: Tensor = F.interpolate(depth.contiguous(), size=size, **_MODES[how.back or how.resize])
    return large
