"""The rank of feature maps as a score."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from leadline.compress.pruning import importance as scores
from leadline.compress.pruning.trace import trace
from leadline.data.batch import Batch

pytestmark = pytest.mark.usefixtures("one_thread")


class Copied(nn.Module):
    """Three channels that are those of the image."""

    def __init__(self) -> None:
        super().__init__()
        self.copies = nn.Conv2d(3, 3, 1, bias=False)
        self.last = nn.Conv2d(3, 1, 1)
        with torch.no_grad():
            self.copies.weight.copy_(torch.eye(3)[..., None, None])

    def forward(self, image: Tensor) -> Tensor:
        out: Tensor = self.last(self.copies(image))
        return out


def test_the_rank_is_that_of_the_maps_meaned_over_images() -> None:
    net = Copied()
    channels = trace(net, torch.zeros(1, 3, 4, 4))
    image = torch.zeros(2, 3, 6, 6)
    image[0, 0], image[0, 1, :2, :2], image[0, 2] = 1.0, torch.eye(2), torch.eye(6)
    image[1, 0], image[1, 2] = torch.eye(6), torch.arange(36.0).reshape(6, 6)
    batch = Batch(image, image[:, :1], image[:, :1] > 0, ("a", "b"))
    assert scores.map_rank(net, channels, batches=[batch])["copies"].tolist() == [3.5, 1.0, 4.0]
    two = Batch(image[:1], image[:1, :1], image[:1, :1] > 0, ("a",))
    assert scores.map_rank(net, channels, batches=[batch, two])["copies"].tolist() == [2.25, 1.5, 5.0]
    # averages of 2 x 2 pixels
    assert scores.map_rank(net, channels, batches=[two], largest=3)["copies"].tolist() == [1.0, 1.0, 3.0]
