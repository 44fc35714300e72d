"""Losses between depth maps: (pred, target, valid), each [B,1,H,W], to a scalar.

Means run over all valid pixels of the batch. Invalid pixels never matter, whatever they hold: not for the value and not
for the gradient. A batch without a valid pixel gives 0 with zero gradients. Half precision is computed in float32.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

Criterion = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(pred, target, valid) -> scalar."""

MIN_DEPTH_M = 1e-3
"""Logarithms see depths below this as this: a prediction of 0 is legal and must not give an infinite loss."""


def l1(pred: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Mean of |p - t|, FastDepth's loss (Ma and Karaman 2018)."""
    return masked_mean(difference(pred, target, valid).abs(), valid)


def l2(pred: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Mean of (p - t)^2."""
    return masked_mean(difference(pred, target, valid) ** 2, valid)


def log_l1(pred: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Mean of |ln p - ln t|: the relative error, which is what the deltas and abs_rel measure; ln 10 times `log10`."""
    pred, target, valid = clean(pred, target, valid)
    return mean((pred.clamp(min=MIN_DEPTH_M).log() - target.clamp(min=MIN_DEPTH_M).log()).abs(), valid)


def log_gradient(pred: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """`multiscale_gradient` of the logarithms, divided by the number of scales (MegaDepth 2018, eq. 4)."""
    pred, target, valid = clean(pred, target, valid)
    log_pred, log_target = (x.clamp(min=MIN_DEPTH_M).log() for x in (pred, target))
    return multiscale_gradient(log_pred, log_target, valid, scales=4) / 4


def berhu(pred: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Reverse Huber: |e| up to c, (e^2 + c^2) / 2c beyond, c = 0.2 max|e| over the batch (Laina et al. 2016, eq. 1).

    c is a constant for the gradient.
    """
    error = difference(pred, target, valid).abs()
    c = (0.2 * error.detach().amax()).clamp(min=torch.finfo(error.dtype).tiny ** 0.5) if error.numel() else error.sum()
    return masked_mean(torch.where(error <= c, error, (error**2 + c**2) / (2 * c)), valid)


def silog_bts(pred: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """10 sqrt(mean(d^2) - 0.85 mean(d)^2), d = ln p - ln t (Lee et al. 2019, BTS, eq. 4 and 5; AdaBins).

    A tenth of it is LiteDepth's SigLoss, save for the way each guards the logarithm.
    """
    return 10 * _silog(pred, target, valid, 0.85)


def silog_dav2(pred: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """sqrt(mean(d^2) - 0.5 mean(d)^2), d = ln p - ln t: Eigen et al. 2014, eq. 4, under a root (Depth Anything V2)."""
    return _silog(pred, target, valid, 0.5)


def gradient(pred: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Mean |dx p - dx t| + mean |dy p - dy t|, forward differences between valid neighbours (LiteDepth, 2209.00961)."""
    error = difference(pred, target, valid)
    across = mean(error.diff(dim=-1).abs(), valid[..., 1:] & valid[..., :-1])
    return across + mean(error.diff(dim=-2).abs(), valid[..., 1:, :] & valid[..., :-1, :])


def multiscale_gradient(pred: Tensor, target: Tensor, valid: Tensor, *, scales: int = 4) -> Tensor:
    """Sum of `gradient` over every 1st, 2nd, 4th ... pixel (MegaDepth 2018, eq. 4; MiDaS 2020, eq. 11).

    Deviation: on the maps as they are; for the papers' spaces pass logarithms (MegaDepth), aligned disparities (MiDaS).
    Each direction is divided by its number of valid pairs, not by the number of valid pixels.
    """
    maps = _agreeing(pred, target, valid)
    parts = [gradient(*(x[..., :: 2**s, :: 2**s] for x in maps)) for s in range(scales)]
    return torch.stack(parts).sum()


def hu_depth(pred: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Mean of F(|p - t|), F(x) = ln(x + 0.5) (Hu et al., WACV 2019, eq. 1); ln 0.5 = -0.69 is its smallest value."""
    pred, target, valid = clean(pred, target, valid)
    return mean(((pred - target).abs() + 0.5).log(), valid)


def hu_gradient(pred: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Mean F(|dx e|) + mean F(|dy e|), e = p - t, un-normalised Sobel, F(x) = ln(x + 0.5) (Hu et al. 2019, eq. 2).

    As in the authors' code the frame is surrounded by zeros. Pixels with an invalid neighbour do not count (their data
    has none).
    """
    pred, target, valid = clean(pred, target, valid)
    steps = (_sobel(pred - target).abs() + 0.5).log()  # [B,2,H,W]
    whole = _surrounded(valid)
    return mean(steps[:, :1], whole) + mean(steps[:, 1:], whole)


def hu_normal(pred: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Mean of |1 - cos(n_p, n_t)|, n = (-dx, -dy, 1) by un-normalised Sobel (Hu et al. 2019, eq. 3); edges as above."""
    pred, target, valid = clean(pred, target, valid)
    p, t = _sobel(pred), _sobel(target)
    dot = (p * t).sum(dim=1, keepdim=True) + 1
    lengths = ((p**2).sum(dim=1, keepdim=True) + 1).sqrt() * ((t**2).sum(dim=1, keepdim=True) + 1).sqrt()
    return mean((1 - dot / lengths).abs(), _surrounded(valid))


def hu(pred: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """`hu_depth` + `hu_gradient` + `hu_normal`, weights 1: the base loss of Hu et al. and of the Boosting student."""
    return hu_depth(pred, target, valid) + hu_gradient(pred, target, valid) + hu_normal(pred, target, valid)


def ssim(pred: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Mean of clip((1 - SSIM) / 2, 0, 1) over 3x3 windows without padding, C1 = 1e-4, C2 = 9e-4 (monodepth, 2017).

    Both maps are divided by the largest valid target of the batch first, since the constants are meant for 0..1.
    Windows with an invalid pixel do not count; a map smaller than 3x3 has none and gives 0.
    """
    pred, target, valid = clean(pred, target, valid)
    if min(pred.shape[-2:]) < 3:
        return 0 * pred.sum()
    peak = torch.where(valid, target, 0).amax().clamp(min=MIN_DEPTH_M)
    p, t = torch.where(valid, pred / peak, 0), torch.where(valid, target / peak, 0)
    return mean(unlike(p, t), _surrounded(valid)[..., 1:-1, 1:-1])


BELOW_ZERO = frozenset({hu, hu_depth, hu_gradient})
"""The criteria whose value can be negative."""


def unlike(a: Tensor, b: Tensor) -> Tensor:
    """clip((1 - SSIM) / 2, 0, 1) of each 3x3 window that lies in the maps [B,C,H,W] in 0..1: [B,C,H-2,W-2]."""
    mean_a, mean_b, aa, bb, ab = (F.avg_pool2d(x, 3, 1) for x in (a, b, a * a, b * b, a * b))
    top = (2 * mean_a * mean_b + 1e-4) * (2 * (ab - mean_a * mean_b) + 9e-4)
    bottom = (mean_a**2 + mean_b**2 + 1e-4) * (aa - mean_a**2 + bb - mean_b**2 + 9e-4)
    return ((1 - top / bottom) / 2).clamp(0, 1)


def clean(pred: Tensor, target: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The maps with 1 m in every invalid pixel of both: finite, without error, and cut off from the gradient."""
    pred, target, valid = _agreeing(pred, target, valid)
    return torch.where(valid, pred, 1), torch.where(valid, target, 1), valid


def difference(pred: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """pred - target where valid, else 0 and cut off from the gradient: one mask, where `clean` needs two. Frames of
    480x640 do not fit into a CPU's caches, and masks then take as long as a small net.
    """
    pred, target, valid = _agreeing(pred, target, valid)
    return torch.where(valid, pred - target, 0)


def masked_mean(values: Tensor, valid: Tensor) -> Tensor:
    """The mean of values that are 0 in every invalid pixel, over the valid ones; 0 if there are none."""
    return values.sum() / valid.count_nonzero().clamp(min=1)


def mean(values: Tensor, where: Tensor) -> Tensor:
    """The mean of `values` where `where` is True; 0 where it is nowhere."""
    return masked_mean(torch.where(where, values, 0), where)


def _agreeing(pred: Tensor, target: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The maps in one precision, at least float32; what does not fit together is a ValueError."""
    if not pred.shape == target.shape == valid.shape or pred.ndim != 4 or pred.shape[1] != 1:
        shapes = ", ".join(str(tuple(x.shape)) for x in (pred, target, valid))
        raise ValueError(f"pred, target and valid are {shapes}; one shape [B,1,H,W] is needed")
    if valid.dtype != torch.bool:
        raise ValueError(f"valid is {valid.dtype}; torch.bool is needed")
    if pred.dtype in (torch.float16, torch.bfloat16):
        pred = pred.float()
    return pred, target.to(pred.dtype), valid


def root(square: Tensor) -> Tensor:
    """The square root; at 0, where its slope is infinite, value and gradient 0."""
    some = square > 0
    return torch.where(some, torch.where(some, square, 1).sqrt(), 0)


def _silog(pred: Tensor, target: Tensor, valid: Tensor, weight: float) -> Tensor:
    """sqrt(variance + (1 - weight) mean^2) of d, which is sqrt(mean(d^2) - weight mean(d)^2) without cancellation."""
    pred, target, valid = clean(pred, target, valid)
    d = pred.clamp(min=MIN_DEPTH_M).log() - target.clamp(min=MIN_DEPTH_M).log()
    middle = mean(d, valid)
    return root(mean((d - middle) ** 2, valid) + (1 - weight) * middle**2)


def _sobel(x: Tensor) -> Tensor:
    """Un-normalised 3x3 Sobel derivatives (x, then y) [B,2,H,W] of [B,1,H,W] surrounded by zeros."""
    across = torch.tensor([[1.0, 0.0, -1.0], [2.0, 0.0, -2.0], [1.0, 0.0, -1.0]], dtype=x.dtype, device=x.device)
    return F.conv2d(x, torch.stack([across, across.T])[:, None], padding=1)


def _surrounded(valid: Tensor) -> Tensor:
    """True where all of the 3x3 window that lies in the frame is valid."""
    return F.max_pool2d((~valid).float(), 3, 1, 1) == 0
