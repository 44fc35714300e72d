"""What a net is trained to make small. Three sorts:

1. criteria, (pred, target, valid) -> scalar, between depth maps: `maps`, `litedepth`, by name in LOSSES;
2. losses of `fit`, (net, batch) -> (scalar, logs), made of criteria: `terms`;
3. losses of `fit` that need no depth: `stereo`.
"""

from __future__ import annotations

from leadline.training.losses.depth import (
    Criterion,
    berhu,
    gradient,
    hu,
    hu_depth,
    hu_gradient,
    hu_normal,
    l1,
    l2,
    log_gradient,
    log_l1,
    multiscale_gradient,
    silog_bts,
    silog_dav2,
    ssim,
)
from leadline.training.losses.litedepth import robust, sig, virtual_normal
from leadline.training.losses.weighted import Reweighted, Term, supervised, weighted

LOSSES: dict[str, Criterion] = {
    criterion.__name__: criterion
    for criterion in (
        l1,
        l2,
        berhu,
        log_l1,
        log_gradient,
        silog_bts,
        silog_dav2,
        gradient,
        multiscale_gradient,
        hu,
        hu_depth,
        hu_gradient,
        hu_normal,
        ssim,
        sig,
        robust,
        virtual_normal,
    )
}
"""The criteria by name, for the command line."""

__all__ = ["LOSSES", "Criterion", "Reweighted", "Term", "supervised", "weighted", *LOSSES]
