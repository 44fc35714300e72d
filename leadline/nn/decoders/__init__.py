"""Decoders: feature pyramid in, one map of features out (at the image's size or coarser)."""

from __future__ import annotations

from leadline.nn.decoders.fusion import Fusion
from leadline.nn.decoders.nnconv5 import NNConv5

DECODERS = {"fusion": Fusion, "nnconv5": NNConv5}
