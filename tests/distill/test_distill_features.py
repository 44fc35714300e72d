"""What a teacher's layers see: the compared maps against slow float64 twins, and the loss in a training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from support.tiny_training import batches, options, tiny
from torch import Tensor, nn

from leadline.distill.feature_loss import WAYS, Feature, affinity, channel_kl, hint
from leadline.distill.loss import DistillationLoss, ramp
from leadline.distill.teachers.checkpoint import net_teacher
from leadline.nn import zoo
from leadline.nn.build import build
from leadline.training.fit import fit
from leadline.training.losses import Term
from leadline.training.losses.depth import log_l1

pytestmark = pytest.mark.usefixtures("one_thread")

PAIRS = [("decoder.blocks.3.3", "decoder.blocks.3.3"), ("decoder.blocks.2.3", "decoder.blocks.2.3")]
TERMS = {"log_l1": Term(log_l1)}


def features(seed: int, channels: int = 5) -> Tensor:
    return torch.randn(2, channels, 4, 6, generator=torch.Generator().manual_seed(seed))


def places() -> Tensor:
    return torch.rand(2, 1, 4, 6, generator=torch.Generator().manual_seed(9)) < 0.7


def slow_affinity(student: np.ndarray, teacher: np.ndarray, where: np.ndarray) -> float:
    """As the authors' code does it: every pair of places, one after the other."""
    errors = []
    for s, t, use in zip(student, teacher, where, strict=True):
        spots = list(zip(*np.nonzero(use[0]), strict=True))
        total = 0.0
        for y, x in spots:
            for v, u in spots:
                cosines = []
                for f in (s, t):
                    a, b = f[:, y, x], f[:, v, u]
                    cosines.append(float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)))
                total += (cosines[0] - cosines[1]) ** 2
        errors.append(total / len(spots) ** 2)
    return float(np.mean(errors))


def slow_channel_kl(student: np.ndarray, teacher: np.ndarray, where: np.ndarray) -> float:
    values = []
    for s, t, use in zip(student, teacher, where, strict=True):
        for a, b in zip(s, t, strict=True):
            p, q = (np.exp(x[use[0]] / 4) / np.exp(x[use[0]] / 4).sum() for x in (a, b))
            values.append(16 * float((q * np.log(q / p)).sum()))
    return float(np.mean(values))


def slow_hint(student: np.ndarray, teacher: np.ndarray, where: np.ndarray) -> float:
    return float(((student - teacher) ** 2).mean(1)[where[:, 0]].mean())


