"""Losses agree with their slow twins; invalid pixels and empty batches do no harm to value or gradient."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support import reference
from torch import Tensor, nn

from leadline.data.batch import Batch
from leadline.training import losses
from leadline.training.losses import LOSSES, Criterion, Term

LOWEST = {"hu_depth": math.log(0.5), "hu_gradient": 2 * math.log(0.5), "hu": 3 * math.log(0.5)}


def criterion(name: str) -> Criterion:
    """The loss of that name, what is random in it the same at every call."""

    def seeded(pred: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        torch.manual_seed(reference.DRAW)
        return LOSSES[name](pred, target, valid)

    return seeded


def batch(seed: int, size: tuple[int, int] = (10, 12)) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    target = torch.rand(2, 1, *size, generator=draw, dtype=torch.float64) * 8 + 0.5
    pred = target * (torch.rand(target.shape, generator=draw, dtype=torch.float64) + 0.5)
    return pred, target, torch.rand(target.shape, generator=draw) < 0.9


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("seed", range(3))
def test_losses_equal_their_twins(name: str, seed: int) -> None:
    pred, target, valid = batch(seed)
    expected = reference.loss(name, pred.numpy(), target.numpy(), valid.numpy())
    assert float(criterion(name)(pred, target, valid)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", LOSSES)
def test_losses_of_whole_maps_equal_their_twins_up_to_the_border(name: str) -> None:
    pred, target, valid = batch(7)
    whole = torch.ones_like(valid)
    expected = reference.loss(name, pred.numpy(), target.numpy(), whole.numpy())
    assert float(criterion(name)(pred, target, whole)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_those_of_the_formula(name: str) -> None:
    pred, target, valid = batch(3, (6, 7))
    pred = pred.requires_grad_()
    loss = criterion(name)
    if name == "berhu":  # its threshold is a constant for the gradient: let one fixed pixel set it
        far = torch.zeros_like(valid)
        far[0, 0, 0, 0] = True
        valid = valid | far
        assert torch.autograd.gradcheck(lambda p: loss(torch.where(far, target + 40, p), target, valid), pred)
    else:
        assert torch.autograd.gradcheck(lambda p: loss(p, target, valid), pred)


@pytest.mark.parametrize("name", LOSSES)
def test_a_perfect_prediction_is_the_minimum_with_finite_gradient(name: str) -> None:
    _, target, valid = batch(1)
    pred = target.clone().requires_grad_()
    value = criterion(name)(pred, target, valid)
    value.backward()
    lowest = float(value.detach())
    assert lowest == pytest.approx(LOWEST.get(name, 0), abs=1e-12)
    assert pred.grad is not None
    assert pred.grad.isfinite().all()
    assert lowest < float(criterion(name)(target * 1.3 + 0.1 * torch.rand_like(target), target, valid))


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("garbage", [math.nan, math.inf, -1e30, 0.0])
def test_invalid_pixels_never_matter(name: str, garbage: float) -> None:
    pred, target, valid = batch(2)
    values, grads = [], []
    for p, t in ((pred, target), (pred.where(valid, garbage), target.where(valid, garbage))):
        leaf = p.clone().requires_grad_()
        value = criterion(name)(leaf, t, valid)
        value.backward()
        assert leaf.grad is not None
        values.append(float(value.detach()))
        grads.append(leaf.grad)
    assert values[0] == values[1]
    assert torch.equal(grads[0], grads[1])
    assert (grads[1][~valid] == 0).all()


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("size", [(10, 12), (1, 1), (1, 5), (2, 2)])
def test_a_batch_without_valid_pixels_gives_zero_and_zero_gradient(name: str, size: tuple[int, int]) -> None:
    pred = torch.full((2, 1, *size), math.nan, requires_grad=True)
    value = criterion(name)(pred, torch.full((2, 1, *size), math.nan), torch.zeros(2, 1, *size, dtype=torch.bool))
    value.backward()
    assert float(value.detach()) == 0
    assert pred.grad is not None
    assert (pred.grad == 0).all()


@pytest.mark.parametrize("name", LOSSES)
def test_a_dead_net_gets_a_finite_loss_and_gradient(name: str) -> None:
    _, target, valid = batch(4)
    pred = torch.zeros_like(target).requires_grad_()
    value = criterion(name)(pred, target, valid)
    value.backward()
    assert value.isfinite()
    assert pred.grad is not None
    assert pred.grad.isfinite().all()


@pytest.mark.parametrize("name", LOSSES)
def test_half_precision_is_computed_in_single(name: str) -> None:
    pred, target, valid = (x.bfloat16() if x.dtype != torch.bool else x for x in batch(5))
    value = criterion(name)(pred, target.float(), valid)
    assert value.dtype == torch.float32
    assert torch.equal(value, criterion(name)(pred.float(), target.float(), valid))


@given(factor=st.floats(0.1, 10), seed=st.integers(0, 20))
def test_the_log_losses_see_a_common_scale_only_through_its_mean(factor: float, seed: int) -> None:
    _, target, valid = batch(seed)
    scaled = abs(math.log(factor))
    assert float(losses.silog_bts(factor * target, target, valid)) == pytest.approx(
        10 * math.sqrt(0.15) * scaled, abs=1e-6
    )
    assert float(losses.silog_dav2(factor * target, target, valid)) == pytest.approx(math.sqrt(0.5) * scaled, abs=1e-6)


def test_berhu_is_l1_below_its_threshold_and_square_beyond() -> None:
    error = torch.tensor([0.1, 0.2, 1.0]).reshape(1, 1, 1, 3)  # threshold 0.2
    target = torch.ones_like(error)
    value = losses.berhu(target + error, target, torch.ones_like(error, dtype=torch.bool))
    assert float(value) == pytest.approx((0.1 + 0.2 + (1 + 0.04) / 0.4) / 3)


def test_a_shift_costs_nothing_in_gradients_and_a_ramp_what_it_rises() -> None:
    target = torch.rand(1, 1, 16, 16) + 1
    ramp = torch.arange(16.0).expand(1, 1, 16, 16) / 10
    valid = torch.ones_like(target, dtype=torch.bool)
    assert float(losses.gradient(target + 3, target, valid)) == pytest.approx(0, abs=1e-6)
    assert float(losses.gradient(target + ramp, target, valid)) == pytest.approx(0.1, abs=1e-6)
    assert float(losses.multiscale_gradient(target + ramp, target, valid)) == pytest.approx(
        0.1 * (1 + 2 + 4 + 8), abs=1e-5
    )


def test_shapes_and_types_that_do_not_fit_are_named() -> None:
    pred, target, valid = batch(0)
    with pytest.raises(ValueError, match=r"one shape \[B,1,H,W\] is needed"):
        losses.l1(pred[..., 1:], target, valid)
    with pytest.raises(ValueError, match=r"torch\.bool is needed"):
        losses.l1(pred, target, valid.float())


def a_batch() -> Batch:
    pred, target, valid = batch(6)
    return Batch(pred.expand(-1, 3, -1, -1).float(), target.float(), valid, ("a", "b"))


def test_supervised_is_the_criterion_of_what_the_net_says() -> None:
    net, item = nn.Conv2d(3, 1, 1), a_batch()
    value, logs = losses.supervised(losses.l1, net, item)
    assert torch.equal(value, losses.l1(net(item.image), item.target, item.valid))
    assert logs == {}


def test_weighted_sums_its_terms_and_logs_each() -> None:
    net, item = nn.Conv2d(3, 1, 1), a_batch()
    loss = partial(losses.weighted, {"l1": Term(losses.l1), "edges": Term(losses.gradient, 0.5)})
    value, logs = loss(net, item)
    value.backward()
    assert net.weight.grad is not None
    assert float(value.detach()) == pytest.approx(logs["l1"] + 0.5 * logs["edges"])
    assert logs["edges"] == pytest.approx(float(losses.gradient(net(item.image), item.target, item.valid).detach()))
    with pytest.raises(ValueError, match="terms is empty"):
        losses.weighted({}, net, item)


def test_every_loss_can_be_descended() -> None:
    for name in LOSSES:
        loss = criterion(name)
        _, target, valid = batch(8)
        pred = (target + 0.3 * torch.from_numpy(np.random.default_rng(0).normal(size=target.shape))).requires_grad_()
        start = loss(pred, target, valid)
        (slope,) = torch.autograd.grad(start, pred)
        step = pred - 1e-3 * slope / slope.norm()
        assert float(loss(step, target, valid).detach()) < float(start.detach()), name
