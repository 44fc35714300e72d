"""DistillationLoss: all that a student learns from a teacher in one loss for `fit`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leadline.data.batch import Batch
from leadline.data.label_set import TOP
from leadline.distill.feature_loss import Feature, listening
from leadline.distill.output_loss import distilled
from leadline.distill.teachers import Teacher
from leadline.nn.reference import Reference
from leadline.training.losses import Term


def ramp(step: int) -> float:
    """min(0.999, 1 - 101 / (step + 101)), step from 0: LiteDepth's DistillReweightHook. Half after 101 steps."""
    return min(0.999, 1 - 101 / (step + 101))


def with_teacher_output(teacher: Teacher, batch: Batch, min_confidence: float = 0.0) -> Batch:
    """The batch with the teacher's depth as its `pseudo_depth`: above 0 where it counts.

    What was 0 in `pseudo_depth` is no part of the picture (padding, corners of a turned one); answers about it do not
    count. Disparity, whose zero nobody knows, becomes its place between a picture's lowest and highest, as in a label
    set.
    """
    depth, confidence, _ = teacher(batch)
    known = torch.isfinite(depth) & (confidence >= min_confidence)
    if batch.pseudo_depth is not None:
        known &= _like(batch.pseudo_depth > 0, depth)
    if teacher.kind == "relative_disparity":
        low = torch.where(known, depth, torch.inf).amin((1, 2, 3), keepdim=True)
        high = torch.where(known, depth, -torch.inf).amax((1, 2, 3), keepdim=True)
        depth = (1 + (TOP - 1) * (depth - low) / (high - low).clamp(min=1e-9)) / TOP
    return replace(batch, pseudo_depth=torch.where(known, depth, 0), pseudo_kind=(teacher.kind,) * len(batch.name))


class DistillationLoss(nn.Module):
    """A loss for `fit`: `distilled` by the `terms`, and the teacher's features.

    teacher     predicts each batch as the student sees it, if `online` and its depth counts at all; otherwise that
                comes with the batch (`Batch.pseudo_depth`, label sets), which costs nothing and allows any teacher
    features    what is compared besides; needs a teacher with a `net`, online or not
    min_confidence: pixels of a lower confidence do not count, where `online`
    warmup      whether all that comes from the teacher about labelled images, and its features, comes in with `ramp`

    Logs what `distilled` logs, each feature's loss with its weight, and `ramp`.
    """

    steps: Tensor
    features: nn.ModuleList

    def __init__(
        self, terms: Mapping[str, Term], *, label_weight: float = 0.1, unlabelled: float = 1.0, warmup: bool = False,
        min_confidence: float = 0.0, teacher: Teacher | None = None, online: bool = True,
        features: Sequence[Feature] = (),
    ) -> None:  # fmt: skip
        super().__init__()
        if not 0 <= label_weight <= 1 or not unlabelled >= 0:
            raise ValueError(
                f"label_weight is {label_weight}, unlabelled {unlabelled}; 0 to 1, and 0 or more, are needed"
            )
        if features and (teacher is None or teacher.net is None):
            who = "no teacher is given" if teacher is None else f"{teacher.name} is none"
            raise ValueError(f"features are those of a net of leadline's, asked about each batch, and {who}")
        self.terms, self.label_weight, self.unlabelled, self.warmup = dict(terms), label_weight, unlabelled, warmup
        self.min_confidence = min_confidence
        self.teacher = Reference(teacher)  # its weights are not the loss's
        self.online = online and teacher is not None and (label_weight < 1 or unlabelled > 0)
        self.features = nn.ModuleList(features)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(self, net: Any, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        teacher: Any = self.teacher.module
        features: list[Any] = list(self.features)
        share = ramp(int(self.steps)) if self.warmup else 1.0
        if self.training:
            self.steps.add_(1)
        with ExitStack() as around:
            inner = getattr(net, "net", net)  # fit's shell holds the net: its modules have the names that hooks need
            mine = [around.enter_context(listening(inner, [a for a, _ in f.pairs])) for f in features]
            theirs = [around.enter_context(listening(teacher.net, [b for _, b in f.pairs])) for f in features]
            if features:
                teacher.net.to(batch.image.device).eval()
                with torch.no_grad():
                    teacher.net(batch.image)
            expected = [maps() for maps in theirs]
            if self.online:
                batch = with_teacher_output(teacher, batch, self.min_confidence)
            value, logs = distilled(self.terms, 1 - share * (1 - self.label_weight), self.unlabelled, net, batch)
            seen = [maps() for maps in mine]
        known = _compared(batch)
        for feature, own, others in zip(features, seen, expected, strict=True):
            gap = share * feature(own, others, known)
            value, logs = value + gap, {**logs, feature.way: logs.get(feature.way, 0.0) + float(gap.detach())}
            logs.pop("skipped", None)
        return value, {**logs, "ramp": share} if self.warmup else logs


def _compared(batch: Batch) -> Tensor:
    """Where features are: where depth is known; of a picture that nobody has measured, where the teacher has answered,
    or else everywhere. bool [B,1,H,W].
    """
    known = batch.valid
    if batch.pseudo_depth is not None:
        known = torch.where(_none(known), _like(batch.pseudo_depth > 0, known), known)
    found: Tensor = known | _none(known)
    return found


def _none(known: Tensor) -> Tensor:
    """Of which pictures nothing is known, bool [B,1,1,1]."""
    return ~known.flatten(1).any(1)[:, None, None, None]


def _like(known: Tensor, other: Tensor) -> Tensor:
    """A mask at the size of another map: some transforms give depth and pictures unlike sizes."""
    if known.shape == other.shape:
        return known
    brought: Tensor = F.interpolate(known.float(), other.shape[-2:], mode="nearest")
    return brought > 0
