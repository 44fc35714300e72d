"""Heads that name things: one class for the image."""

from __future__ import annotations

from torch import Tensor, nn

from leadline.core.spec import Head


class ClassHead(nn.Module):
    """The mean over all pixels, then a linear layer: [B,C,h,w] -> scores [B,K], larger is likelier (logits)."""

    def __init__(self, inputs: int, spec: Head) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, len(spec.classes))

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.linear(x.mean((2, 3)))
        return result

    def start_at(self, mean: float) -> None:
        """Nothing: all classes start alike."""
