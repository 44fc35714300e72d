"""The loss of nets that give depth and name what each pixel shows: (net, batch) -> (scalar, logs)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from leadline.data.batch import Batch
from leadline.training.losses.classes import of_pixels
from leadline.training.losses.weighted import Term, compared


def joint(
    net: nn.Module, batch: Batch, *, depth: Mapping[str, Term], label_weight: float = 1.0
) -> tuple[Tensor, dict[str, float]]:
    """The sum of weight x criterion over channel 0 of the output [B,1+K,H,W], which is depth, plus `label_weight` x the
    mean cross-entropy of the K scores behind it, over pixels with a class.

    `batch.target` is [B,2,h,w], depth and class. Logs each term before its weight, `cross_entropy` and the part that is
    right, `right`; `skipped` 1 where nothing is valid, and the value then is 0. A batch without depth or without
    classes learns from the other. Weights stay as they are: those that are learned (Kendall et al. 2018, arXiv
    1705.07115) are not made for it yet.
    """
    out: Tensor = net(batch.image)
    metres = replace(batch, target=batch.target[:, :1], valid=batch.valid[:, :1])
    names = replace(batch, target=batch.target[:, 1:].long(), valid=batch.valid[:, 1:])
    values, nothing = compared(depth, {"target": out[:, :1]}, metres)
    of_labels, logs = of_pixels(out[:, 1:], names)
    total = torch.stack([term.weight * values[name] for name, term in depth.items()]).sum() + label_weight * of_labels
    if nothing and "skipped" in logs:
        return total, nothing
    logs = {} if "skipped" in logs else {"cross_entropy": float(of_labels.detach()), **logs}
    return total, ({} if nothing else {name: float(value.detach()) for name, value in values.items()}) | logs
