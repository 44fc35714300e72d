"""Teachers made of teachers: several views of a picture, several teachers, and relative numbers turned into metres."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from leadline.core.geometry import robust_line
from leadline.core.spec import Kind
from leadline.data.batch import Batch
from leadline.distill.teachers.teacher import Answer, Teacher

LEAST = 64
"""So many pixels with a known depth are needed to find the scale and shift of a picture."""


@dataclass(frozen=True)
class Stated:
    """A scale and shift that somebody knows: depth in metres = `scale` x relative depth + `shift`, or disparity in 1/m
    = `scale` x relative disparity + `shift`.
    """

    scale: float
    shift: float = 0.0

    def __post_init__(self) -> None:
        if not (self.scale > 0 and np.isfinite([self.scale, self.shift]).all()):
            raise ValueError(f"scale is {self.scale}, shift {self.shift}; a scale above 0, finite numbers, are needed")


def with_test_time_augmentation(teacher: Teacher, *, flip: bool = True, zooms: Sequence[float] = (1.0,)) -> Teacher:
    """The teacher's mean answer over mirrored pictures and over cut-outs that are enlarged by each of `zooms`.

    The whole picture is always predicted. An enlarged cut-out (four of them, which cover the picture) looks nearer:
    metres are multiplied by the zoom. Relative answers are first fitted to that about the whole picture, since the
    scale of each is its own. Confidence is exp(-s), s the standard deviation of the answers' logarithms; of
    disparities, relative to their range.
    """
    if not zooms or any(not 1 <= zoom <= 2 for zoom in zooms):
        raise ValueError(f"zooms are {tuple(zooms)}; at least one, each from 1 to 2, is needed")
    if teacher.facts.get("by_name"):
        raise ValueError(f"{teacher.name} knows whole pictures only; leave averaging (flip, zooms) out")

    zooms = (1.0, *(zoom for zoom in zooms if zoom > 1))

    def ask(batch: Batch) -> Answer:
        answers = []
        for zoom in zooms:
            for rows, columns in _cutouts((batch.image.shape[-2], batch.image.shape[-1]), zoom):
                for mirrored in (False, True) if flip else (False,):
                    part = batch.image[..., rows, columns]
                    seen = F.interpolate(part, size=batch.image.shape[-2:], mode="bilinear") if zoom > 1 else part
                    depth = teacher(replace(batch, image=seen.flip(-1) if mirrored else seen)).depth
                    depth = depth.flip(-1) if mirrored else depth
                    if zoom > 1:
                        depth = F.interpolate(depth, size=part.shape[-2:], mode="nearest-exact")
                    depth = depth * zoom if teacher.kind == "metric" else depth
                    whole = torch.full_like(batch.image[:, :1], torch.nan)
                    whole[..., rows, columns] = depth
                    answers.append(whole)
        return _mean(answers, teacher.kind)

    how = {"flip": flip, "zooms": [float(zoom) for zoom in zooms]}
    return replace(teacher, ask=ask, facts={**teacher.facts, "test_time_augmentation": how}, net=None)


def ensemble(teachers: Sequence[Teacher], weights: Sequence[float] | None = None) -> Teacher:
    """The (weighted) mean answer of several teachers of one kind; confidence as in `with_test_time_augmentation`, their
    own counted, times the part of the weights that have answered. A mixture of kinds is a ValueError: make relative
    ones metric first (`to_metric`).
    """
    shares = [1.0] * len(teachers) if weights is None else list(weights)
    if not teachers or len(shares) != len(teachers) or not all(0 < share < math.inf for share in shares):
        raise ValueError(f"{len(teachers)} teachers with the weights {shares}; one above 0 for each, finite, is needed")
    kinds = {teacher.kind for teacher in teachers}
    if len(kinds) > 1:
        listed = ", ".join(f"{teacher.name} gives {teacher.kind}" for teacher in teachers)
        raise ValueError(f"{listed}: their mean has no meaning; give a metric reference to the relative ones first")
    kind = teachers[0].kind

    def ask(batch: Batch) -> Answer:
        answers = [teacher(batch) for teacher in teachers]
        sure = torch.stack([answer.confidence for answer in answers])
        made = _mean([answer.depth for answer in answers], kind, shares, sum(shares), sure)
        empty = [t.name for t, answer in zip(teachers, answers, strict=True) if not torch.isfinite(answer.depth).any()]
        return made._replace(abstained=tuple(empty))

    facts: dict[str, Any] = {
        "ensemble": [{"name": t.name, "weight": w, **t.facts} for t, w in zip(teachers, shares, strict=True)],
        "licences": sorted({line for t in teachers for line in t.facts.get("licences", ())}),
    }
    if any(teacher.facts.get("by_name") for teacher in teachers):
        facts["by_name"] = True
    name = "+".join(teacher.name for teacher in teachers)
    return Teacher(name, kind, ask, facts, files_of=_files_of(teachers))


def to_metric(teacher: Teacher, reference: Teacher | Stated | None = None, *, far_m: float = 100.0) -> Teacher:
    """A relative teacher that gives metres: scale and shift of each picture by a robust fit to `reference`.

    reference   a metric teacher, or a scale and shift that hold for all pictures; None: the depth that the batch
                itself has (`target` where `valid`), be it as sparse as a LiDAR's
    far_m       depth that a disparity of 0 or below becomes, metres

    Disparities are fitted to 1/metres, depths to metres (`geometry.robust_line`). It has no prediction for pictures
    with fewer than LEAST known pixels, and where the fit is upside down (a scale of 0 or below). A metric teacher is a
    ValueError, and so is a relative reference.
    """
    if teacher.kind == "metric":
        raise ValueError(f"{teacher.name} gives metres already; leave the reference out")
    if isinstance(reference, Teacher) and reference.kind != "metric":
        raise ValueError(f"{reference.name} gives {reference.kind}; a metric teacher is needed to give a scale")

    def ask(batch: Batch) -> Answer:
        answer = teacher(batch)
        if isinstance(reference, Stated):
            lines = [(reference.scale, reference.shift)] * len(answer.depth)
        else:
            known = _truth(batch, answer.depth) if reference is None else reference(batch).depth
            valid = torch.isfinite(known)
            lines = [_line(*maps, teacher.kind) for maps in zip(answer.depth, known, valid, strict=True)]
        scale, shift = torch.tensor(lines, device=answer.depth.device).float().view(-1, 2, 1, 1, 1).unbind(1)
        line = scale * answer.depth + shift
        metres = 1 / line.clamp(min=1 / far_m) if teacher.kind == "relative_disparity" else line.clamp(max=far_m)
        return Answer(torch.where(scale > 0, metres, torch.nan), answer.confidence)

    how: dict[str, Any] = {"truth": True}
    if isinstance(reference, Stated):
        how = {"scale": reference.scale, "shift": reference.shift}
    elif reference is not None:
        how = {"name": reference.name, **reference.facts}
    licences = sorted({*teacher.facts.get("licences", ()), *how.get("licences", ())})
    facts = {**teacher.facts, "to_metric": how, "far_m": far_m, "licences": licences}
    if how.get("by_name"):
        facts["by_name"] = True
    every = [teacher, reference] if isinstance(reference, Teacher) else [teacher]
    return Teacher(teacher.name, "metric", ask, facts, files_of=_files_of(every))


def _files_of(teachers: Sequence[Teacher]) -> Callable[[str], tuple[Path, ...]]:
    return lambda name: tuple(file for teacher in teachers for file in teacher.files_of(name))


def _truth(batch: Batch, like: Tensor) -> Tensor:
    """The batch's own depth at the size of an answer, NaN where nobody measured."""
    known = torch.where(batch.valid, batch.target, torch.nan)
    return known if known.shape == like.shape else F.interpolate(known, size=like.shape[-2:], mode="nearest-exact")


