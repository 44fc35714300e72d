"""Learning from another net's answers."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from support.tiny_training import batches, options, tiny
from torch import Tensor

from leadline.core.spec import Encoder
from leadline.data.batch import Batch
from leadline.distill.self_loss import answered
from leadline.nn import zoo
from leadline.nn.build import Net, build
from leadline.training.fit import fit
from leadline.training.losses import Term, weighted
from leadline.training.losses.classes import cross_entropy
from leadline.training.losses.depth import log_l1

pytestmark = pytest.mark.usefixtures("one_thread")


def pair() -> tuple[Net, Net]:
    """A net, and another one of the same Spec."""
    return tiny(), build(tiny().spec, seed=5).eval()


def test_the_gap_is_the_mean_difference_of_logarithms_over_all_pixels() -> None:
    net, teacher = pair()
    batch = next(batches()(0))
    base = partial(weighted, {"log_l1": Term(log_l1)})
    with torch.no_grad():
        p, t = (n(batch.image).double().clamp_min(1e-3).log() for n in (net.eval(), teacher))
        value, logs = answered(base, teacher, 0.5, net, batch)
        assert float(value) == pytest.approx(float(base(net, batch)[0] + 0.5 * (p - t).abs().mean()), rel=1e-5)
    assert logs["answer"] == pytest.approx(float((p - t).abs().mean()), rel=1e-5) and "log_l1" in logs


def test_of_classes_the_gap_is_the_cross_entropy_with_the_teachers_probabilities() -> None:
    spec = replace(zoo.spec("vgg16_bn"), encoder=Encoder("vgg16_bn", (8,) * 13))
    net, teacher = (build(spec, seed=seed).eval() for seed in (1, 2))
    image = torch.rand(3, 3, 32, 32)
    batch = Batch(image, torch.arange(3), torch.ones(3, dtype=torch.bool), tuple("abc"))
    with torch.no_grad():
        value, logs = answered(cross_entropy, teacher, 0.5, net, batch)
        expected = -(teacher(image).softmax(1) * net(image).log_softmax(1)).sum(1).mean()
        whole = cross_entropy(net, batch)[0] + 0.5 * expected
    assert logs["answer"] == pytest.approx(float(expected), rel=1e-5)
    assert float(value) == pytest.approx(float(whole), rel=1e-5)


def test_a_net_whose_raw_map_is_smaller_is_asked_in_the_same_way() -> None:
    net, teacher = (build(zoo.litedepth(), seed=seed).eval() for seed in (1, 2))
    for one in (net, teacher):
        one.head.start_at(2.5)
    batch = next(batches()(0))
    assert net(batch.image, raw=True)[0].shape[-1] < net(batch.image).shape[-1]

    def raw(net: Net, batch: object) -> tuple[Tensor, dict[str, float]]:
        return net(batch.image, raw=True)[0].sum() * 0, {}  # type: ignore[attr-defined]

    def whole(net: Net, batch: object) -> tuple[Tensor, dict[str, float]]:
        return net(batch.image).sum() * 0, {}  # type: ignore[attr-defined]

    with torch.no_grad():
        for base, ask in ((raw, lambda n: n(batch.image, raw=True)[0]), (whole, lambda n: n(batch.image))):
            p, t = (ask(n).clamp_min(1e-3).log() for n in (net, teacher))
            value, _ = answered(base, teacher, 1.0, net, batch)
            assert float(value) == pytest.approx(float((p - t).abs().mean()), rel=1e-5)


def test_a_batch_without_depth_still_teaches() -> None:
    net, teacher = pair()
    batch = next(batches()(0))
    nothing = replace(batch, valid=torch.zeros_like(batch.valid))
    value, logs = answered(partial(weighted, {"log_l1": Term(log_l1)}), teacher, 1.0, net, nothing)
    assert "skipped" not in logs and float(value.detach()) == pytest.approx(logs["answer"])


def test_only_the_student_learns_and_comes_nearer() -> None:
    net, teacher = pair()
    net.head.start_at(1.0)
    teacher.head.start_at(3.0)
    before = [p.detach().clone() for p in teacher.parameters()]

    def none(net: Net, batch: object) -> tuple[Tensor, dict[str, float]]:
        return net(batch.image).sum() * 0, {}  # type: ignore[attr-defined]

    learned = partial(answered, none, teacher, 1.0)
    _, first = fit(net, batches(), learned, options(steps=1, optimizer="adam", lr=1e-2))
    _, last = fit(net, batches(), learned, options(steps=60, optimizer="adam", lr=1e-2))
    assert last.metrics["loss"] < 0.5 * first.metrics["loss"]
    assert all(torch.equal(a, b) and b.grad is None for a, b in zip(before, teacher.parameters(), strict=True))
