"""Losses that close over a teacher: another net whose answers are learned beside, or in place of, the data's depth."""

from __future__ import annotations

from leadline.distill.features import WAYS, Feature, affinity, channel_kl, hint
from leadline.distill.lesson import Lesson, ramp
from leadline.distill.output import distilled
from leadline.distill.simple import answered

__all__ = ["WAYS", "Feature", "Lesson", "affinity", "answered", "channel_kl", "distilled", "hint", "ramp"]
