"""Decoders: feature pyramid in, one map of features out (at the image's size or coarser)."""

from __future__ import annotations

from leadline.nn.decoders.enet import ENetDecoder
from leadline.nn.decoders.fast_scnn import FastSCNNDecoder
from leadline.nn.decoders.fcn import FCN, FrontEnd
from leadline.nn.decoders.fusion import Fusion
from leadline.nn.decoders.ladder import STEPS, Ladder, Shuffle
from leadline.nn.decoders.last import Last
from leadline.nn.decoders.monodepth import Monodepth
from leadline.nn.decoders.multiscale import Multiscale
from leadline.nn.decoders.segnet import SegNet
from leadline.nn.decoders.unet import UNet

DECODERS = {
    **dict.fromkeys(STEPS, Ladder),
    "enet": ENetDecoder,
    "fast_scnn": FastSCNNDecoder,
    "fcn": FCN,
    "front_end": FrontEnd,
    "fusion": Fusion,
    "last": Last,
    "monodepth": Monodepth,
    "multiscale": Multiscale,
    "segnet": SegNet,
    "shuffle": Shuffle,
    "unet": UNet,
}
