"""Heads that name what each pixel shows."""

from __future__ import annotations

from torch import Tensor, nn

from leadline.core.spec import Head


class LabelHead(nn.Module):
    """k x k convolution to a score for each class: [B,C,h,w] -> [B,K,h,w], larger is likelier (logits)."""

    def __init__(self, inputs: int, spec: Head) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, len(spec.classes), spec.kernel, padding=spec.kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.conv(x)
        return result

    def start_at(self, mean: float) -> None:
        """Nothing: all classes start alike."""


class EnlargingHead(nn.Module):
    """Transposed convolution to `stride` times the size and a score for each class (ENet's last layer, FCN's upscore8).

    Its kernel is twice the stride. ENet's own is 3x3 with stride 2; here it is 4x4, whose padding needs no cropping.
    """

    def __init__(self, inputs: int, spec: Head) -> None:
        super().__init__()
        n, stride = len(spec.classes), spec.stride
        self.conv = nn.ConvTranspose2d(inputs, n, 2 * stride, stride, stride // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.conv(x)
        return result

    def start_at(self, mean: float) -> None:
        """Nothing: all classes start alike."""
