"""The eager backend, and what all backends promise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from leadline.nn import zoo
from leadline.nn.build import Net, build
from leadline.nn.checkpoint import read_provenance
from leadline.runtime import backend
from leadline.runtime.backends import eager
from leadline.runtime.options import CompileOptions

BATCH = np.random.default_rng(0).random((2, 3, 64, 96), dtype=np.float32)


@pytest.fixture(scope="module")
def net() -> Net:
    return build(zoo.fastdepth_pruned(), seed=0)


def test_an_unknown_backend_is_an_error_that_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="'eagre' is unknown; nearest: eager"):
        backend("eagre")


def test_the_runner_gives_what_the_net_gives(net: Net) -> None:
    with torch.no_grad():
        expected = net.eval()(torch.tensor(BATCH)).numpy()
    output = eager.runner(net)(BATCH)
    assert output.dtype == np.float32 and output.shape == (2, 1, 64, 96)
    assert np.allclose(output, expected, atol=1e-4)


def test_the_runner_neither_changes_the_net_nor_follows_it(net: Net) -> None:
    net.train()
    run = eager.runner(net)
    before = run(BATCH)
    assert net.training
    changed = build(replace(net.spec), seed=1)
    net.load_state_dict(changed.state_dict())
    assert (run(BATCH) == before).all()


def test_each_runner_computes_with_its_own_threads_and_loading_changes_nothing(
    net: Net, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = [3]
    monkeypatch.setattr(torch, "set_num_threads", counts.append)
    monkeypatch.setattr(torch, "get_num_threads", lambda: counts[-1])
    one, two, any_number = eager.runner(net, 1), eager.runner(net, 2), eager.runner(net)
    assert counts == [3]
    for run in (any_number, one, one, two, any_number, one):
        run(BATCH)
    assert counts == [3, 1, 2, 1]


def test_a_read_only_input_is_accepted(net: Net) -> None:
    frozen = BATCH.copy()
    frozen.flags.writeable = False
    assert eager.runner(net)(frozen).shape == (2, 1, 64, 96)


def test_what_was_compiled_loads_as_the_same_function(net: Net, tmp_path: Path) -> None:
    path = eager.compile(net, torch.tensor(BATCH), tmp_path / "net.safetensors", CompileOptions())
    assert np.allclose(eager.load(path)(BATCH), eager.runner(net)(BATCH), atol=1e-6)


def test_the_checkpoint_keeps_its_origin(net: Net, tmp_path: Path) -> None:
    options = CompileOptions(provenance={"data": "rooms"})
    path = eager.compile(net, torch.tensor(BATCH), tmp_path / "net.safetensors", options)
    assert read_provenance(path) == {"data": "rooms"}


@pytest.mark.parametrize(
    "option",
    [
        {"precision": "int8"},
        {"frame": (48, 64)},
        {"calibration": [BATCH[:1]]},
        {"keep": ("head.conv",)},
        {"tuning": Path("db")},
        {"trials": 1},
    ],
    ids=lambda option: next(iter(option)),
)
def test_an_option_it_cannot_honour_is_an_error(net: Net, tmp_path: Path, option: dict[str, Any]) -> None:
    name, value = next(iter(option.items()))
    with pytest.raises(ValueError, match=str(value) if name == "precision" else f"no option '{name}'"):
        eager.compile(net, torch.tensor(BATCH), tmp_path / "net.safetensors", CompileOptions(**option))
    assert not list(tmp_path.iterdir())


def test_threads_must_be_at_least_one(net: Net) -> None:
    with pytest.raises(ValueError, match="threads is 0"):
        eager.runner(net, 0)
