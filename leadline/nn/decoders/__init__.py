"""Decoders: feature pyramid in, one map of features at the image's size out."""

from __future__ import annotations

from leadline.nn.decoders.nnconv5 import NNConv5

DECODERS = {"nnconv5": NNConv5}
