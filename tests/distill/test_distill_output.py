"""What a teacher answers, as a loss: the paper's sums, and that no kind is taken for another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from support.tiny_training import batches, options, same, tiny
from torch import Tensor

from leadline.core.spec import Kind
from leadline.data.batch import Batch
from leadline.distill.loss import DistillationLoss, ramp
from leadline.distill.output_loss import distilled
from leadline.distill.teachers import Answer, Teacher
from leadline.nn.build import Net, build
from leadline.training.fit import fit
from leadline.training.losses import Term
from leadline.training.losses.depth import l1, log_l1
from leadline.training.losses.relative import RELATIVE, to_depth, to_disparity

pytestmark = pytest.mark.usefixtures("one_thread")

TERMS = {"log_l1": Term(log_l1), "l1": Term(l1, 0.5)}


def batch(known: tuple[bool, ...], told: tuple[bool, ...], kind: tuple[Kind, ...] | None = None) -> Batch:
    """A batch of four of which some have a depth, and of some a teacher has said something else."""
    made = next(batches()(0))
    has, said = (torch.tensor(x).view(-1, 1, 1, 1) for x in (known, told))
    answer = torch.where(said, 1.3 * made.target + 0.2, 0)
    kinds: tuple[Kind, ...] = kind or ("metric",) * 4
    valid = made.valid & has
    return replace(made, valid=valid, target=torch.where(valid, made.target, 0), pseudo_depth=answer, pseudo_kind=kinds)


def slow(pred: Tensor, target: Tensor, rows: list[int]) -> float:
    """The terms in float64, over the pixels of some images."""
    p, t = pred.detach().double().numpy()[rows], target.double().numpy()[rows]
    return float(np.abs(np.log(p) - np.log(t)).mean() + 0.5 * np.abs(p - t).mean())


@pytest.mark.parametrize("truth", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("unlabelled", [0.0, 0.5, 1.0])
def test_both_sets_are_summed_as_published(truth: float, unlabelled: float) -> None:
    net, made = tiny().eval(), batch((True, True, False, False), (True, True, True, True))
    value, logs = distilled(TERMS, truth, unlabelled, net, made)
    pred = net(made.image)
    x, u = [0, 1], [2, 3]
    wanted = truth * slow(pred, made.target, x) + (1 - truth) * slow(pred, made.pseudo_depth, x)
    wanted += unlabelled * slow(pred, made.pseudo_depth, u)
    assert float(value.detach()) == pytest.approx(wanted, rel=1e-5)
    assert ("unlabelled" in logs) == (unlabelled > 0)


def test_a_labelled_image_without_an_answer_has_its_own_depth() -> None:
    net, made = tiny().eval(), batch((True, True, True, True), (True, False, False, False))
    value, _ = distilled(TERMS, 0.1, 1.0, net, made)
    pred = net(made.image)
    first = 0.1 * slow(pred, made.target, [0]) + 0.9 * slow(pred, made.pseudo_depth, [0])
    wanted = 0.25 * first + 0.75 * slow(pred, made.target, [1, 2, 3])
    assert float(value.detach()) == pytest.approx(wanted, rel=1e-5)


def test_images_with_neither_teach_nothing_and_a_batch_of_them_is_skipped() -> None:
    net = tiny().eval()
    some, all_ = batch((True, False, False, False), (False,) * 4), batch((False,) * 4, (False,) * 4)
    alone = float(distilled(TERMS, 0.1, 1.0, net, some)[0].detach())
    assert alone == pytest.approx(slow(net(some.image), some.target, [0]), rel=1e-5)
    value, logs = distilled(TERMS, 0.1, 1.0, net, all_)
    assert float(value.detach()) == 0 and logs == {"skipped": 1.0}
    assert distilled(TERMS, 0.1, 1.0, net, replace(all_, pseudo_depth=None))[1] == {"skipped": 1.0}


@pytest.mark.parametrize("kind", ["relative_depth", "relative_disparity"])
def test_relative_answers_have_no_scale(kind: Kind) -> None:
    net, made = tiny().eval(), batch((False,) * 4, (True,) * 4)
    right = net(made.image).detach()
    own = right if kind == "relative_depth" else 1 / right
    shift = 0.0 if kind == "relative_depth" else 0.3
    for taught in (own, 7 * own + shift):
        told = replace(made, pseudo_depth=taught, pseudo_kind=(kind,) * 4)
        assert float(distilled(TERMS, 0.1, 1.0, net, told)[0].detach()) == pytest.approx(0, abs=1e-4)
    confused = replace(made, pseudo_depth=1 / own, pseudo_kind=(kind,) * 4)
    assert float(distilled(TERMS, 0.1, 1.0, net, confused)[0].detach()) > 0.05


def test_each_kind_in_a_batch_has_its_own_criterion() -> None:
    net = tiny().eval()
    kinds: tuple[Kind, ...] = ("metric", "relative_depth", "metric", "relative_disparity")
    made = batch((False,) * 4, (True,) * 4, kinds)
    pred = net(made.image)
    value, _ = distilled(TERMS, 0.1, 1.0, net, made)
    wanted = slow(pred, made.pseudo_depth, [0, 2]) / 2
    for row, way in ((1, to_depth), (3, to_disparity)):
        part = pred[row : row + 1], made.pseudo_depth[row : row + 1], made.pseudo_depth[row : row + 1] > 0
        wanted += float(way(*part).detach()) / 4
    assert float(value.detach()) == pytest.approx(wanted, rel=1e-5)


def slow_disparity(pred: np.ndarray, target: np.ndarray, valid: np.ndarray) -> float:
    errors = []
    for p, t, use in zip(pred, target, valid, strict=True):
        x, y = 1 / p[use], t[use]
        x, y = ((v - sorted(v)[(len(v) - 1) // 2]) for v in (x, y))
        errors.append(float(np.abs(x / np.abs(x).mean() - y / np.abs(y).mean()).mean()))
    return float(np.mean(errors))


def slow_depth(pred: np.ndarray, target: np.ndarray, valid: np.ndarray) -> float:
    errors = []
    for p, t, use in zip(pred, target, valid, strict=True):
        x, y = np.log(p[use]), np.log(t[use])
        x, y = ((v - sorted(v)[(len(v) - 1) // 2]) for v in (x, y))
        errors.append(float(np.abs(x - y).mean()))
    return float(np.mean(errors))


def test_relative_losses_against_float64_twins() -> None:
    rng = np.random.default_rng(0)
    pred, target = rng.uniform(0.5, 5, (2, 3, 1, 6, 7))
    valid = rng.random((3, 1, 6, 7)) < 0.7
    args = [torch.from_numpy(x) for x in (pred, target, valid)]
    assert float(to_disparity(*args)) == pytest.approx(slow_disparity(pred, target, valid), rel=1e-9)
    assert float(to_depth(*args)) == pytest.approx(slow_depth(pred, target, valid), rel=1e-9)


@pytest.mark.parametrize("kind", list(RELATIVE))
def test_relative_losses_of_nothing_and_of_flat_maps_are_zero(kind: Kind) -> None:
    pred = torch.rand(2, 1, 4, 4).add(1).requires_grad_()
    for target, valid in (
        (torch.full((2, 1, 4, 4), torch.nan), torch.zeros(2, 1, 4, 4, dtype=torch.bool)),
        (torch.ones(2, 1, 4, 4), torch.ones(2, 1, 4, 4, dtype=torch.bool)),
    ):
        value = RELATIVE[kind](pred, target, valid)
        [slope] = torch.autograd.grad(value, pred)
        assert torch.isfinite(slope).all()
        if kind == "relative_disparity" or not valid.any():
            assert float(value.detach()) == 0 and not slope.any()


def teacher(seed: int = 5) -> tuple[Net, Teacher]:
    net = build(tiny().spec, seed=seed).eval()
    net.head.start_at(3.0)
    return net, Teacher("other", "metric", lambda s: net(s.image), net=net)


def test_asked_about_each_batch_it_says_what_stored_labels_say() -> None:
    net, (other, asked) = tiny(), teacher()
    made = batch((True, True, False, False), (False,) * 4)
    with torch.no_grad():
        labels = replace(made, pseudo_depth=other(made.image))
    everywhere = replace(made, pseudo_depth=torch.ones_like(made.target))
    live, _ = DistillationLoss(TERMS, teacher=asked)(net, everywhere)
    stored, _ = DistillationLoss(TERMS)(net, labels)
    assert float(live.detach()) == pytest.approx(float(stored.detach()), rel=1e-6)


def test_a_disparity_that_is_asked_for_has_no_zero() -> None:
    """Plus anything: the farthest of a picture is learned too, wherever the teacher's zero is."""
    made, losses = batch((False,) * 4, (False,) * 4), []
    everywhere = replace(made, pseudo_depth=torch.ones_like(made.target))
    for shift in (1.0, -0.5, -3.0):
        shape = torch.linspace(0, 1, made.image.shape[-1]).expand_as(made.image[:, :1])
        asked = Teacher("flat", "relative_disparity", lambda s, m=shape + shift: m)
        losses.append(float(DistillationLoss(TERMS, teacher=asked)(tiny(), everywhere)[0].detach()))
    assert losses[0] > 0 and losses == pytest.approx([losses[0]] * 3, rel=1e-4)


