"""ENet's decoder (Paszke et al. 2016, arXiv 1606.02147): two unpooling bottlenecks with plain ones behind them."""

from __future__ import annotations

from torch import Tensor, nn

from leadline.core.spec import Decoder
from leadline.nn.blocks import unpooled_like
from leadline.nn.decoders.ladder import cropped
from leadline.nn.encoders.enet import Bottleneck, conv_prelu, last


class ENetDecoder(nn.Module):
    """`enet`'s three maps -> features [B, 16, H/2, W/2]. The head's transposed convolution goes to the image's size."""

    def __init__(self, spec: Decoder, channels: tuple[int, ...]) -> None:
        super().__init__()
        if tuple(spec.widths) != tuple(channels[-2::-1]):
            raise ValueError(
                f"enet's widths are those of the maps it unpools to, {channels[-2::-1]}, not {spec.widths}"
            )
        self.up = nn.ModuleList()
        self.refine = nn.ModuleList()
        for inputs, outputs, n in zip(channels[:0:-1], spec.widths, (2, 1), strict=True):
            self.up.append(Up(inputs, outputs))
            self.refine.append(nn.Sequential(*(Bottleneck(outputs, 0.1) for _ in range(n))))
        self.channels = spec.widths[-1]

    def forward(self, pyramid: list[Tensor], size: tuple[int, int]) -> Tensor:
        x = pyramid[-1]
        for up, refine, before in zip(self.up, self.refine, pyramid[-2::-1], strict=True):
            x = refine(up(x, before))
        return x


class Up(nn.Module):
    """Unpooled 1x1 + (1x1 to a quarter of the outputs, transposed 2x2 of stride 2, 1x1), then PReLU.

    Deviations from the authors' code: theirs is 3x3, with ReLU in the decoder and without dropout there.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        hidden = max(1, outputs // 4)
        self.main = nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))
        self.layers = nn.Sequential(
            *conv_prelu(nn.Conv2d(inputs, hidden, 1, bias=False)),
            *conv_prelu(nn.ConvTranspose2d(hidden, hidden, 2, 2, bias=False)),
            *last(hidden, outputs, 0.1),
        )
        self.act = nn.PReLU(outputs)

    def forward(self, x: Tensor, before: Tensor) -> Tensor:
        grown = cropped(self.layers(x), (before.shape[-2], before.shape[-1]))
        result: Tensor = self.act(unpooled_like(self.main(x), before) + grown)
        return result
