"""The shortest loss with a teacher: what pruning uses to keep a net as it was."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from leadline.data.batch import Batch
from leadline.nn.build import Net
from leadline.training.fit import Loss
from leadline.training.recorder import Recorder, answer_gap, finest


def answered(base: Loss, teacher: Net, weight: float, net: Any, batch: Batch) -> tuple[Tensor, dict[str, float]]:
    """A loss for `fit` (bind the first three with `partial`): base + weight x `answer_gap` over all pixels.

    It is between what `base` sees first of the net, its answer or the finest of its raw maps, and what `teacher`, in
    eval mode, predicts in the same mode. Pixels without depth count too, and so do batches in which `base` has nothing
    to learn from. Logs the gap as `answer`.
    """
    recorder = Recorder(net)
    value, logs = base(recorder, batch)
    teacher = teacher.to(batch.image.device).eval()
    with torch.no_grad():
        image, raw, found = recorder.calls[0]
        wanted = finest(teacher(image, raw=raw))
    gap = answer_gap(teacher.spec.head.kind, found, wanted)
    kept_logs = {name: number for name, number in logs.items() if name != "skipped"}
    return value + weight * gap, {**kept_logs, "answer": float(gap.detach())}