def _line(predicted: Tensor, known: Tensor, valid: Tensor, kind: Kind) -> tuple[float, float]:
    """(scale, shift) of one picture [1,H,W]; 0 and 0 where there are none."""
    use = valid & torch.isfinite(predicted) & torch.isfinite(known) & (known > 0)
    if int(use.sum()) < LEAST:
        return 0.0, 0.0
    x, y = predicted[use].double().cpu().numpy(), known[use].double().cpu().numpy()
    return robust_line(x, 1 / y if kind == "relative_disparity" else y)


def _cutouts(size: tuple[int, int], zoom: float) -> list[tuple[slice, slice]]:
    if zoom == 1:
        return [(slice(0, size[0]), slice(0, size[1]))]
    height, width = (max(1, round(n / zoom)) for n in size)
    tops, lefts = (0, size[0] - height), (0, size[1] - width)
    return [(slice(top, top + height), slice(left, left + width)) for top in tops for left in lefts]


def _mean(
    answers: Sequence[Tensor],
    kind: Kind,
    weights: Sequence[float] | None = None,
    quorum: float | None = None,
    sure: Tensor | None = None,
) -> Answer:
    """The mean of answers [B,1,H,W], over those that say something, and the confidence that their spread gives, times
    the part of `quorum` that their weights are. Of answers that were `sure` [n,B,1,H,W] of themselves by exp(-s), s^2
    adds to that spread's square, as variances do.
    """
    maps = torch.stack(list(answers))
    share = torch.ones(len(maps)) if weights is None else torch.tensor(weights)
    share = share.to(maps).view(-1, 1, 1, 1, 1) * torch.isfinite(maps)
    if kind != "metric" and len(maps) > 1:
        # the first teacher with enough pixels for each picture
        first = (torch.isfinite(maps).flatten(2).sum(2) >= LEAST).float().argmax(0)
        to = maps[first, torch.arange(maps.shape[1])]
        maps = torch.stack([_fitted(one, to, kind, first != i) for i, one in enumerate(maps)])
        share = share * torch.isfinite(maps)
    total = share.sum(0)
    known = torch.where(torch.isfinite(maps), maps, 0)
    middle = torch.where(total > 0, (share * known).sum(0) / total.clamp(min=1e-9), torch.nan)
    if kind == "relative_disparity":
        high, low = (torch.nan_to_num(x, nan=-torch.inf).amax((1, 2, 3), keepdim=True) for x in (middle, -middle))
        off = (known - middle) / (high + low).clamp(min=1e-9)
    else:
        off = known.clamp(min=1e-6).log() - middle.clamp(min=1e-6).log()
    own = 0 if sure is None else sure.clamp(min=1e-6).log() ** 2
    spread = ((share * (off.nan_to_num(0) ** 2 + own)).sum(0) / total.clamp(min=1e-9)).sqrt()
    share_predicted = 1.0 if quorum is None else total / quorum
    return Answer(middle, torch.where(total > 0, torch.exp(-spread) * share_predicted, 0))


def _fitted(one: Tensor, to: Tensor, kind: Kind, other: Tensor) -> Tensor:
    """Relative answers brought to the scale (of disparities, and shift) of others about the same pictures, but where
    they are not `other`.
    """
    made = []
    for x, y, differs in zip(one, to, other.tolist(), strict=True):
        if not differs:
            made.append(x)
            continue
        use = torch.isfinite(x) & torch.isfinite(y)
        if int(use.sum()) < LEAST:
            made.append(torch.full_like(x, torch.nan))
            continue
        if kind == "relative_depth":
            made.append(x * (y[use].median() / x[use].median()))
            continue
        scale, shift = robust_line(x[use].double().cpu().numpy(), y[use].double().cpu().numpy())
        # a negative scale: the map is not of the kind that it claims
        made.append(scale * x + shift if scale > 0 else torch.full_like(x, torch.nan))
    return torch.stack(made)
