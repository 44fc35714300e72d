"""The published nets: one function each, returning a Spec. This module is the registry."""

from __future__ import annotations

import difflib
import inspect
import sys
from typing import Literal

from leadline.nn.encoders import mobilenet_v1, mobilenet_v3
from leadline.spec import Decoder, Encoder, Head, Preprocess, Spec

# The ImageNet encoder of `nn.init` expects -1..1. The published FastDepth feeds 0..1; `foreign.import_fastdepth`
# states that in the Spec of the authors' weights.
_CENTRED = Preprocess(size=(224, 224), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def fastdepth(skip: Literal["add", "cat", "none"] = "add", depthwise: bool = True) -> Spec:
    """FastDepth before pruning: MobileNet-NNConv5, depthwise, skip-add (Wofk et al. 2019, arXiv 1903.03273, table II).

    Deviates in the head's batch norm, which uses fixed statistics: see docs/papers/fastdepth.md.
    """
    encoder = Encoder("mobilenet_v1", mobilenet_v1.WIDTHS)
    decoder = Decoder("nnconv5", (512, 256, 128, 64, 32), skip, depthwise)
    return Spec("fastdepth", encoder, decoder, Head(batch_statistics=False), _CENTRED)


def fastdepth_pruned() -> Spec:
    """FastDepth with the channel counts that NetAdapt left, as the authors' tuning logs give them."""
    widths = (16, 56, 88, 120, 144, 256, 408, 376, 272, 288, 296, 328, 480, 512)
    decoder = Decoder("nnconv5", (200, 256, 120, 56, 16))
    return Spec("fastdepth_pruned", Encoder("mobilenet_v1", widths), decoder, Head(batch_statistics=False), _CENTRED)


def litedepth(taps: Literal[4, 5] = 4) -> Spec:
    """LiteDepth's student (Li et al. 2022, arXiv 2209.00961): 128x160 inside, depth at a quarter of that.

    With 5 taps the stem's features join too and depth comes at half the size (the authors' `final_test` variant).
    """
    decoder = Decoder("fusion", (72, 24, 8, 24) if taps == 4 else (72, 24, 8, 4, 12), "cat", depthwise=False, kernel=3)
    how = Preprocess((128, 160), "corners", "nearest", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    return Spec("litedepth", Encoder("mobilenet_v3", mobilenet_v3.WIDTHS), decoder, Head(layer="conv"), how)


def names() -> list[str]:
    """The nets of the zoo, sorted."""
    return sorted(
        name
        for name, item in vars(sys.modules[__name__]).items()
        if inspect.isfunction(item) and item.__annotations__.get("return") == "Spec" and name != "spec"
    )


def spec(name: str) -> Spec:
    """The Spec of a net of the zoo; an unknown name is a ValueError that names the nearest ones."""
    if name not in names():
        near = difflib.get_close_matches(name, names(), n=3) or names()
        raise ValueError(f"the net {name!r} is unknown; nearest: {', '.join(near)}")
    found: Spec = getattr(sys.modules[__name__], name)()
    return found
