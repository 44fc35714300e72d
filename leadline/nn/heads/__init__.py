"""Heads: from features to what the net says."""

from __future__ import annotations

from leadline.nn.heads.classes import ClassHead
from leadline.nn.heads.depth import ConvHead, DisparityHead, NormHead

HEADS = {"norm": NormHead, "conv": ConvHead, "disparity": DisparityHead, "classes": ClassHead}
