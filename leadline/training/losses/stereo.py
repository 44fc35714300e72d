"""Depth without depth: one view of a stereo pair must look like the other, moved by the disparity (Godard et al. 2017).

Views are rectified. Disparities are fractions of the image's width, so they are the same at every scale: the point at x
in the left view lies at x - d_left(x) in the right one, and the point at x in the right view at x + d_right(x) in the
left one.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leadline.data.batch import Batch
from leadline.data.options import Stereo
from leadline.training.losses.depth import unlike


def photometric(net: nn.Module, batch: Batch, weights: Stereo = Stereo()) -> tuple[Tensor, dict[str, float]]:
    """A loss for `fit` (bind `weights` with `partial`): monodepth's, from `batch.image` (left) and `batch.right` alone.

    Summed over both views and the scales s = 0 (finest) to `weights.scales` - 1 of `net(image, raw=True)`, the views
    averaged down to each scale (arXiv 1609.03677, eq. 1 to 4; weights as in the authors' code):

    - appearance: ssim (1 - SSIM) / 2 + (1 - ssim) |I' - I|, I' the view made of the other one;
    - smoothness, times `weights.smoothness` / 2^s: |d'| exp(-|I'|), slopes along rows and, if `vertical`, columns;
    - consistency, times `weights.consistency`: |d - d'|, d' the other view's disparity fetched as I' is.

    Logs each sum before its weight. A batch without right views, or a net without left and right disparities, is a
    ValueError.
    """
    if batch.right is None:
        raise ValueError("the batch has no right views; the stereo loss needs data of pairs")
    maps = net(batch.image, raw=True)
    if maps[0].shape[1] != 2:
        raise ValueError(
            f"the net gives maps of {maps[0].shape[1]} channels; the stereo loss needs left and right disparities, as "
            "monodepth_vgg and monodepth_pruned give"
        )
    here, there = torch.cat([batch.image, batch.right]), torch.cat([batch.right, batch.image])
    sums = {
        "appearance": maps[0].new_zeros(()),
        "smoothness": maps[0].new_zeros(()),
        "consistency": maps[0].new_zeros(()),
    }
    for scale, pair in enumerate(maps[: weights.scales]):
        own, other = torch.cat([pair[:, :1], pair[:, 1:]]), torch.cat([pair[:, 1:], pair[:, :1]])
        size = (own.shape[-2], own.shape[-1])
        seen, source = (F.interpolate(view, size=size, mode="area") for view in (here, there))
        shift = torch.cat([-pair[:, :1], pair[:, 1:]])
        made = warp(torch.cat([source, other], dim=1), shift)
        # each mean runs over both views, so twice it is their sum
        sums["appearance"] = sums["appearance"] + 2 * _unlike(made[:, :3], seen, weights.ssim)
        sums["smoothness"] = sums["smoothness"] + 2 * _rough(own, seen, weights.vertical) / 2**scale
        sums["consistency"] = sums["consistency"] + 2 * (made[:, 3:] - own).abs().mean()
    total = sums["appearance"] + weights.smoothness * sums["smoothness"] + weights.consistency * sums["consistency"]
    return total, {name: float(value.detach()) for name, value in sums.items()}


def warp(x: Tensor, shift: Tensor) -> Tensor:
    """`x` [B,C,H,W] fetched from `shift` [B,1,H,W] (fractions of the width) further right in each row, float [B,C,H,W].

    Linear between two pixels; beyond the border it is the border's pixel. So `warp(right, -d_left)` looks like the left
    view.
    """
    height, width = x.shape[-2:]
    rows = torch.linspace(-1, 1, height, dtype=shift.dtype, device=shift.device)
    columns = torch.linspace(-1, 1, width, dtype=shift.dtype, device=shift.device)
    places = columns + shift[:, 0] * (2 * width / max(width - 1, 1))  # -1 and 1 are the middles of the outermost pixels
    grid = torch.stack([places, rows[:, None].expand_as(places)], dim=-1)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=True)


def _unlike(made: Tensor, seen: Tensor, share: float) -> Tensor:
    """Mean of share clip((1 - SSIM) / 2, 0, 1) + (1 - share) L1; SSIM over 3x3 windows that lie in the image."""
    plain = (1 - share) * (made - seen).abs().mean()
    if not share or min(seen.shape[-2:]) < 3:
        return plain
    return plain + share * unlike(made, seen).mean()


def _rough(disparity: Tensor, image: Tensor, vertical: bool) -> Tensor:
    """Mean |dx d| exp(-mean_c |dx I|), with the same of dy if `vertical`; an image one pixel wide has no slope."""
    parts = [disparity.new_zeros(())]
    for dim in (-1, -2) if vertical else (-1,):
        if disparity.shape[dim] > 1:
            calm = (-image.diff(dim=dim).abs().mean(dim=1, keepdim=True)).exp()
            parts.append((disparity.diff(dim=dim).abs() * calm).mean())
    return torch.stack(parts).sum()
