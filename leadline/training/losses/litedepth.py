"""LiteDepth's criteria (Li et al. 2022, arXiv 2209.00961, and the authors' code), as those of `maps`.

The fourth, its gradient loss, is `maps.gradient`: the authors set targets of 0 to infinity and differences that are not
finite to 0, which is our rule that a pair counts if both pixels are valid. They divide by the number of all pairs and
keep the prediction's own steps at invalid pixels; we do neither.
"""

from __future__ import annotations

import torch
from torch import Tensor

from leadline.training.losses.depth import clean, difference, masked_mean, mean, root

FOCAL, FRAME = (519.4696111212749, 518.8579011745019), (480, 640)
"""The focal lengths (y, x) in pixels of a frame of that (height, width) which the authors assume of every image."""


def sig(pred: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """sqrt(var(r) + 0.15 mean(r)^2), r = ln(p + 1e-3) - ln(t + 1e-3), var with n - 1 below: SigLoss, weight 1."""
    pred, target, valid = clean(pred, target, valid)
    r = (pred.clamp(min=0) + 1e-3).log() - (target + 1e-3).log()
    middle = mean(r, valid)
    variance = torch.where(valid, (r - middle) ** 2, 0).sum() / (valid.count_nonzero() - 1).clamp(min=1)
    return root(variance + 0.15 * middle**2)


def robust(pred: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Mean of sqrt((e / 2)^2 + 1) - 1, e = p - t in metres: Barron (CVPR 2019, eq. 1) with alpha 1, c 2; weight 0.6."""
    square = (difference(pred, target, valid) / 2) ** 2
    return masked_mean(square / ((square + 1).sqrt() + 1), valid)


def virtual_normal(pred: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Mean L1 distance between the unit normals of planes through three pixels (Yin et al., ICCV 2019, eq. 4 and 5).

    1. 15 % of the map's pixels are drawn three times (with repetition, the same for the whole batch): the triplets.
    2. Pixels become points by `FOCAL`, scaled from `FRAME` to the map, and the principal point at its middle pixel.
    3. A triplet counts if its three targets are valid and above 0.1 m; no two of its edges enclose a cosine beyond
       0.867; and in one of x, y, z all of its edges are at least 5 mm long.
    4. The quarter with the smallest distances is dropped, and the rest averaged; without triplets the loss is 0.

    The numbers are LiteDepth's, weight 2.5. Its code exchanges the two maps, so that 3 looks at the prediction; here it
    looks at the target, as in the paper of Yin et al. Three predictions in one line, or of 0, count as no normal: 0.
    """
    pred, target, valid = clean(pred, target, valid)
    height, width = pred.shape[-2:]
    three = torch.randint(height * width, (3, int(0.15 * height * width)), device=pred.device)
    rays = _rays(height, width, pred)
    points = [(depth.flatten(1)[:, three, None] * rays[three]) for depth in (pred, target)]  # [B, 3, n, 3]
    counts = valid.flatten(1)[:, three].all(dim=1) & _spread(points[1])
    normals = [_normal(torch.where(counts[:, None, :, None], p, rays[three])) for p in points]
    distance = torch.where(counts, (normals[0] - normals[1]).abs().sum(dim=-1), -1)
    rising = distance.flatten().sort().values  # points that do not count have -1: they come first
    n_out = rising.numel() - (counts.sum() - (counts.sum() * 0.25).long())
    return mean(rising, torch.arange(rising.numel(), device=pred.device) >= n_out)


def _rays(height: int, width: int, like: Tensor) -> Tensor:
    """Each pixel's point at depth 1, [H*W, 3]."""
    y = (torch.arange(height).to(like) - height // 2) / (FOCAL[0] * height / FRAME[0])
    x = (torch.arange(width).to(like) - width // 2) / (FOCAL[1] * width / FRAME[1])
    rows, columns = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([columns, rows, torch.ones_like(rows)], dim=-1).flatten(0, 1)


def _spread(points: Tensor) -> Tensor:
    """Which triplets [B, 3, n, 3] span a plane that can be told: rule 3, bool [B, n]."""
    edges = torch.stack([points[:, 1] - points[:, 0], points[:, 2] - points[:, 0], points[:, 2] - points[:, 1]], dim=1)
    lengths = edges.norm(dim=-1)
    pairs = ((0, 1), (0, 2), (1, 2))
    aligned = [(edges[:, i] * edges[:, j]).sum(-1).abs() > 0.867 * (lengths[:, i] * lengths[:, j]) for i, j in pairs]
    near = (edges.abs() < 0.005).any(dim=1).all(dim=-1)
    return ~torch.stack(aligned).any(dim=0) & ~near & (points[..., 2] > 0.1).all(dim=1)


def _normal(points: Tensor) -> Tensor:
    """The unit normals [B, n, 3] of triplets [B, 3, n, 3]; 0 where there is none."""
    across = torch.linalg.cross(points[:, 1] - points[:, 0], points[:, 2] - points[:, 0])
    length = root((across**2).sum(dim=-1, keepdim=True))
    normal: Tensor = across / torch.where(length > 0, length, 1)
    return normal
