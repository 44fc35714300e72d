"""The decoder of classifiers: none. The coarsest map is what the head sees."""

from __future__ import annotations

from torch import Tensor, nn

from leadline.core.spec import Decoder


class Last(nn.Module):
    """Pyramid -> its last map. It takes no widths."""

    def __init__(self, spec: Decoder, channels: tuple[int, ...]) -> None:
        super().__init__()
        if spec.widths:
            raise ValueError(f"last takes no widths, {len(spec.widths)} were given")
        self.channels = channels[-1]

    def forward(self, pyramid: list[Tensor], size: tuple[int, int]) -> Tensor:
        return pyramid[-1]
