"""Metric depth compared with numbers that are relative: whose scale, and of disparities whose zero, nobody knows."""

from __future__ import annotations

import torch
from torch import Tensor

from leadline.core.spec import Kind
from leadline.training.losses.depth import MIN_DEPTH_M, Criterion, clean

NEAREST_M = 0.1
"""Nothing that a camera sees is nearer; one pixel at 0 would otherwise be most of a picture's disparity."""

_FLAT = 1e-6  # a map whose spread is smaller counts as constant


def to_disparity(pred: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Mean over the pictures of mean |p' - t'|, p = 1 / depth, x' = (x - median x) / mean |x - median x| of a picture
    (Ranftl et al. 2020, MiDaS, eq. 5 and 7, untrimmed; Depth Anything). A map that is constant teaches nothing.
    """
    pred, target, valid = clean(pred, target, valid)
    return _pictures(1 / pred.clamp(min=NEAREST_M), target, valid, divide=True)


def to_depth(pred: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Mean over the pictures of mean |p' - t'|, x' = ln x - median ln x: `log_l1` without the picture's own scale."""
    pred, target, valid = clean(pred, target, valid)
    return _pictures(pred.clamp(min=MIN_DEPTH_M).log(), target.clamp(min=1e-9).log(), valid, divide=False)


def _pictures(pred: Tensor, target: Tensor, valid: Tensor, divide: bool) -> Tensor:
    errors = []
    for p, t, use in zip(pred, target, valid, strict=True):
        x, y = p[use], t[use]
        if x.numel() < 2:
            continue
        x, y = x - x.median(), y - y.median()
        if divide:
            spread, wanted = x.abs().mean(), y.abs().mean()
            if float(wanted.detach()) < _FLAT or float(spread.detach()) < _FLAT:
                continue
            x, y = x / spread, y / wanted
        errors.append((x - y).abs().mean())
    return torch.stack(errors).mean() if errors else 0 * pred.sum()


RELATIVE: dict[Kind, Criterion] = {"relative_disparity": to_disparity, "relative_depth": to_depth}
"""How metric depth is compared with numbers of each relative kind."""
