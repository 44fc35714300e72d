"""The shortest loss with a teacher: what pruning uses to keep a net as it was."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from leadline.data.batch import Batch
from leadline.training.fit import Loss
from leadline.training.recorder import Recorder, finest

_NEAREST = 1e-3  # metres, or what a raw map has in place of them


def answered(base: Loss, teacher: nn.Module, weight: float, net: Any, batch: Batch) -> tuple[Tensor, dict[str, float]]:
    """A loss for `fit` (bind the first three with `partial`): base + weight x mean |ln p - ln t| over all pixels.

    p is what `base` sees first of the net, its depth or the finest of its raw maps, and t what `teacher`, in eval mode,
    predicts in the same mode. Pixels without depth count too, and so do batches in which `base` has nothing to learn
    from. Logs the mean as `answer`.
    """
    recorder = Recorder(net)
    value, logs = base(recorder, batch)
    teacher = teacher.to(batch.image.device).eval()
    with torch.no_grad():
        image, raw, found = recorder.calls[0]
        answer = finest(teacher(image, raw=raw)).clamp_min(_NEAREST).log()
    gap = (found.clamp_min(_NEAREST).log() - answer).abs().mean()
    kept_logs = {name: number for name, number in logs.items() if name != "skipped"}
    return value + weight * gap, {**kept_logs, "answer": float(gap.detach())}
