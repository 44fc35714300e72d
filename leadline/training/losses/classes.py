"""Losses of `fit` for classifiers: (net, batch) -> (scalar, logs)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from leadline.data.batch import Batch


def cross_entropy(net: nn.Module, batch: Batch, *, smoothing: float = 0.0) -> tuple[Tensor, dict[str, float]]:
    """The mean cross-entropy of the scores [B,K] with `batch.target`, int64 [B]; logs the part that is right, `top1`.

    `smoothing` gives that part of each label to all classes alike (Szegedy et al. 2016, arXiv 1512.00567).
    """
    scores: Tensor = net(batch.image)
    value = F.cross_entropy(scores, batch.target, label_smoothing=smoothing)
    right = (scores.detach().argmax(dim=1) == batch.target).float().mean()
    return value, {"top1": float(right)}
