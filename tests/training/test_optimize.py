"""Every schedule's values are those of the formula it is published with; what decays, decays as published."""

from __future__ import annotations

import pytest
import torch
from support.tiny_training import batches, options, tiny, weights

from leadline.data.batch import Batch
from leadline.nn.build import Net
from leadline.training.fit import fit
from leadline.training.optim import learning_rate


def test_the_published_schedule_falls_to_a_tenth_every_quarter() -> None:
    plan = options(steps=20, schedule="step", lr=0.01)
    assert [round(learning_rate(plan, s), 6) for s in (0, 4, 5, 10, 19)] == [0.01, 0.01, 0.001, 0.0001, 0.00001]


@pytest.mark.parametrize("every", [0.1, 0.05, 0.07, 0.2, 0.3, 0.15])
@pytest.mark.parametrize("steps", [100, 1000, 20_000])
def test_a_step_falls_at_the_very_step_that_the_part_names(every: float, steps: int) -> None:
    plan = options(steps=steps, schedule="step", step_every=every, lr=1.0)
    length = round(every * steps)
    falls = [step for step in range(1, steps) if learning_rate(plan, step) < 0.5 * learning_rate(plan, step - 1)]
    assert falls == list(range(length, steps, length))


def test_warm_up_rises_and_cosine_falls() -> None:
    plan = options(steps=100, warmup=10, lr=1.0)
    rates = [learning_rate(plan, s) for s in range(100)]
    assert rates[0] < rates[5] < rates[10] > rates[50] > rates[99] > 0


def test_the_polynomial_schedule_is_mmcv_s() -> None:
    """PolyLrUpdaterHook: (base - min) (1 - t / T)^power + min."""
    plan = options(steps=100, schedule="poly", lr=4e-3, lr_end=0.25, power=0.9)
    for step in (0, 1, 50, 99):
        assert learning_rate(plan, step) == pytest.approx((4e-3 - 1e-3) * (1 - step / 100) ** 0.9 + 1e-3)


@pytest.mark.parametrize("schedule", ["cosine", "poly", "halve", "step", "constant"])
def test_past_its_end_a_schedule_stays_where_it_ended(schedule: str) -> None:
    plan = options(steps=10, schedule=schedule, lr=1.0, lr_end=0.25)
    assert learning_rate(plan, 15) == learning_rate(plan, 10)


def test_monodepth_s_schedule_halves_at_three_and_at_four_fifths() -> None:
    plan = options(steps=10, schedule="halve", lr=1.0)
    assert [learning_rate(plan, s) for s in range(10)] == [1.0] * 6 + [0.5] * 2 + [0.25] * 2


def test_a_warm_up_from_a_ratio_is_mmcv_s() -> None:
    """LrUpdaterHook, linear: lr (1 - (1 - t / W) (1 - ratio))."""
    plan = options(steps=3000, schedule="constant", lr=4e-3, warmup=1500, warmup_from=1e-4)
    for step in (0, 1, 750, 1499):
        assert learning_rate(plan, step) == pytest.approx(4e-3 * (1 - (1 - step / 1500) * (1 - 1e-4)))
    assert learning_rate(plan, 1500) == 4e-3


def test_a_warm_up_from_nothing_starts_with_one_part_of_it() -> None:
    plan = options(steps=100, schedule="constant", lr=1.0, warmup=4)
    assert [learning_rate(plan, s) for s in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]


@pytest.mark.parametrize("changes", [{"warmup_from": 2.0}, {"lr_end": -0.1}, {"power": 0.0}, {"betas": (0.9, 1.0)}])
def test_a_schedule_that_makes_no_sense_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        options(**changes)


def test_adam_decays_weights_through_the_gradient_and_adamw_beside_it() -> None:
    """One step of Adam without a gradient but with weight decay moves every weight by lr, whatever its size."""

    def nothing(net: Net, batch: Batch) -> tuple[torch.Tensor, dict[str, float]]:
        return 0 * net(batch.image).sum(), {}

    net = tiny()
    kernel = "encoder.blocks.1.3.weight"
    before = weights(net)[kernel]
    moved = {}
    for kind in ("adam", "adamw"):
        plan = options(steps=1, optimizer=kind, lr=1e-3, weight_decay=0.1, eps=1e-12, schedule="constant")
        moved[kind] = weights(fit(net, batches(), nothing, plan)[0])[kernel] - before
    torch.testing.assert_close(moved["adam"], -1e-3 * before.sign(), atol=1e-7, rtol=0)
    torch.testing.assert_close(moved["adamw"], -1e-4 * before, atol=1e-7, rtol=0)
