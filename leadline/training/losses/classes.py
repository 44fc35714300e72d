"""Losses of `fit` for classes of images and of pixels: (net, batch) -> (scalar, logs)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from leadline.data.batch import Batch


def cross_entropy(net: nn.Module, batch: Batch, *, smoothing: float = 0.0) -> tuple[Tensor, dict[str, float]]:
    """The mean cross-entropy of the scores [B,K] with `batch.target`, int64 [B]; logs the part that is right, `top1`.

    Of scores [B,K,H,W] and targets [B,1,H,W] the mean over valid pixels, and `right` is logged; a batch without any
    gives 0 and logs `skipped` 1. `smoothing` gives that part of each label to all classes alike (Szegedy et al. 2016,
    arXiv 1512.00567).
    """
    scores: Tensor = net(batch.image)
    if scores.ndim == 4:
        return of_pixels(scores, batch, smoothing)
    value = F.cross_entropy(scores, batch.target, label_smoothing=smoothing)
    right = (scores.detach().argmax(dim=1) == batch.target).float().mean()
    return value, {"top1": float(right)}


def of_pixels(scores: Tensor, batch: Batch, smoothing: float = 0.0) -> tuple[Tensor, dict[str, float]]:
    """`cross_entropy` of scores that are there already, [B,K,H,W]."""
    target, valid = batch.target[:, 0], batch.valid[:, 0]
    if scores.shape[-2:] != target.shape[-2:]:
        scores = F.interpolate(scores, size=target.shape[-2:], mode="bilinear", align_corners=True)
    if not valid.any():
        return scores.sum() * 0, {"skipped": 1.0}
    value = F.cross_entropy(scores, target.masked_fill(~valid, _VOID), ignore_index=_VOID, label_smoothing=smoothing)
    right = (scores.detach().argmax(dim=1) == target)[valid].float().mean()
    return value, {"right": float(right)}


_VOID = -100
