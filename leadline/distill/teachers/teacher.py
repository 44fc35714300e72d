"""Teacher: a batch of pictures in, depth of a stated kind out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from leadline.core.spec import Kind
from leadline.core.types import KINDS
from leadline.data.batch import Batch


class Answer(NamedTuple):
    """A teacher's prediction for a batch [B,3,H,W]: `depth` float32 [B,1,H,W] of its kind, NaN where it has no
    prediction, and `confidence` float32 [B,1,H,W] in 0..1, 0 there. `abstained`: the teachers of an ensemble without
    any prediction.
    """

    depth: Tensor
    confidence: Tensor
    abstained: tuple[str, ...] = ()


@dataclass(frozen=True)
class Teacher:
    """A source of depth: a net, files, an ensemble. `teacher(batch)` reads `image` (RGB in 0..1, any size) and,
    where its depth lies in files, `name`; one that measures may read `target` and `valid`.

    kind    what its numbers are: metric (metres), relative_depth (farther is larger, times anything) or
            relative_disparity (nearer is larger, times and plus anything)
    ask     the batch to its depth [B,1,H,W], or to an Answer where it knows how sure it is
    facts   what it is, as JSON: the file's SHA-256, licences, the test-time augmentation
    net     the net whose features can be learned, if it is one
    files_of  of answers that are files, those about a picture of this name
    """

    name: str
    kind: Kind
    ask: Callable[[Batch], Tensor | Answer] = field(repr=False)
    facts: Mapping[str, Any] = field(default_factory=dict)
    net: nn.Module | None = field(default=None, repr=False)
    files_of: Callable[[str], tuple[Path, ...]] = field(default=lambda name: (), repr=False)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"the teacher {self.name} is of kind {self.kind!r}; allowed: {', '.join(KINDS)}")

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Answer:
        """Its prediction, checked; see `Answer`."""
        answer = self.ask(batch)
        depth, confidence, abstained = answer if isinstance(answer, Answer) else Answer(answer, torch.ones_like(answer))
        wanted = (batch.image.shape[0], 1, *batch.image.shape[2:])
        if tuple(depth.shape) != wanted:
            raise ValueError(f"the teacher {self.name} gave {tuple(depth.shape)} for pictures that need {wanted}")
        if confidence.shape != depth.shape:
            raise ValueError(f"the teacher {self.name} gave {wanted} and a confidence {tuple(confidence.shape)}")
        depth, confidence = depth.float(), confidence.float().nan_to_num(0, 1, 0).clamp(0, 1)
        known = torch.isfinite(depth)
        if self.kind != "relative_disparity":
            known &= depth > 0
        return Answer(torch.where(known, depth, torch.nan), torch.where(known, confidence, 0), abstained)
