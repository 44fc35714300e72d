"""Losses with weights of their own, batches in which nothing counts, and runs that another run's folder cannot take."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from support.tiny_training import Batches, batches, loss, options, same, tiny, weights

from leadline.core.errors import TrainingFailed
from leadline.data.batch import Batch
from leadline.nn import zoo
from leadline.nn.build import Net, build
from leadline.training.fit import fit

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_state_of_another_net_is_refused(tmp_path: Path) -> None:
    fit(tiny(), batches(), loss, options(), out=tmp_path)
    with pytest.raises(TrainingFailed, match="another net, loss or optimizer"):
        fit(build(zoo.fastdepth_pruned(), seed=0), batches(), loss, options(), out=tmp_path, resume=True)
    with pytest.raises(TrainingFailed, match=r"options: fit.optimizer sgd there, adamw here\. Give the same"):
        fit(tiny(), batches(), loss, options(optimizer="adamw"), out=tmp_path, resume=True)
    (tmp_path / "state.safetensors").write_bytes(b"nonsense")
    with pytest.raises(
        TrainingFailed,
        match=r"is damaged.* Remove state\.safetensors, .*--model .*last\.safetensors with another --out",
    ):
        fit(tiny(), batches(), loss, options(), out=tmp_path, resume=True)


class Weighed(torch.nn.Module):
    """A loss with a weight of its own, s: 0.5 l1 / s^2 + ln(1 + s^2); its gradient in s is known."""

    def __init__(self) -> None:
        super().__init__()
        self.sigma = torch.nn.Parameter(torch.ones(1))
        self.frozen = torch.nn.Parameter(torch.ones(3), requires_grad=False)

    def forward(self, net: Net, batch: Batch) -> tuple[torch.Tensor, dict[str, float]]:
        value, _ = loss(net, batch)
        return (0.5 * value / self.sigma**2 + (1 + self.sigma**2).log()).sum(), {"l1": float(value.detach())}


def test_the_weights_of_a_loss_are_trained_without_decay_and_reported() -> None:
    made = Weighed()
    plan = options(steps=1, lr=0.1, momentum=0.0, weight_decay=0.5, schedule="constant")
    _, report = fit(tiny(), batches(), made, plan)
    value, _ = loss(tiny().train(), next(batches()(0)))
    expected = 1 - 0.1 * (1 - float(value.detach()))  # d/ds at s = 1: -l1 + 1
    assert report.context["loss_parameters"] == {"sigma": [pytest.approx(expected, abs=1e-5)]}
    assert made.sigma.tolist() == report.context["loss_parameters"]["sigma"]  # the given loss holds them afterwards
    assert made.frozen.tolist() == [1, 1, 1] and made.sigma.grad is None


def test_a_run_whose_loss_has_weights_continues_to_bitwise_equal_ones(tmp_path: Path) -> None:
    def stops(start: int) -> Iterator[Batch]:
        for i, batch in enumerate(batches()(start), start):
            if i == 4:
                raise KeyboardInterrupt
            yield batch

    plan = options(optimizer="adam", save_every=2, lr=1e-3)
    whole, said = fit(tiny(), batches(), Weighed(), plan)
    with pytest.raises(KeyboardInterrupt):
        fit(tiny(), stops, Weighed(), plan, out=tmp_path)
    resumed, again = fit(tiny(), batches(), Weighed(), plan, out=tmp_path, resume=True)
    assert same(whole, resumed)
    assert said.context["loss_parameters"] == again.context["loss_parameters"] != {"sigma": [1.0]}
    with pytest.raises(TrainingFailed, match="another net, loss or optimizer"):
        fit(tiny(), batches(), loss, plan, out=tmp_path, resume=True)


class Counting(Weighed):
    """It also knows how often it was asked, and weighs what it says by that."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("asked", torch.tensor(0))
        self.register_buffer("factor", torch.tensor(1.0))

    def forward(self, net: Net, batch: Batch) -> tuple[torch.Tensor, dict[str, float]]:
        value, logs = super().forward(net, batch)
        value = value * self.factor.clone()
        self.asked += 1
        self.factor *= 1 + 0.1 * float(value.detach())
        return value, logs


def test_what_a_loss_remembers_continues_bitwise_and_is_in_it_afterwards(tmp_path: Path) -> None:
    def stops(start: int) -> Iterator[Batch]:
        for i, batch in enumerate(batches()(start), start):
            if i == 5:
                raise KeyboardInterrupt
            yield batch

    plan = options(optimizer="adam", save_every=2, lr=1e-3, clip=1.0)
    whole, stopped, resumed, over = (Counting() for _ in range(4))
    expected, _ = fit(tiny(), batches(), whole, plan)
    assert int(whole.asked) == 6 and float(whole.factor) > 1
    with pytest.raises(KeyboardInterrupt):
        fit(tiny(), stops, stopped, plan, out=tmp_path)
    found, report = fit(tiny(), batches(), resumed, plan, out=tmp_path, resume=True)
    assert report.context["steps_now"] == 2 and same(found, expected)
    fit(tiny(), batches(), over, plan, out=tmp_path, resume=True)  # nothing is left to do
    for made in (resumed, over):
        pairs = zip(made.state_dict().items(), whole.state_dict().values(), strict=True)
        assert all(torch.equal(value, other) for (_, value), other in pairs)


