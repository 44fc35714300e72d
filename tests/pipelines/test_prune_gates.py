"""`leadline prune --method gates`: from a checkpoint to one with gates, what is said of it, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.tiny_pruning_nets import thin_checkpoint
from support.tiny_scenes import render, write_folder

from leadline.cli.main import main
from leadline.compress.cost.count import macs
from leadline.compress.options import Gates, Pruning
from leadline.nn.checkpoint import load, read_provenance
from leadline.pipelines import prune as pruning
from leadline.training.options import FitOptions, Training

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    drawn = [render(i // 6, step=0.1 * (i % 6), size=(36, 72)) for i in range(24)]
    return write_folder(tmp_path_factory.mktemp("rooms"), drawn)


@pytest.fixture
def plan(rooms: Path, tmp_path: Path) -> Pruning:
    how = FitOptions(steps=2, lr=1e-3, precision="no")
    training = Training(
        data=(str(rooms),), out=tmp_path, model=thin_checkpoint(tmp_path), batch=2, fit=how, workers=0, cache_gb=0
    )
    return Pruning(
        method="gates", budget="macs=0.8x", out=tmp_path / "gated.safetensors", training=training, n_batches=2
    )


def test_a_run_expects_its_cost_before_it_trains_and_the_file_has_its_gates(plan: Pruning) -> None:
    lines: list[str] = []
    made = pruning.run(plan, say=lines.append)
    again, told = load(plan.out), read_provenance(plan.out)["pruning"]
    assert again.spec.gates and again.spec.provenance[-2:] == (
        "pruned by gates to macs=0.8x",
        "trained for 2 steps",
    )
    whole = macs(made.before, made.before.spec.preprocess.size)
    assert told["expected_macs"][str(told["ratio"])] <= 0.8 * whole
    assert any(line.startswith("expected before any training") for line in lines)
    image = torch.rand(1, 3, 32, 64)
    assert torch.equal(again(image), made.after(image))


def test_the_command_reports_the_cost_that_its_predictors_leave(
    plan: Pruning, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, (data,) = plan.training.model, plan.training.data
    words = ["prune", model, "--method", "gates", "--budget", "0.8x", "--data", data, "--batch", "2", "--json"]
    words += ["--fit.steps", "2", "--n-batches", "1", "--gates.ratio", "0.6", "-o", str(tmp_path / "a.safetensors")]
    assert main(words) == 0
    before, after = json.loads(capsys.readouterr().out)["reports"]
    assert before["cost"]["macs"] == macs(load(model), (32, 64))
    assert after["cost"]["parameters"] > before["cost"]["parameters"]
    whole = before["cost"]["macs"] + after["cost"]["parameters"] - before["cost"]["parameters"]
    assert 0 < after["cost"]["macs"] <= whole


def test_what_gates_cannot_do_is_told_before_anything_is_trained(plan: Pruning) -> None:
    for budget in ("params=0.5x", "1kB"):
        with pytest.raises(ValueError, match=r"gates save multiply-accumulates for each image.*--budget macs=0\.5x"):
            pruning.run(replace(plan, budget=budget))
    pruning.run(plan)
    twice = replace(plan, out=plan.out.with_name("b.safetensors"), training=replace(plan.training, model=str(plan.out)))
    with pytest.raises(ValueError, match="no convolution left that could have a gate"):
        pruning.run(twice)
    with pytest.raises(ValueError, match="gates and widths learn in the training"):
        replace(plan, finetune=False)
    with pytest.raises(ValueError, match="mode is"):
        Gates(mode="both")  # type: ignore[arg-type]