def test_answers_of_a_low_confidence_do_not_count() -> None:
    made, losses = batch((False,) * 4, (False,) * 4), []
    for trust in (0.0, 0.5):

        def half(seen: Batch) -> Answer:
            sure = torch.linspace(0, 1, seen.image.shape[-1]).expand_as(seen.image[:, :1])
            return Answer(torch.full_like(sure, 3.0), sure)

        loss = DistillationLoss(TERMS, min_confidence=trust, teacher=Teacher("half", "metric", half))
        losses.append(loss(tiny(), replace(made, pseudo_depth=torch.ones_like(made.target))))
    assert losses[0][0] != losses[1][0] and set(losses[1][1]) == {"unlabelled"}


def test_the_teacher_comes_in_slowly_and_a_resumed_run_goes_on_at_its_step(tmp_path: Path) -> None:
    _, asked = teacher()
    made = partial(DistillationLoss, TERMS, teacher=asked, warmup=True)
    loss, shares = made(), []
    for _ in range(3):
        shares.append(loss(tiny(), batch((True,) * 4, (True,) * 4))[1]["ramp"])
    assert shares == [ramp(0), ramp(1), ramp(2)]

    def stopped(start: int) -> Iterator[Batch]:
        for step, one in enumerate(batches()(start), start):
            if step == 5:
                raise KeyboardInterrupt
            yield one

    whole, _ = fit(tiny(), batches(), made(), options())
    with pytest.raises(KeyboardInterrupt):
        fit(tiny(), stopped, made(), options(save_every=2), out=tmp_path)
    resumed, _ = fit(tiny(), batches(), made(), options(save_every=2), out=tmp_path, resume=True)
    assert same(whole, resumed)


def test_only_the_student_learns_from_photographs_without_depth() -> None:
    net, (other, asked) = tiny(), teacher()
    net.head.start_at(1.0)
    before = [p.detach().clone() for p in other.parameters()]
    nothing = [replace(b, valid=torch.zeros_like(b.valid)) for b, _ in zip(batches()(0), range(8), strict=False)]

    def stream(start: int) -> Iterator[Batch]:
        return (nothing[i % 8] for i in range(start, 10**6))

    loss = DistillationLoss({"log_l1": Term(log_l1)}, teacher=asked)
    _, first = fit(net, stream, loss, options(steps=1))
    _, last = fit(net, stream, loss, options(steps=60, optimizer="adam", lr=1e-2))
    assert last.metrics["loss"] < 0.5 * first.metrics["loss"]
    assert all(torch.equal(a, b) and b.grad is None for a, b in zip(before, other.parameters(), strict=True))
