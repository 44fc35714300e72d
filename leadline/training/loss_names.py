"""The names of the losses, for what must know them without loading torch."""

from __future__ import annotations

from collections.abc import Sequence

from leadline.core.text import nearest

LOSS_NAMES = (
    "l1", "l2", "berhu", "log_l1", "log_gradient", "silog_bts", "silog_dav2", "gradient", "multiscale_gradient", "hu",
    "hu_depth", "hu_gradient", "hu_normal", "ssim", "sig", "robust", "virtual_normal",
)  # fmt: skip
"""Those of `losses.LOSSES`, which compare depth maps."""
OTHER_LOSSES = ("stereo", "cross_entropy", "joint")
"""Those that stand alone: they see the batch, not maps."""


def check_loss_names(entries: Sequence[str]) -> None:
    """A ValueError for the first of `entries` (NAME, NAME:WEIGHT, NAME:WEIGHT@map) that names no loss. FILE.py:NAME is
    not looked into here.
    """
    for entry in entries:
        name = entry.partition("@")[0].partition(":")[0]
        if name not in (*LOSS_NAMES, *OTHER_LOSSES) and not name.endswith(".py"):
            raise ValueError(unknown_loss(name))


def unknown_loss(name: str) -> str:
    """What is said of a loss that is not there."""
    return f"the loss {name!r} is unknown; {nearest(name, [*LOSS_NAMES, *OTHER_LOSSES])}, or FILE.py:NAME for your own"
