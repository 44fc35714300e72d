"""Scores of channels that meet in one norm, behind a concat."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from leadline.compress.pruning import importance as scores
from leadline.compress.pruning.trace import trace
from leadline.data.batch import Batch


class Joined(nn.Module):
    """Two layers side by side, and one norm for both."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 4, 1)
        self.norm, self.last = nn.BatchNorm2d(7), nn.Conv2d(7, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        out: Tensor = self.last(self.norm(torch.cat([self.left(image), self.right(image)], dim=1)))
        return out


def squares(net: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, float]]:
    return net(batch.image).square().mean(), {}


def test_a_norm_that_several_groups_share_counts_once() -> None:
    torch.manual_seed(4)
    net = Joined().eval()
    channels = trace(net, torch.zeros(1, 3, 6, 8))
    assert sorted(channels.free) == ["left", "right"]
    images = torch.rand(2, 3, 6, 8)
    batch = Batch(images, torch.zeros(2, 6, 8), torch.ones(2, 6, 8, dtype=torch.bool), "drawn")
    squares(net, batch)[0].backward()
    expected = sum((p * p.grad).detach() for p in (net.norm.weight, net.norm.bias) if p.grad is not None) ** 2
    assert isinstance(expected, Tensor)
    found = scores.taylor(net, channels, batches=[batch], loss=squares, at="gate")
    torch.testing.assert_close(torch.cat([found["left"], found["right"]]), expected)
