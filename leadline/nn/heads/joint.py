"""Heads of two tasks: depth, and what each pixel shows, from the same features."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from leadline.core.spec import Head
from leadline.nn.heads.depth import ConvHead


class JointHead(ConvHead):
    """Two k x k convolutions of the same features: [B,C,h,w] -> [B,1+K,h,w].

    Channel 0 is depth, as `ConvHead` gives it; channels 1 to K are a score for each class, larger is likelier (logits).
    """

    def __init__(self, inputs: int, spec: Head) -> None:
        super().__init__(inputs, spec)
        self.labels = nn.Conv2d(inputs, len(spec.classes), spec.kernel, padding=spec.kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([super().forward(x), self.labels(x)], dim=1)