@pytest.mark.parametrize(("way", "twin"), [(affinity, slow_affinity), (channel_kl, slow_channel_kl), (hint, slow_hint)])
def test_it_is_what_the_slow_twin_says(
    way: Callable[..., Tensor], twin: Callable[[np.ndarray, np.ndarray, np.ndarray], float]
) -> None:
    student, teacher, where = features(0), features(1), places()
    wanted = twin(student.double().numpy(), teacher.double().numpy(), where.numpy())
    assert float(way(student, teacher, where)) == pytest.approx(wanted, rel=1e-4)
    assert float(way(teacher, teacher, where)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("way", [affinity, channel_kl, hint])
def test_places_that_do_not_count_have_no_part(way: Callable[..., Tensor]) -> None:
    student, teacher, where = features(0).requires_grad_(), features(1), places()
    value = way(student, teacher, where)
    [slope] = torch.autograd.grad(value, student)
    assert not slope[~where.expand_as(slope)].any() and slope[where.expand_as(slope)].any()
    changed = torch.where(where, student.detach(), 99.0)
    assert torch.allclose(way(changed, teacher, where), value.detach())


def test_structure_needs_no_equal_channels_and_no_scale() -> None:
    where = places()
    assert float(affinity(features(0, 3), features(1, 7), where)) > 0
    assert float(affinity(5 * features(1), features(1), where)) == pytest.approx(0, abs=1e-6)


def test_a_picture_without_a_place_teaches_nothing() -> None:
    student, where = features(0).requires_grad_(), torch.zeros(2, 1, 4, 6, dtype=torch.bool)
    value = affinity(student, features(1), where)
    value.backward()
    assert float(value.detach()) == 0 and torch.isfinite(student.grad).all()


def test_the_published_weights_and_ramp() -> None:
    assert {name: weight for name, (_, weight, _) in WAYS.items()} == {"affinity": 10, "channel": 0.01, "hint": 0.01}
    assert [ramp(0), round(ramp(101), 9), ramp(10**6)] == [0, 0.5, 0.999]


def test_a_convolution_is_heard_before_its_activation() -> None:
    """LiteDepth's layers are followed by ReLUs that work in place."""
    net = build(zoo.litedepth(), seed=0).eval()
    names = ["decoder.logits.0", "decoder.mixers.2.0", "decoder.mixers.1.0"]
    from leadline.distill.feature_loss import listening

    with torch.no_grad(), listening(net, names) as heard:
        net(torch.rand(1, 3, 128, 160))
    assert [tuple(x.shape[-2:]) for x in heard()] == [(32, 40), (16, 20), (8, 10)]
    assert all((x < 0).any() for x in heard())
    assert not any(module._forward_hooks for module in net.modules())


def test_what_cannot_be_compared_is_said() -> None:
    net = tiny()
    for way, pairs, said in (
        (
            "affinity",
            [("decoder.nothing", "decoder")],
            r"tiny has no module 'decoder.nothing'; \d+ convolutions, such as",
        ),
        ("affinity", [("encoder", "encoder")], r"the module 'encoder' gives no map"),
        ("cosine", PAIRS, r"features are compared by 'cosine'"),
        ("hint", [], r"0 pairs"),
    ):
        with pytest.raises(ValueError, match=said):
            Feature(way, pairs, net, net, size=(32, 32))  # type: ignore[arg-type]
    feature = Feature("affinity", PAIRS, net, net, size=(32, 32))
    with pytest.raises(ValueError, match=r"and no teacher is given"):
        DistillationLoss(TERMS, features=[feature])
    with pytest.raises(ValueError, match=r"label_weight is 2"):
        DistillationLoss(TERMS, label_weight=2)


@pytest.mark.parametrize("way", list(WAYS))
@pytest.mark.slow
def test_a_student_comes_nearer_to_what_the_teacher_sees(way: str) -> None:
    net, teacher = tiny(), build(tiny().spec, seed=5).eval()
    teacher.head.start_at(2.5)
    weight = {"affinity": 10.0, "channel": 1.0, "hint": 1.0}[way]
    feature = Feature(way, PAIRS, net, teacher, size=(32, 32), weight=weight)  # type: ignore[arg-type]
    before = [p.detach().clone() for p in teacher.parameters()]
    loss = DistillationLoss(TERMS, teacher=net_teacher(teacher), online=False, features=[feature])
    seen: list[float] = []

    def note(net: object, batch: object) -> tuple[Tensor, dict[str, float]]:
        value, logs = loss(net, batch)
        seen.append(logs[way])
        return value, logs

    fit(net, batches(), note, options(steps=1))
    trained, _ = fit(net, batches(), loss, options(steps=80, optimizer="adam", lr=5e-3))
    fit(trained, batches(), note, options(steps=1))
    assert seen[-1] < 0.7 * seen[0]
    assert all(torch.equal(a, b) for a, b in zip(before, teacher.parameters(), strict=True))
    assert [type(m) for m in trained.modules()] == [type(m) for m in net.modules()]


def test_a_teacher_whose_answers_do_not_count_is_not_asked_for_them() -> None:
    def never(batch: object) -> Tensor:
        raise AssertionError("asked")

    net, teacher = tiny(), build(tiny().spec, seed=5).eval()
    silent = replace(net_teacher(teacher), ask=never)
    feature = Feature("hint", PAIRS, net, teacher, size=(32, 32))
    loss = DistillationLoss(TERMS, label_weight=1, unlabelled=0, teacher=silent, features=[feature])
    _, report = fit(net, batches(), loss, options(steps=1))
    assert report.context["steps_now"] == 1


def test_adapters_are_trained_and_thrown_away_and_the_seed_draws_them() -> None:
    net, wide = tiny(), build(zoo.fastdepth(), seed=1).eval()
    pair = [("decoder.blocks.3.3", "decoder.blocks.3.3")]
    made = [Feature("hint", pair, net, wide, size=(32, 32), seed=seed) for seed in (0, 0, 1)]
    weights = [next(iter(f.adapters.parameters())).detach().clone() for f in made]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    loss = DistillationLoss(TERMS, teacher=net_teacher(wide), online=False, features=[made[0]])
    trained, _ = fit(net, batches(), loss, options(steps=3, optimizer="adam", lr=1e-2))
    assert not torch.equal(weights[0], next(iter(made[0].adapters.parameters())))
    assert set(trained.state_dict()) == set(net.state_dict())


def test_maps_of_unlike_sizes_meet_at_the_students() -> None:
    net, teacher = tiny(), build(zoo.litedepth(), seed=1).eval()
    feature = Feature("affinity", [("decoder.blocks.3.3", "decoder.logits.0")], net, teacher, size=(32, 32))
    value = feature([torch.rand(1, 8, 16, 16)], [torch.rand(1, 24, 8, 8)], torch.ones(1, 1, 32, 32, dtype=torch.bool))
    assert float(value) > 0 and isinstance(feature, nn.Module)
