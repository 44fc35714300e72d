"""The shortest loss with a teacher: what pruning uses to keep a net as it was."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from leadline.data.batch import Batch
from leadline.training.fit import Loss

_NEAREST = 1e-3  # metres, or what a raw map has in place of them


def answered(base: Loss, teacher: nn.Module, weight: float, net: Any, batch: Batch) -> tuple[Tensor, dict[str, float]]:
    """A loss for `fit` (bind the first three with `partial`): base + weight x mean |ln p - ln t| over all pixels.

    p is what `base` sees first of the net, its depth or the finest of its raw maps, and t what `teacher`, in eval mode,
    predicts in the same mode. Pixels without depth count too, and so do batches in which `base` has nothing to learn
    from. Logs the mean as `answer`.
    """
    recorder = _Recorder(net)
    value, logs = base(recorder, batch)
    teacher = teacher.to(batch.image.device).eval()
    with torch.no_grad():
        image, raw, found = recorder.calls[0]
        answer = _finest(teacher(image, raw=raw)).clamp_min(_NEAREST).log()
    gap = (found.clamp_min(_NEAREST).log() - answer).abs().mean()
    kept_logs = {name: number for name, number in logs.items() if name != "skipped"}
    return value + weight * gap, {**kept_logs, "answer": float(gap.detach())}


def _finest(out: Any) -> Tensor:
    maps: list[Tensor] = out if isinstance(out, list) else [out]
    return maps[0]


class _Recorder:
    """The net, whose questions and answers are kept for a second look."""

    def __init__(self, net: Any) -> None:
        self.net = net
        self.calls: list[tuple[Tensor, bool, Tensor]] = []

    def __call__(self, image: Tensor, raw: bool = False) -> Any:
        out = self.net(image, raw=raw)
        self.calls.append((image, raw, _finest(out)))
        return out

    def __getattr__(self, name: str) -> Any:
        return getattr(self.net, name)
