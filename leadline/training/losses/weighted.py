"""Criteria become losses of `fit`: (net, batch) -> (scalar, logs)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leadline.data.batch import Batch
from leadline.training.losses.depth import BELOW_ZERO, Criterion


@dataclass(frozen=True)
class Term:
    """One part of a loss: weight x criterion.

    `at` says on which pixels: on the target's, to which the net's output is brought by nearest neighbour; or on those
    of the net's own map before it is enlarged (LiteDepth: a quarter of the input), to which the target is brought
    bilinearly, corners on corners, a pixel being valid if all that it is made of are.
    """

    criterion: Criterion
    weight: float = 1.0
    at: Literal["target", "map"] = "target"


def supervised(criterion: Criterion, net: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, float]]:
    """A loss for `fit`: the criterion on the net's output; bind it with `partial(supervised, l1)`. No logs but
    `skipped`, see `weighted`.
    """
    total, logs = weighted({"loss": Term(criterion)}, net, batch)
    return total, {name: value for name, value in logs.items() if name == "skipped"}


def weighted(terms: Mapping[str, Term], net: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, float]]:
    """A loss for `fit`: the sum of weight x criterion; logs each term before its weight.

    For example `partial(weighted, {"l1": Term(l1), "edges": Term(gradient, 0.5, at="map")})`. A batch without a valid
    pixel (where its terms are taken) gives 0 and logs `skipped` 1: `fit` then counts the step and does not make it.
    """
    values, nothing = term_values(terms, net, batch)
    total = torch.stack([term.weight * values[name] for name, term in terms.items()]).sum()
    return total, nothing or {name: float(value.detach()) for name, value in values.items()}


class Reweighted(nn.Module):
    """A loss for `fit`: the sum of 0.5 / s_i^2 x weight_i x criterion_i + ln(1 + s_i^2) with learnable s_i.

    LiteDepth's dynamic re-weighting (2209.00961; Liebel and Koerner 2018, arXiv 1805.06334). All s_i start at 1
    and `fit` trains them with the net. Logs each term before its weight, and its s_i as `sigma NAME`.

    A criterion that can be negative is a ValueError, since the sum would have no lower bound as s_i goes to 0; and so
    is a weight that is not above 0.
    """

    def __init__(self, terms: Mapping[str, Term]) -> None:
        super().__init__()
        negative = sorted({term.criterion.__name__ for term in terms.values() if term.criterion in BELOW_ZERO})
        if negative:
            raise ValueError(
                f"{', '.join(negative)} can be negative, and learnt weights would then lower the loss without end; "
                "give them fixed weights (weighting fixed), or take criteria that are never negative"
            )
        if wrong := {name: term.weight for name, term in terms.items() if not term.weight > 0}:
            raise ValueError(f"the weights {wrong} cannot be learned on: each has to start above 0")
        self.terms = dict(terms)
        self.sigma = nn.Parameter(torch.ones(len(terms)))

    def forward(self, net: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        values, nothing = term_values(self.terms, net, batch)
        weighed = torch.stack([term.weight * values[name] for name, term in self.terms.items()])
        square = self.sigma**2
        total = (0.5 / square * weighed + (1 + square).log()).sum()
        sigmas = {f"sigma {name}": float(s) for name, s in zip(self.terms, self.sigma.detach(), strict=True)}
        return total, nothing or {name: float(value.detach()) for name, value in values.items()} | sigmas


def term_values(terms: Mapping[str, Term], net: nn.Module, batch: Batch) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Each term's value before its weight, and the logs `skipped` if nothing is valid, else no logs."""
    return compared(terms, outputs(terms, net, batch.image), batch)


def outputs(terms: Mapping[str, Term], net: nn.Module, image: Tensor) -> dict[str, Tensor]:
    """What the terms compare, by where they do it (`Term.at`): the net runs once."""
    if not terms:
        raise ValueError("terms is empty; at least one name: Term is needed")
    wanted = {term.at for term in terms.values()}
    if "map" not in wanted:
        return {"target": net(image)}
    own: Tensor = net(image, raw=True)[0]
    if "target" not in wanted:
        return {"map": own}
    # the same as net(image), from the maps that are there already
    enlarged = getattr(net, "enlarged", None)
    return {"map": own, "target": own if enlarged is None else enlarged(own, (image.shape[-2], image.shape[-1]))}


def compared(
    terms: Mapping[str, Term], seen: Mapping[str, Tensor], batch: Batch
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """As `term_values`, of the net's `outputs`."""
    to = {"map": _at_map, "target": _at_target}
    places = {at: to[at](pred, batch) for at, pred in seen.items()}
    values = {name: term.criterion(*places[term.at]) for name, term in terms.items()}
    return values, {} if any(bool(valid.count_nonzero()) for _, _, valid in places.values()) else {"skipped": 1.0}


def _at_target(pred: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    size = batch.target.shape[-2:]
    if pred.shape[-2:] != size:
        pred = F.interpolate(pred, size=size, mode="nearest")
    return pred, batch.target, batch.valid


def _at_map(pred: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    size = pred.shape[-2:]
    if batch.target.shape[-2:] == size:
        return pred, batch.target, batch.valid
    # an invalid pixel may hold anything, and 0 x NaN is NaN
    known = torch.where(batch.valid, batch.target, 0)
    target = F.interpolate(known, size=size, mode="bilinear", align_corners=True)
    whole = F.interpolate(batch.valid.to(target.dtype), size=size, mode="bilinear", align_corners=True)
    return pred, target, whole > 1 - 1e-6
