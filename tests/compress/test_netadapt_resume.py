"""NetAdapt across stops, kills and processes: the same end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from support.tiny_pruning_nets import (
    LAYERS,
    SEARCH,
    searched,
    teach_by_weights,
    teach_until,
    teach_without_validation,
    trace_once,
    traced_net,
)
from support.tiny_training import same
from test_netadapt import ENOUGH, FEW, PLAIN, narrowed, said

from leadline.compress.pruning import candidates as settled
from leadline.compress.pruning import netadapt as module
from leadline.compress.recovery import Recovery
from leadline.core.errors import BudgetInfeasible, TrainingFailed
from leadline.nn.build import Net

pytestmark = pytest.mark.usefixtures("one_thread")
learning = partial(narrowed, options=SEARCH, layers=LAYERS)


@pytest.fixture(autouse=True)
def traced_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "trace", trace_once)


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Net, Path]:
    """A run that nothing disturbs."""
    out = tmp_path_factory.mktemp("whole")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "trace", trace_once)
        made = searched(out)[0]
    torch.set_num_threads(threads)
    return made, out


@pytest.mark.parametrize("calls", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in (2, 3)), 4])
def test_a_run_that_was_stopped_ends_as_one_that_was_not(
    tmp_path: Path, whole_run: tuple[Net, Path], calls: int
) -> None:
    expected, there = whole_run
    teaching = partial(teach_until, calls)
    with pytest.raises(KeyboardInterrupt):
        learning(tmp_path, teaching=teaching)
    asked: list[Net] = []

    def counting() -> Recovery:
        recovery = teach_by_weights()

        def counted(net: Net) -> float:
            asked.append(net)
            assert recovery.validate is not None
            return recovery.validate(net)

        return replace(recovery, validate=counted)

    found, _ = learning(tmp_path, teaching=counting, resume=True)
    assert same(found, expected) and said(tmp_path) == said(there)
    n_validated = sum(len(row["candidates"]) for row in said(there)) + 1  # and the whole net
    assert len(asked) == n_validated - calls  # nothing is done twice
    again, report = learning(tmp_path, teaching=counting, resume=True)  # over already
    assert same(again, expected) and report.context["netadapt"]["iterations"] == len(said(there))


@pytest.mark.slow
def test_other_options_are_refused_by_name_also_before_the_first_choice(tmp_path: Path) -> None:
    for name, calls in (("first", 2), ("second", 4)):
        out = tmp_path / name
        with pytest.raises(KeyboardInterrupt):
            learning(out, teaching=partial(teach_until, calls))
        with pytest.raises(ValueError, match=r"holds a run already: give --resume to go on with it, or another --out"):
            learning(out)
        with pytest.raises(TrainingFailed, match=r"other options: options\.first_step 0\.06 there, 0\.07 here\. Give"):
            learning(out, options=replace(SEARCH, first_step=0.07), resume=True)
        with pytest.raises(TrainingFailed, match=r"options\.short\.lr 0\.001 there, 0\.1 here"):
            learning(out, options=replace(SEARCH, short=replace(SEARCH.short, lr=0.1)), resume=True)
        with pytest.raises(TrainingFailed, match=r"other options: layers .* there, \[.decoder.\] here"):
            learning(out, layers=("decoder",), resume=True)
        with pytest.raises(TrainingFailed, match=r"other options: limit .* there, .* here"):
            learning(out, part=0.7, resume=True)


@pytest.mark.slow
def test_more_iterations_may_be_allowed_later(tmp_path: Path) -> None:
    options = replace(PLAIN, max_iterations=2)
    with pytest.raises(BudgetInfeasible, match=r"after 2 iterations the cost is .*; raise max_iterations and resume"):
        narrowed(tmp_path, options, part=ENOUGH, layers=FEW)
    net, _ = narrowed(tmp_path, replace(options, max_iterations=50), part=ENOUGH, layers=FEW, resume=True)
    assert same(net, narrowed(tmp_path / "at_once", part=ENOUGH, layers=FEW)[0])


def test_what_cannot_be_is_told_before_any_work(tmp_path: Path) -> None:
    def never() -> Recovery:
        raise AssertionError

    with pytest.raises(BudgetInfeasible, match=r"a cost of .* cannot be reached by pruning these 16 groups"):
        narrowed(tmp_path, teaching=never, part=0.01)
    with pytest.raises(ValueError, match=r"multiple is 0; at least 1 is needed"):
        narrowed(tmp_path, teaching=never, multiple=0)
    with pytest.raises(ValueError, match=r"NetAdapt needs a validation split, .*: give --val-every 10"):
        narrowed(tmp_path, teaching=teach_without_validation)
    assert not list(tmp_path.iterdir())
    net, _ = narrowed(tmp_path, part=1.0)  # met already
    assert same(net, traced_net("add")[0])


@pytest.mark.slow
def test_this_process_is_left_as_it_was(tmp_path: Path) -> None:
    torch.set_num_threads(2)
    narrowed(tmp_path, replace(PLAIN, threads=1), part=0.97)
    assert torch.get_num_threads() == 2 and not settled._settled


@pytest.mark.slow
def test_two_processes_find_what_one_does(tmp_path: Path, whole_run: tuple[Net, Path]) -> None:
    expected, there = whole_run
    found, _ = searched(tmp_path, processes=2)
    assert same(found, expected) and said(tmp_path) == said(there)
    two = replace(SEARCH, processes=2)
    with pytest.raises(ValueError, match=r"NetAdapt needs a validation split"):
        narrowed(tmp_path / "nothing", two, teaching=teach_without_validation)
    assert not (tmp_path / "nothing").exists()


@pytest.mark.slow
@pytest.mark.parametrize("calls", [2, 4])
def test_a_killed_run_ends_as_one_that_was_not(tmp_path: Path, whole_run: tuple[Net, Path], calls: int) -> None:
    expected, there = whole_run
    root = Path(__file__).resolve().parents[2]
    around = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), str(root / "tests")]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(root / "tests/support/tiny_pruning_nets.py"), str(tmp_path), str(calls)]
    assert subprocess.run(command, env=around, capture_output=True).returncode == -signal.SIGKILL
    assert (tmp_path / "history.json").exists()
    found, _ = searched(tmp_path, resume=True)
    assert same(found, expected) and said(tmp_path) == said(there)
