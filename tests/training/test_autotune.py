"""The fastest way is chosen by what was measured, and a run keeps to it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

import pytest
import torch
from support.tiny_training import batches, loss, options, same, tiny
from tyro.conf import arg

from leadline.cli.command import run
from leadline.core.errors import TrainingFailed
from leadline.training import autotune as module
from leadline.training.autotune import TUNED, autotune, chosen
from leadline.training.fit import fit
from leadline.training.options import FitOptions, Training


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Times that are said instead of measured: `steps` by the options, `loaded` by the number of workers."""
    said: dict[str, Any] = {"steps": lambda o: 1.0, "loaded": {1: (1.0, 0.0)}, "asked": []}

    def seconds(net: object, ready: object, loss: object, options: FitOptions, *_: object) -> float | None:
        said["asked"].append(options)
        took: float | None = said["steps"](options)
        return took

    def loaded(net: object, stream: object, loss: object, o: object, f: object, n: int, s: int) -> tuple[float, float]:
        took: tuple[float, float] = said["loaded"][n]
        return took

    monkeypatch.setattr(module, "_seconds", seconds)
    monkeypatch.setattr(module, "_loaded", loaded)
    return said


def tune(workers: Sequence[int] = (1,)) -> module.Tuned:
    return autotune(tiny(), lambda n: batches(), loss, options(lr=0.5), workers=workers)


def test_the_fastest_is_chosen_and_the_rest_of_the_options_stays(clock: dict[str, Any]) -> None:
    clock["steps"] = lambda o: 0.5 if o.precision == "bf16" and not o.channels_last else 1.0
    tuned = tune()
    assert (tuned.options.precision, tuned.options.channels_last) == ("bf16", False)
    assert replace(tuned.options, **{k: getattr(options(), k) for k in TUNED}) == options(lr=0.5)
    ways = {tuple(getattr(o, name) for name in TUNED[:2]) for o in clock["asked"]}
    assert ways == {(p, last) for p in ("no", "bf16") for last in (True, False)}


def test_compiling_is_tried_once_on_the_best_and_only_with_a_compiler(
    clock: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock["steps"] = lambda o: 0.1 if o.compile else 0.5 if o.precision == "bf16" else 1.0
    monkeypatch.setattr(module, "_compiles", lambda: True)
    assert tune().options.compile
    assert [o.precision for o in clock["asked"] if o.compile] == ["bf16"]
    clock["asked"].clear()
    monkeypatch.setattr(module, "_compiles", lambda: False)
    assert not tune().options.compile and not any(o.compile for o in clock["asked"])


def test_workers_are_added_until_the_net_no_longer_waits(clock: dict[str, Any]) -> None:
    clock["loaded"] = {1: (3.0, 0.6), 2: (1.2, 0.01), 4: (0.1, 0.0)}
    tuned = tune((4, 1, 2))
    assert tuned.workers == 2  # four were not needed
    assert [trial.workers for trial in tuned.trials[-2:]] == [1, 2]
    clock["loaded"] = {0: (0.9, 0.4), 1: (1.0, 0.3), 2: (2.0, 0.3)}
    assert tune((1, 2)).workers == 1  # more are slower
    assert tune((0, 1, 2)).workers == 0  # it waits longer, but its steps are so much shorter


def test_a_way_in_which_the_loss_fails_is_not_chosen(clock: dict[str, Any]) -> None:
    clock["steps"] = lambda o: None if o.precision == "bf16" else 1.0
    tuned = tune()
    assert tuned.options.precision == "no" and "failed" in tuned.table(4)
    clock["steps"] = lambda o: None
    with pytest.raises(TrainingFailed, match="not finite however"):
        tune()


def test_the_choice_can_be_stored_and_taken_again(clock: dict[str, Any]) -> None:
    clock["steps"] = lambda o: 0.5 if o.depthwise == "torch" else 1.0
    tuned = tune()
    again = chosen(json.loads(json.dumps(tuned.to_json())), options(lr=0.5))
    assert again == (tuned.options, tuned.workers)
    head, _, row = tuned.table(4).splitlines()[:3]
    cells = dict(zip(*([c.strip() for c in line.split("|")[1:-1]] for line in (head, row)), strict=True))
    assert [cells[name] for name in ("precision", "depthwise", "compile", "images/s")] == ["no", "own", "False", "4.0"]
    assert "--fit.depthwise torch" in tuned.table(4) and "--workers 1" in tuned.table(4)


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("compiled", [True, False])
def test_the_printed_flags_are_understood_and_mean_the_choice(
    clock: dict[str, Any], monkeypatch: pytest.MonkeyPatch, last: bool, compiled: bool
) -> None:
    monkeypatch.setattr(module, "_compiles", lambda: True)
    clock["steps"] = lambda o: 1.0 + (o.channels_last != last) + (o.compile != compiled)
    tuned = tune()
    line = tuned.table(4).splitlines()[-1].removeprefix("chosen: ")
    heard: list[Training] = []

    def train(run: Annotated[Training, arg(name="")]) -> int:
        heard.append(run)
        return 0

    assert run({"train": train}, ["train", "--data", "x", "--out", "y", *line.split()]) == 0
    for name in TUNED:
        assert getattr(heard[0].fit, name) == getattr(tuned.options, name)
    assert (tuned.options.channels_last, tuned.options.compile) == (last, compiled)
    assert heard[0].workers == tuned.workers


def test_measuring_leaves_net_and_batches_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_compiles", lambda: False)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    net = tiny()
    tuned = autotune(net, lambda n: batches(workers=n), loss, options(), workers=[0], steps=1)
    torch.set_num_threads(threads)
    assert same(net, tiny())
    assert all(trial.seconds is not None and trial.seconds > 0 for trial in tuned.trials)
    assert len(tuned.trials) == (4 if torch.cuda.is_available() else 8) + 1
    trained, _ = fit(net, batches(), loss, replace(tuned.options, steps=2))
    assert torch.isfinite(next(trained.parameters())).all()
