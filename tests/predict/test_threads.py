"""The number of threads where nobody says: measured, overruled by the variable, and of no influence on results."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest

from leadline.cli.flags import predictor
from leadline.core.machine import check_threads, stated_threads, usable_cores
from leadline.predict import threads as module
from leadline.predict.threads import ENOUGH_IMAGES, load_with_fast_threads


class Machine:
    """Predictors that take as long as is said for each number of threads, on a clock of their own."""

    def __init__(self, patch: pytest.MonkeyPatch, all_ms: float, one_ms: float, runtime: str = "onnx") -> None:
        self.ms, self.runtime = {None: all_ms, 2: all_ms, 1: one_ms}, runtime
        self.loaded: list[int | None] = []
        self.spent = 0.0
        patch.setattr(module, "one", self.timed)
        patch.setattr(module, "usable_cores", lambda: 2)

    def load(self, threads: int | None) -> Any:
        self.loaded.append(threads)
        made = SimpleNamespace(runtime=self.runtime, frame=(8, 8), threads=threads)

        class Predictor(SimpleNamespace):
            def answer(_, picture: object) -> None:
                self.spent += self.ms[threads]

        return Predictor(**vars(made))

    def timed(self, call: Any) -> float:
        before = self.spent
        call()
        return self.spent - before


@pytest.mark.parametrize(
    ("all_ms", "one_ms", "expected"), [(2400, 170, 1), (100, 170, None), (100, 95, None), (100, 80, 1)]
)
def test_one_thread_is_taken_where_it_is_clearly_faster(
    all_ms: float, one_ms: float, expected: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(monkeypatch, all_ms, one_ms)
    chosen, why = load_with_fast_threads(machine.load, ENOUGH_IMAGES)
    assert chosen.threads == expected  # type: ignore[attr-defined]
    assert bool(why) == (expected == 1) and (not why or "LEADLINE_THREADS" in why)


def test_a_slow_machine_is_asked_once_each(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, 2400, 170)
    load_with_fast_threads(machine.load, 100)
    assert machine.spent == 2400 + 170


@pytest.mark.parametrize(("n_images", "runtime", "cores"), [(1, "onnx", 2), (100, "tvm", 2), (100, "onnx", 1)])
def test_nothing_is_measured_for_few_images_shared_pools_or_one_core(
    n_images: int, runtime: str, cores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(monkeypatch, 2400, 170, runtime)
    monkeypatch.setattr(module, "usable_cores", lambda: cores)
    assert load_with_fast_threads(machine.load, n_images)[1] == ""
    assert machine.loaded == [None] and machine.spent == 0


def test_pytorch_s_threads_are_those_of_the_process_so_each_net_gets_its_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torch

    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    machine = Machine(monkeypatch, 100, 170, "eager")
    chosen, _ = load_with_fast_threads(machine.load, 100)
    assert machine.loaded == [None, 2, 1] and chosen.threads == 2  # type: ignore[attr-defined]
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    machine = Machine(monkeypatch, 100, 17, "eager")
    assert load_with_fast_threads(machine.load, 100)[1] == "" and machine.loaded == [None]


@pytest.mark.parametrize(("device", "expected"), [("cuda", [None]), ("CPU", [None, 1]), (None, [None, 1])])
def test_on_another_device_nothing_is_measured(
    device: str | None, expected: list[int | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(monkeypatch, 100, 170)
    monkeypatch.setattr("leadline.predict.predictor.load_predictor", lambda _, threads, **__: machine.load(threads))
    predictor("litedepth", None, None, device=device, n_images=100)
    assert machine.loaded == expected


def test_the_variable_counts_where_no_argument_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LEADLINE_THREADS", raising=False)
    assert (stated_threads(None), check_threads(None)) == (None, usable_cores())
    monkeypatch.setenv("LEADLINE_THREADS", "3")
    assert (stated_threads(None), check_threads(None), check_threads(2)) == (3, 3, 2)


@pytest.mark.parametrize("said", ["0", "-1", "two", "1.5", "²"])
def test_a_variable_that_is_no_number_is_refused(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "LEADLINE_THREADS", said)
    with pytest.raises(ValueError, match=r"LEADLINE_THREADS is .*; a whole number, at least 1, is needed"):
        check_threads(None)
