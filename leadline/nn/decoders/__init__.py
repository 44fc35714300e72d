"""Decoders: feature pyramid in, one map of features out (at the image's size or coarser)."""

from __future__ import annotations

from leadline.nn.decoders.fusion import Fusion
from leadline.nn.decoders.ladder import STEPS, Ladder, Shuffle
from leadline.nn.decoders.monodepth import Monodepth
from leadline.nn.decoders.multiscale import Multiscale

DECODERS = {
    **dict.fromkeys(STEPS, Ladder),
    "fusion": Fusion,
    "monodepth": Monodepth,
    "multiscale": Multiscale,
    "shuffle": Shuffle,
}
