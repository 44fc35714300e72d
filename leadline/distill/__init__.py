"""Losses that close over a teacher: another net whose answers are learned beside, or in place of, the data's depth."""

from __future__ import annotations

from leadline.distill.feature_loss import WAYS, Feature, affinity, channel_kl, hint
from leadline.distill.loss import DistillationLoss, ramp
from leadline.distill.output_loss import distilled
from leadline.distill.self_loss import answered

__all__ = ["WAYS", "DistillationLoss", "Feature", "affinity", "answered", "channel_kl", "distilled", "hint", "ramp"]
