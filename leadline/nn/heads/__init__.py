"""Heads: from features to what the net says."""

from __future__ import annotations

from leadline.nn.heads.classes import ClassHead
from leadline.nn.heads.depth import ConvHead, DisparityHead, NormHead
from leadline.nn.heads.joint import JointHead
from leadline.nn.heads.labels import EnlargingHead, LabelHead

HEADS = {
    "norm": NormHead,
    "conv": ConvHead,
    "disparity": DisparityHead,
    "classes": ClassHead,
    "labels": LabelHead,
    "enlarge": EnlargingHead,
    "joint": JointHead,
}
