"""Imprinting: how much of the answer each block adds, read off its features without any training.

LayerPrune's own criterion: behind each block a classifier is made of the classes' mean features (Qi et al. 2018, arXiv
1712.07136), and the block is worth what that classifier is better than the one behind the block before.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leadline.compress.pruning.importance import hooked
from leadline.data.batch import Batch

TARGET = 512
"""About so many numbers has an embedding: a map of C channels is averaged to d x d, d = round(sqrt(512 / C))."""
BINS = 10
"""Depth has so many classes, equally filled."""

Place = tuple[str, str]
"""A block, and its `input` or `output`."""


@dataclass
class _Means:
    """Sums of the embeddings of each class, and how many they are."""

    sums: Tensor | None = None
    counts: Tensor = field(default_factory=lambda: torch.zeros(0))

    def add(self, embeddings: Tensor, labels: Tensor, n: int) -> None:
        if self.sums is None:
            self.sums, self.counts = torch.zeros(n, embeddings.shape[1]), torch.zeros(n)
        self.sums.index_add_(0, labels, embeddings)
        self.counts += torch.bincount(labels, minlength=n)


def imprinting(net: Any, blocks: Sequence[str], batches: Iterable[Batch]) -> dict[str, float]:
    """The score of each block: the accuracy of the classifier behind it less that of one on the block's own input.

    What an example is depends on `target`. A class for each image, int64 [B]: the block's map, averaged to d x d and
    flattened. A class for each pixel, int64 [B,1,H,W]: each cell of the map, with the class of the pixel in its middle.
    Depth, float [B,1,H,W]: each cell of the map, with the range its mean depth is in, of BINS equally filled ones.
    Embeddings are not normalised, the classes' means are, as published. `batches` is gone through twice: once for the
    means, once for the accuracies. ValueError if it is empty.

    The authors compare a block with the one before it, which in their nets is its input.
    """
    batches = list(batches)
    if not batches:
        raise ValueError("imprinting looks at batches of data, and there were none; at least one is needed")
    net = copy.deepcopy(net).eval()
    edges = _edges(batches)
    n = int(max(int(b.target.max()) for b in batches)) + 1 if edges is None else BINS
    places = [(block, side) for block in blocks for side in ("input", "output")]
    means = {place: _Means() for place in places}
    hits, total = dict.fromkeys(places, 0), dict.fromkeys(places, 0)

    def learn(place: Place, features: Tensor, batch: Batch) -> None:
        means[place].add(*_examples(features, batch, edges), n)

    def validate(place: Place, features: Tensor, batch: Batch) -> None:
        found = means[place]
        assert found.sums is not None
        rows = F.normalize(found.sums / found.counts.clamp_min(1)[:, None], dim=1)
        embeddings, labels = _examples(features, batch, edges)
        likeness = embeddings @ rows.T
        best = likeness.masked_fill(found.counts == 0, -torch.inf).argmax(dim=1)  # not a class without an example
        hits[place] += int((best == labels).sum())
        total[place] += len(labels)

    for visit in (learn, validate):
        for batch in batches:
            for place, features in _features(net, blocks, batch).items():
                visit(place, features, batch)
    accuracy = {place: hits[place] / max(1, total[place]) for place in places}
    return {block: accuracy[block, "output"] - accuracy[block, "input"] for block in blocks}


def _features(net: nn.Module, blocks: Sequence[str], batch: Batch) -> dict[Place, Tensor]:
    """What goes into each block and what comes out."""
    found: dict[Place, Tensor] = {}

    def note(name: str, out: Tensor) -> None:
        found[name, "output"] = out.detach().clone()  # an activation in place comes next

    def note_input(name: str, inputs: tuple[Any, ...]) -> None:
        found[name, "input"] = inputs[0].detach().clone()

    hooks = [
        net.get_submodule(name).register_forward_pre_hook(lambda _m, x, name=name: note_input(name, x))
        for name in blocks
    ]
    with hooked(net, blocks, note), torch.no_grad():
        net(batch.image)
    for hook in hooks:
        hook.remove()
    return found


def _examples(features: Tensor, batch: Batch, edges: Tensor | None) -> tuple[Tensor, Tensor]:
    """(embeddings [N,E], their classes [N])."""
    if batch.target.ndim == 1:
        d = max(1, round((TARGET / features.shape[1]) ** 0.5))
        return F.adaptive_avg_pool2d(features, d).flatten(1), batch.target
    size = (features.shape[-2], features.shape[-1])
    keep, labels = _labels_of_cells(batch, size) if edges is None else _ranges_of_cells(batch, size, edges)
    return features.movedim(1, -1).flatten(0, -2)[keep], labels


def _labels_of_cells(batch: Batch, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """(which cells count [B*h*w], the classes of those)."""
    maps = (batch.target, batch.valid)
    labels, valid = (F.interpolate(x.float(), size, mode="nearest-exact").flatten() for x in maps)
    return valid > 0, labels[valid > 0].long()


def _ranges_of_cells(batch: Batch, size: tuple[int, int], edges: Tensor) -> tuple[Tensor, Tensor]:
    """(which cells count [B*h*w], the ranges of depth of those)."""
    share = F.adaptive_avg_pool2d(batch.valid.float(), size).flatten()
    depth = F.adaptive_avg_pool2d(torch.where(batch.valid, batch.target, 0), size).flatten()
    keep = share > 0.5
    return keep, torch.bucketize(depth[keep] / share[keep], edges)


def _edges(batches: Sequence[Batch]) -> Tensor | None:
    """The inner borders of depth's classes; None where targets are classes."""
    if not batches[0].target.is_floating_point():
        return None
    depths = torch.cat([b.target[b.valid] for b in batches])
    if not len(depths):
        raise ValueError("imprinting needs depth to compare with, and no pixel of the batches is valid")
    some = depths[:: max(1, len(depths) // 100_000)]
    return torch.quantile(some.float(), torch.linspace(0, 1, BINS + 1)[1:-1])
