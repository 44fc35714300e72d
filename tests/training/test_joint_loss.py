"""The loss of nets of depth and labels: a sum of the two, each over its own pixels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from leadline.data.batch import Batch
from leadline.training.losses import log_l1
from leadline.training.losses.joint import joint
from leadline.training.losses.parse import typed

DEPTH = typed(("log_l1", "l1:0.5"))


def made(seed: int = 0) -> tuple[torch.Tensor, Batch]:
    """The output of a net of three classes, and a batch of which about half the pixels count, in each plane others."""
    generator = torch.Generator().manual_seed(seed)
    out = torch.rand(2, 4, 4, 5, generator=generator) + 0.5
    target = torch.stack(
        [torch.rand(2, 4, 5, generator=generator) + 1, torch.randint(0, 3, (2, 4, 5), generator=generator).float()], 1
    )
    valid = torch.rand(2, 2, 4, 5, generator=generator) < 0.5
    return out.requires_grad_(), Batch(torch.zeros(2, 3, 4, 5), torch.where(valid, target, 0), valid, ("a", "b"))


def of(out: torch.Tensor, batch: Batch, **how: Any) -> tuple[torch.Tensor, dict[str, float]]:
    return joint(lambda _: out, batch, **{"depth": DEPTH, **how})  # type: ignore[arg-type]


def test_it_is_the_sum_of_its_parts_by_a_plain_count() -> None:
    out, batch = made()
    value, logs = of(out, batch, label_weight=0.25)
    p, t = (x[batch.valid[:, 0]].double() for x in (out.detach()[:, 0], batch.target[:, 0]))
    of_depth = float((p.log() - t.log()).abs().mean() + 0.5 * (p - t).abs().mean())
    scores = out.detach()[:, 1:].double().log_softmax(1)
    named = scores.gather(1, batch.target[:, 1:].long())[batch.valid[:, 1:]]
    assert float(value.detach()) == pytest.approx(of_depth - 0.25 * float(named.mean()), rel=1e-5)
    assert logs["cross_entropy"] == pytest.approx(-float(named.mean()), rel=1e-5)
    assert set(logs) == {"log_l1", "l1", "cross_entropy", "right"}
    alone = log_l1(out[:, :1], batch.target[:, :1], batch.valid[:, :1])
    assert logs["log_l1"] == pytest.approx(float(alone.detach()))


def test_each_part_learns_from_its_own_pixels_alone() -> None:
    out, batch = made()
    of(out, batch)[0].backward()  # type: ignore[no-untyped-call]
    assert out.grad is not None
    depth, scores = out.grad[:, :1], out.grad[:, 1:]
    assert bool((depth != 0)[batch.valid[:, :1]].all()) and not depth[~batch.valid[:, :1]].any()
    assert (
        bool((scores != 0).any(1)[batch.valid[:, 1]].all())
        and not scores[(~batch.valid[:, 1:]).expand(-1, 3, -1, -1)].any()
    )
    wild = torch.where(batch.valid, batch.target, float("nan"))
    wild[:, 1] = torch.where(batch.valid[:, 1], wild[:, 1], 250)
    assert torch.equal(of(out, replace(batch, target=wild))[0], of(out, batch)[0])


@pytest.mark.parametrize("plane", [0, 1])
def test_a_batch_without_one_learns_from_the_other(plane: int) -> None:
    out, batch = made()
    valid = batch.valid.clone()
    valid[:, plane] = False
    value, logs = of(out, replace(batch, valid=valid))
    value.backward()  # type: ignore[no-untyped-call]
    assert float(value.detach()) > 0 and "skipped" not in logs and out.grad is not None
    own = {0: {"cross_entropy", "right"}, 1: {"log_l1", "l1"}}
    assert set(logs) == own[plane]
    dead = out.grad[:, :1] if plane == 0 else out.grad[:, 1:]
    assert not dead.any()


def test_a_batch_without_either_is_skipped() -> None:
    out, batch = made()
    value, logs = of(out, replace(batch, valid=torch.zeros_like(batch.valid)))
    assert float(value.detach()) == 0 and logs == {"skipped": 1.0}
