"""What makes `leadline train` fast changes nothing that is learned, and is written down."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from leadline.cli.train import run_training as train
from leadline.core.errors import BadData, TrainingFailed
from leadline.data.depth_io import write_depth
from leadline.data.loader import enough_workers
from leadline.data.options import View
from leadline.pipelines import train as cli_train
from leadline.pipelines import training_setup as run_parts
from leadline.training.autotune import Trial, Tuned
from leadline.training.options import FitOptions, Training

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def run(tmp_path: Path) -> Training:
    """Three steps on six pictures whose depth grows downwards."""
    root = tmp_path / "frames"
    for part in ("images", "depth"):
        (root / part).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(6):
        Image.fromarray(rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)).save(root / "images" / f"{i}.png")
        depth = np.repeat(np.linspace(1, 4, 48, dtype=np.float32)[:, None], 64, axis=1)
        write_depth(root / "depth" / f"{i}.png", depth)
    (root / "dataset.toml").write_text('layout = "folder"\nsplit = "train"\n')
    options = FitOptions(steps=3, precision="no", log_every=1)
    return Training(
        data=(str(root),),
        out=tmp_path / "run",
        model="litedepth",
        batch=2,
        val_every=0,
        workers=0,
        view=View(size=(64, 64)),
        fit=options,
    )


def learned(run: Training) -> list[torch.Tensor]:
    return list(train(run)[0].state_dict().values())


def test_the_cache_changes_nothing_that_is_learned(run: Training, tmp_path: Path) -> None:
    kept = learned(run)
    assert list((Path(os.environ["LEADLINE_CACHE"]) / "frames").glob("*.frames"))
    again, without = (learned(replace(run, out=tmp_path / str(gb), cache_gb=gb)) for gb in (8.0, 0.0))
    for a, b, c in zip(kept, again, without, strict=True):
        assert torch.equal(a, b) and torch.equal(a, c)


def test_augmenting_on_the_device_learns_from_the_same_views(run: Training, tmp_path: Path) -> None:
    losses = [
        train(replace(run, augment=where, out=tmp_path / where, fit=replace(run.fit, steps=1)))[1].metrics["loss"]
        for where in ("workers", "device")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)
    with pytest.raises(ValueError, match="only --transform view can"):
        train(replace(run, augment="device", transform="hu", out=tmp_path / "hu"))


def test_a_batch_of_mixed_sizes_is_refused_and_litedepth_s_list_pads_it(run: Training, tmp_path: Path) -> None:
    _, report = train(replace(run, transform="litedepth"))
    assert np.isfinite(report.metrics["loss"])
    small = Image.new("RGB", (40, 30))
    small.save(Path(run.data[0]) / "images" / "0.png")
    write_depth(Path(run.data[0]) / "depth" / "0.png", np.ones((30, 40), np.float32))
    mixed = replace(run, out=tmp_path / "mixed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_parts, "transform_of", lambda run: lambda sample, rng: sample)
        with pytest.raises(BadData, match="a batch of unlike sizes"):
            train(replace(mixed, batch=6))


def test_what_autotune_chose_is_written_down_and_kept_when_the_run_goes_on(
    run: Training, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def tune(net: object, batches: object, loss: object, options: FitOptions, **_: object) -> Tuned:
        asked.append(options)
        best = replace(options, channels_last=False, depthwise="torch")
        return Tuned(best, 0, (Trial(best, 0, 0.01 * len(asked)),))

    monkeypatch.setattr(cli_train, "autotune", tune)
    tuned = replace(run, autotune=True)
    train(tuned)
    assert "chosen: --fit.precision no --fit.no-channels-last" in capsys.readouterr().err
    said = json.loads((run.out / "run.json").read_text())
    assert said["options"]["channels_last"] is False and said["autotune"]["trials"][0]["seconds"] == 0.01
    train(replace(tuned, resume=True))
    assert len(asked) == 1
    assert json.loads((run.out / "run.json").read_text())["autotune"] == said["autotune"]


def test_going_on_in_another_recipe_s_folder_names_what_differs(run: Training) -> None:
    train(run)
    other = replace(run, loss=("l2",), batch=3, fit=replace(run.fit, lr=0.5), resume=True)
    with pytest.raises(TrainingFailed) as failure:
        train(other)
    said = str(failure.value)
    for line in ("fit.lr 0.01 there, 0.5 here", "training.batch 2 there, 3 here", 'training.loss ["l1"] there'):
        assert line in said
    assert "training.view" not in said and "\n" not in said


def test_the_number_of_workers_is_recorded(run: Training) -> None:
    _, report = train(replace(run, workers=-1))
    assert json.loads((run.out / "run.json").read_text())["workers"] == enough_workers(1, torch.cuda.is_available())
    assert 0 <= report.context["waiting"] <= 1
