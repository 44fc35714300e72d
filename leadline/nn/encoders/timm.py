"""Any convolutional net of timm as an encoder: `Encoder("timm:NAME", ())`."""

from __future__ import annotations

import difflib

from torch import Tensor, nn

from leadline.core.errors import MissingPackage
from leadline.core.spec import Encoder


class Timm(nn.Module):
    """Image [B,3,H,W] -> timm's feature maps, fine to coarse; most nets give five, at strides 2 to 32.

    The weights are fresh: a checkpoint of ours holds trained ones, and nothing is downloaded. The Spec's widths are
    empty, or the channels of the maps, which are then checked.
    """

    def __init__(self, spec: Encoder) -> None:
        super().__init__()
        try:
            import timm
        except ImportError as error:
            raise MissingPackage("timm", "timm", f"the encoder {spec.name!r}") from error
        name = spec.name.partition(":")[2]
        known = timm.list_models()
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3)
            raise ValueError(
                f"encoder {name!r} is unknown to timm {timm.__version__}; nearest: {', '.join(near) or 'none'}"
            )
        self.net = timm.create_model(name, pretrained=False, features_only=True)
        self.channels: tuple[int, ...] = tuple(self.net.feature_info.channels())
        self.strides: tuple[int, ...] = tuple(self.net.feature_info.reduction())
        if spec.widths and spec.widths != self.channels:
            raise ValueError(f"timm's {name} has maps of {self.channels} channels, widths {spec.widths} were given")

    def forward(self, x: Tensor) -> list[Tensor]:
        return list(self.net(x))
