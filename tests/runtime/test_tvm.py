"""TVM's tuner: what it has tried stays tried, whatever interrupts it, and tuned code computes the same."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support.tiny_runtime_nets import SIZE, images, small_net
from torch import nn

from leadline.runtime import load
from leadline.runtime.backends import tvm
from leadline.runtime.options import CompileOptions

pytestmark = [
    pytest.mark.skipif(tvm.missing() is not None, reason="tvm is not installed"),
    pytest.mark.timeout(1500),  # to import its descriptions of GPU instructions takes a minute on a slow core
]


def lines(folder: Path) -> list[dict[str, object]]:
    path = folder / "tuning.jsonl"
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


def n_records(folder: Path) -> int:
    return len((folder / "database_tuning_record.json").read_text("utf-8").splitlines())


@pytest.mark.slow
def test_an_interrupted_tuning_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from leadline.core.quiet import quiet
    from leadline.runtime.backends import tvm_tuning

    module = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 8, 1), nn.ReLU()).eval()
    target = tvm.this_machine()
    original, done = tvm_tuning._tune_task, []

    def crash_at_the_second(*args: object) -> None:
        if len(done) == 1:
            raise KeyboardInterrupt
        done.append(args)
        original(*args)  # type: ignore[arg-type]

    with quiet():
        lowered = tvm.lowered(module, torch.zeros(1, 3, 16, 16), target)
        monkeypatch.setattr(tvm_tuning, "_tune_task", crash_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            tvm_tuning.tune(lowered, target, tmp_path, 4)
        assert len(lines(tmp_path)) == 1 and n_records(tmp_path) == 4
        records = tmp_path / "database_tuning_record.json"
        records.write_text(records.read_text("utf-8") + '[0, ["cut sho', "utf-8")  # as a crash while writing leaves it
        monkeypatch.setattr(tvm_tuning, "_tune_task", original)
        told: list[str] = []
        tvm_tuning.tune(lowered, target, tmp_path, 4, told.append)
        names = [line["task"] for line in lines(tmp_path)]
        assert len(names) == len(set(names)) >= 2 and len(told) == len(names) - 1
        before = n_records(tmp_path)
        tvm_tuning.tune(lowered, target, tmp_path, 4)
        assert n_records(tmp_path) == before and len(lines(tmp_path)) == len(names)
    assert all(float(str(line["best_ms"])) > 0 and line["trials"] == 4 for line in lines(tmp_path))


@pytest.mark.slow
def test_tuned_code_gives_the_same_numbers_and_leaves_log_handlers_alone(tmp_path: Path) -> None:
    class Handler(logging.Handler):  # absl's closes the stream it writes to, which may be pytest's
        def close(self) -> None:
            closed.append(self)

    closed: list[logging.Handler] = []
    handler = Handler()  # to exist is enough to be closed by logging.config
    net = small_net()
    options = CompileOptions(tuning=tmp_path / "tuning", trials=1)
    path = tvm.compile(net, torch.zeros(1, 3, *SIZE), tmp_path / "net.so", options)
    run, _ = load(path, threads=2)
    with torch.no_grad():
        expected = net(torch.tensor(images(1)[0])).numpy()
    assert np.allclose(run(images(1)[0]), expected, rtol=1e-4, atol=1e-4)
    (database,) = (tmp_path / "tuning").iterdir()  # that of this processor
    assert lines(database)
    assert closed == [], handler


def test_processors_of_one_family_with_other_instructions_have_databases_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = SimpleNamespace(attrs={"mcpu": "znver4", "num-cores": 2})
    found = []
    for instructions in ("avx2", "avx512f"):
        monkeypatch.setattr(tvm, "native", lambda word=instructions: ("linux x86_64", word))
        found.append(tvm.database_in(tmp_path, target))
    assert len({*found}) == 2 and all(folder.name.startswith("znver4-2-") for folder in found)
    (tmp_path / "znver4-2").mkdir()  # of an older version: hours of tuning
    assert tvm.database_in(tmp_path, target) == tmp_path / "znver4-2"


def test_trials_need_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="give tuning too"):
        tvm.compile(small_net(), torch.zeros(1, 3, *SIZE), tmp_path / "net.so", CompileOptions(trials=4))
