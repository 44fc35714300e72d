"""A net whose answers are kept, and how far two answers are apart: what a loss with a second part looks at besides."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from leadline.core.spec import Kind

_NEAREST = 1e-3  # metres, or what a raw map has in place of them


class Recorder:
    """The net, whose questions and answers are kept for a second look: image, raw, and the finest of its maps."""

    def __init__(self, net: Any) -> None:
        self.net = net
        self.calls: list[tuple[Tensor, bool, Tensor]] = []

    def __call__(self, image: Tensor, raw: bool = False) -> Any:
        out = self.net(image, raw=raw)
        self.calls.append((image, raw, finest(out)))
        return out

    def __getattr__(self, name: str) -> Any:
        return getattr(self.net, name)


def answer_gap(kind: Kind, answer: Tensor, wanted: Tensor) -> Tensor:
    """How far a net's answer is from that of another one of the same kind, over all images and pixels.

    Of depth mean |ln p - ln t|; of classes the cross-entropy with the other's probabilities; of both the sum.
    """
    if kind == "joint":
        return answer_gap("metric", answer[:, :1], wanted[:, :1]) + answer_gap("labels", answer[:, 1:], wanted[:, 1:])
    if kind in ("classes", "labels"):
        return F.cross_entropy(answer, torch.softmax(wanted, dim=1))
    return (answer.clamp_min(_NEAREST).log() - wanted.clamp_min(_NEAREST).log()).abs().mean()


def finest(out: Any) -> Tensor:
    """The one answer of a net, or the first of its raw maps."""
    maps: list[Tensor] = out if isinstance(out, list) else [out]
    return maps[0]
