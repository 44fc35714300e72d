"""Parity: who agrees with PyTorch, who does not, and that one row's failure leaves the others alone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.fake_backend import StandIn, stand_in
from support.tiny_runtime_nets import small_net

from leadline.bench import parity as parity_module
from leadline.bench import rows as plan
from leadline.bench import worker
from leadline.bench.parity import parity
from leadline.bench.rows import BenchOptions
from leadline.bench.worker_process import RowFailed
from leadline.nn.checkpoint import save
from leadline.runtime.export import export, picture
from leadline.runtime.options import CompileOptions

PICTURES = [partial(picture, (60, 80), seed) for seed in range(2)]
ONE = BenchOptions(runtimes=("standin",), threads=(1,))


class Here:
    """A worker that works in this process, so that it knows the stand-in."""

    def ask(self, do: str, timeout_s: float = 0, **arguments: Any) -> dict[str, Any]:
        try:
            return worker.JOBS[do](**arguments)
        except Exception as error:
            raise RowFailed(str(error)) from error


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> StandIn:
    @contextlib.contextmanager
    def working(*_: object, **__: object) -> Iterator[Here]:
        with monkeypatch.context() as patch:
            patch.setattr(worker, "_loaded", [])
            yield Here()

    for module in (plan, parity_module):
        monkeypatch.setattr(module, "working", working)
    monkeypatch.setenv("LEADLINE_CACHE", str(tmp_path / "cache"))
    return stand_in(monkeypatch)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save(small_net(), tmp_path_factory.mktemp("net") / "small.safetensors"))


def test_files_that_compute_the_same_agree(backend: StandIn, checkpoint: str) -> None:
    found = parity(checkpoint, PICTURES, ONE)
    assert found.passed and found.n_images == 2
    reference, row = found.rows
    assert (reference["runtime"], reference["relative_max"], reference["verdict"]) == ("eager", 0.0, "agrees")
    assert (row["runtime"], row["precision"], row["verdict"]) == ("standin", "fp32", "agrees")
    assert max(row[key] for key in ("relative_max", "relative_mean", "depth_max", "depth_mean")) < 1e-5
    assert "preprocess_max" not in row


def test_a_file_for_whole_frames_is_judged_by_the_same_computation_and_its_input_is_compared(
    backend: StandIn, checkpoint: str
) -> None:
    options = BenchOptions(runtimes=("standin",), threads=(1,), frame=(90, 120), whole_frame=True)
    _, net_row, row = parity(checkpoint, PICTURES, options).rows
    assert (net_row.get("frame"), row["frame"], row["verdict"]) == (None, (90, 120), "agrees")
    assert row["relative_max"] < 1e-5 < row["depth_max"]  # the latter holds pillow's rounding to grey levels
    assert 0.1 < row["preprocess_max"] <= 1.0


def test_a_file_that_differs_fails_the_comparison(
    backend: StandIn, checkpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leadline.runtime.export.ALLOWED", 1.0)
    backend.fault = "differs"
    found = parity(checkpoint, PICTURES, ONE)
    row = found.rows[1]
    assert (found.passed, row["verdict"]) == (False, "differs")
    assert np.isclose(row["depth_max"], 0.01, rtol=0.01)
    assert parity(checkpoint, PICTURES, ONE, tolerance=0.1).passed


@pytest.mark.parametrize(
    ("fault", "verdict", "reason"),
    [("missing", "missing", "pip install stand-in"), ("refuses", "failed", "no kernel for Conv")],
)
def test_a_runtime_that_cannot_is_a_row_with_its_reason(
    backend: StandIn, checkpoint: str, fault: str, verdict: str, reason: str
) -> None:
    backend.fault = fault
    found = parity(checkpoint, PICTURES, ONE)
    assert not found.passed  # nothing was compared
    assert found.rows[0]["verdict"] == "agrees"
    assert found.rows[1]["verdict"] == verdict and reason in found.rows[1]["error"]


def test_lower_precision_is_measured_and_not_judged(backend: StandIn, checkpoint: str, tmp_path: Path) -> None:
    from PIL import Image

    Image.fromarray(picture((60, 80))).save(tmp_path / "a.png")
    options = BenchOptions(
        runtimes=("standin",), precisions=("int8", "bf16"), threads=(1,), calibration=str(tmp_path), n_calibration=1
    )
    found = parity(checkpoint, PICTURES, options)
    assert [row["verdict"] for row in found.rows] == ["agrees", "measured", "missing"]
    assert found.passed


def test_exported_files_are_compared_with_their_checkpoint(backend: StandIn, checkpoint: str, tmp_path: Path) -> None:
    good = export(checkpoint, "standin", tmp_path / "a.standin", size=(32, 64))
    whole = export(checkpoint, "standin", tmp_path / "b.standin", CompileOptions(frame=(60, 80)))
    found = parity(checkpoint, PICTURES, ONE, [good, whole])
    assert [row["verdict"] for row in found.rows] == ["agrees"] * 3
    assert [row.get("file") for row in found.rows[1:]] == [str(good), str(whole)]


def test_a_file_of_another_checkpoint_is_said_to_be_one(backend: StandIn, checkpoint: str, tmp_path: Path) -> None:
    other = small_net(skip="none")
    file = export(save(other, tmp_path / "other.safetensors"), "standin", tmp_path / "a.standin")
    found = parity(checkpoint, PICTURES, ONE, [file])
    assert not found.passed
    assert "another checkpoint" in found.rows[1]["note"]


def test_with_data_each_file_has_its_accuracy(backend: StandIn, checkpoint: str, tmp_path: Path) -> None:
    from support.tiny_scenes import render, write_folder

    data = write_folder(tmp_path / "rooms", [render(seed) for seed in range(5)])
    options = BenchOptions(runtimes=("standin",), threads=(1,), data=data, split="all", limit=2)
    eager, row = parity(checkpoint, PICTURES, options).rows
    assert np.isclose(row["metrics"]["rmse"], eager["metrics"]["rmse"], rtol=1e-4)


def test_without_pictures_there_is_nothing_to_compare_on(backend: StandIn, checkpoint: str) -> None:
    with pytest.raises(ValueError, match="no picture"):
        parity(checkpoint, [], ONE)
    with pytest.raises(ValueError, match="nearest: standin"):
        parity(checkpoint, PICTURES, BenchOptions(runtimes=("standinn",)))