def test_a_loss_may_put_other_weights_into_the_net_for_a_step() -> None:
    """`functional_call` on what a loss is given: the net's own weights are there again afterwards, and learn."""

    def halved(net: torch.nn.Module, batch: Batch) -> tuple[torch.Tensor, dict[str, float]]:
        other = {name: 0.5 * p for name, p in net.named_parameters()}
        out = torch.func.functional_call(net, other, (batch.image,))
        return (out - batch.target).abs().mean(), {}

    plan = options(steps=2, optimizer="adam", lr=1e-3, schedule="constant", weight_decay=0.0)
    trained, _ = fit(tiny(), batches(), halved, plan)
    for before, after in zip(tiny().parameters(), trained.parameters(), strict=True):
        assert after.is_leaf and float((after - before).detach().abs().max()) < 0.0021


def with_nothing_at(*steps: int) -> Batches:
    """The batches of a run; those of `steps` have no valid pixel, and NaN where their depth was."""

    def changed(start: int) -> Iterator[Batch]:
        for step, batch in enumerate(batches()(start), start):
            if step in steps:
                batch.valid.fill_(False)
                batch.target.fill_(torch.nan)
            yield batch

    return changed


@pytest.mark.parametrize("changes", [{}, {"optimizer": "adam", "lr": 1e-3, "ema": 0.9}])
def test_a_batch_without_a_valid_pixel_makes_no_step_and_is_counted(changes: dict[str, object]) -> None:
    plan = options(freeze_bn_after=0.0, **changes)  # batch norms would see the images
    start, one = fit(tiny(), with_nothing_at(*range(6)), loss, plan)
    assert same(start, tiny())
    assert one.context["skipped_steps"] == 6 and "loss" not in one.metrics
    first_two, two = fit(tiny(), with_nothing_at(2, 3, 4, 5), loss, plan)
    with_a_gap, last = fit(tiny(), with_nothing_at(2, 3, 4), loss, plan)
    assert two.context["skipped_steps"] == 4 and last.context["skipped_steps"] == 3
    assert not same(first_two, start) and not same(first_two, with_a_gap)
    assert all(torch.isfinite(w).all() for w in weights(with_a_gap).values())
    assert np.isfinite(last.metrics["loss"])


def test_skipped_steps_are_counted_over_a_pause(tmp_path: Path) -> None:
    def stops(start: int) -> Iterator[Batch]:
        for i, batch in enumerate(with_nothing_at(1, 3)(start), start):
            if i == 4:
                raise KeyboardInterrupt
            yield batch

    plan = options(save_every=2)
    with pytest.raises(KeyboardInterrupt):
        fit(tiny(), stops, loss, plan, out=tmp_path)
    _, report = fit(tiny(), with_nothing_at(1, 3, 5), loss, plan, out=tmp_path, resume=True)
    assert report.context["skipped_steps"] == 3


def test_a_run_of_another_recipe_is_refused_by_naming_what_differs(tmp_path: Path) -> None:
    facts = {"training": {"loss": ["l1"], "model": "tiny", "view": {"size": [64, 64]}}}
    fit(tiny(), batches(), loss, options(), out=tmp_path, facts=facts)
    other = {"training": {"loss": ["l2"], "model": "tiny", "view": {"size": [64, 96]}, "new": 1}}
    with pytest.raises(TrainingFailed) as failure:
        fit(tiny(), batches(), loss, options(lr=0.5), out=tmp_path, facts=other, resume=True)
    said = str(failure.value)
    for line in (
        "fit.lr 0.01 there, 0.5 here",
        'training.loss ["l1"] there, ["l2"] here',
        "training.view.size [64, 64] there, [64, 96] here",
    ):
        assert line in said
    assert "training.model" not in said and "training.new" not in said and len(said) < 400


def test_options_that_change_nothing_may_change_when_a_run_goes_on(tmp_path: Path) -> None:
    fit(tiny(), batches(), loss, options(), out=tmp_path, notes={"tuned": 1})
    fit(tiny(), batches(), loss, options(log_every=7, save_every=5), out=tmp_path, resume=True, notes={"tuned": 2})
    assert json.loads((tmp_path / "run.json").read_text())["tuned"] == 1
