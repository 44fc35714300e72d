"""Learning what a teacher answers (Hu et al. 2021, arXiv 2105.06143, "Boosting light-weight depth estimation")."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from leadline.data.batch import Batch
from leadline.training.losses import Term
from leadline.training.losses.relative import RELATIVE
from leadline.training.losses.weighted import compared, outputs


def distilled(
    terms: Mapping[str, Term], label_weight: float, unlabelled: float, net: Any, batch: Batch
) -> tuple[Tensor, dict[str, float]]:
    """A loss for `fit` (bind the first three with `partial`): L(x) + `unlabelled` x L(u).

    x are the batch's images with a depth, u those without; L is the sum of the `terms`.

    1. x, where the teacher has answered: `label_weight` x L(p, depth) + (1 - `label_weight`) x L(p, answer); elsewhere
    L(p, depth).
    2. u: L(p, answer). Images with neither have no loss.
    3. Answers that are relative are compared without their scale (and shift): `losses.relative`, weight 1.

    The answers are `batch.pseudo_depth`, 0 where there is none, of the kind `batch.pseudo_kind`. How many x and u there
    are in a batch is the sampling ratio: a matter of the data sets' shares. Published: `label_weight` about 0.1, which
    L and ratio is not (`unlabelled` 1 by the paper's sum). Logs, each before its weight, `truth` (of images
    without an answer `only_truth`), `distilled` and `unlabelled`.
    """
    seen = outputs(terms, net, batch.image)
    known = batch.valid.flatten(1).any(1)
    answered = torch.zeros_like(known) if batch.pseudo_depth is None else (batch.pseudo_depth > 0).flatten(1).any(1)
    values: dict[str, tuple[float, Tensor]] = {}
    n = int(known.sum())
    for both in (True, False):
        rows = (known & (answered == both)).nonzero()[:, 0]
        if not len(rows):
            continue
        share = len(rows) / n
        value = _truth(terms, seen, batch, rows)
        values["truth" if both else "only_truth"] = share * (label_weight if both else 1.0), value
        if both and label_weight < 1:
            values["distilled"] = (1 - label_weight) * share, _answers(terms, seen, batch, rows)
    rows = (~known & answered).nonzero()[:, 0]
    if len(rows) and unlabelled:
        values["unlabelled"] = unlabelled, _answers(terms, seen, batch, rows)
    if not values:
        return 0 * next(iter(seen.values())).sum(), {"skipped": 1.0}
    total = torch.stack([weight * value for weight, value in values.values()]).sum()
    return total, {name: float(value.detach()) for name, (_, value) in values.items()}


def _truth(terms: Mapping[str, Term], seen: Mapping[str, Tensor], batch: Batch, rows: Tensor) -> Tensor:
    part = replace(batch, target=batch.target[rows], valid=batch.valid[rows])
    return _sum(terms, {at: pred[rows] for at, pred in seen.items()}, part)


def _answers(terms: Mapping[str, Term], seen: Mapping[str, Tensor], batch: Batch, rows: Tensor) -> Tensor:
    """Each kind by its own criterion; the mean over the images."""
    assert batch.pseudo_depth is not None
    total = []
    for kind in sorted({batch.pseudo_kind[int(i)] for i in rows}):
        mine = torch.stack([i for i in rows if batch.pseudo_kind[int(i)] == kind])
        pseudo = batch.pseudo_depth[mine]
        part = replace(batch, target=pseudo, valid=pseudo > 0)
        preds = {at: pred[mine] for at, pred in seen.items()}
        if kind == "metric":
            value = _sum(terms, preds, part)
        else:
            pred = preds["target"] if "target" in preds else preds["map"]
            if pred.shape[-2:] != pseudo.shape[-2:]:
                pred = F.interpolate(pred, size=pseudo.shape[-2:], mode="nearest")
            value = RELATIVE[kind](pred, pseudo, pseudo > 0)
        total.append(value * (len(mine) / len(rows)))
    return torch.stack(total).sum()


def _sum(terms: Mapping[str, Term], seen: Mapping[str, Tensor], batch: Batch) -> Tensor:
    values, _ = compared(terms, seen, batch)
    return torch.stack([term.weight * values[name] for name, term in terms.items()]).sum()
