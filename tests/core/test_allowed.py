"""An option that makes no sense is refused where it is written down, with what is allowed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from leadline.cli.main import main
from leadline.compress.options import AcceptanceCriteria, Masks, NetAdapt, Pruning
from leadline.data.options import R2Crop, Stereo, View
from leadline.distill.options import Distillation, ExternalModel, Labelling, TeacherOptions
from leadline.runtime.options import CompileOptions
from leadline.training.options import FitOptions, Training

NAN, INF = float("nan"), float("inf")
TRAINING = partial(Training, data=("rooms",), out=Path("run"))
PRUNING = partial(Pruning, method="l1", budget="macs=0.5x", out=Path("net.safetensors"), training=TRAINING())
LABELLING = partial(Labelling, out=Path("labels"))

NONSENSE: list[tuple[Callable[..., Any], str, list[Any]]] = [
    (View, "size", [(0, 10), (10,), (10, -3), (10, 2.5), (10, 10**6)]),
    (View, "zoom", [(0, 1), (2, 1), (-1, 1), (1, INF), (NAN, 1), (0.0, 0.0)]),
    (View, "stretch", [0, -1.5, NAN, INF]),
    (View, "rotate", [-5, 181, NAN]),
    (View, "shift", [-0.1, 3, NAN]),
    (View, "flip", [7, -0.5, NAN]),
    (View, "jitter", [3, -0.4, NAN]),
    (View, "colour_shift", [1, -0.1, NAN]),
    (Stereo, "size", [(0, 0), (128, -1)]),
    (Stereo, "ssim", [-0.1, 1.1, NAN]),
    (Stereo, "smoothness", [-1, INF, NAN]),
    (Stereo, "gamma", [(0, 1), (2, 1), (1, NAN)]),
    (Stereo, "scales", [0, 5, 2.5]),
    (Stereo, "cut_bottom", [1, -0.1]),
    (R2Crop, "image", [(0, 0), (-128, 160)]),
    (R2Crop, "depth", [(480, 0)]),
    (R2Crop, "sizes", [(), ((481, 640),), ((0, 1),), ((1, 1),)]),
    (R2Crop, "rotate", [-1, NAN]),
    (R2Crop, "rotate_chance", [2, -1]),
    (R2Crop, "gamma", [1, -1]),
    (R2Crop, "brightness", [2, -1]),
    (FitOptions, "steps", [0, -1, 1.5, NAN, True]),
    (FitOptions, "lr", [0, -0.1, NAN, INF]),
    (FitOptions, "momentum", [2, 1, -0.1, NAN]),
    (FitOptions, "betas", [(0.9, 1.0), (-0.1, 0.9), (0.9,), (NAN, 0.9)]),
    (FitOptions, "eps", [0, -1, NAN, INF]),
    (FitOptions, "weight_decay", [-1, NAN, INF]),
    (FitOptions, "optimizer", ["lion"]),
    (FitOptions, "schedule", ["linear"]),
    (FitOptions, "precision", ["fp16"]),
    (FitOptions, "warmup", [-5, 0.5, NAN]),
    (FitOptions, "step_every", [0, -0.1, 1.5, NAN]),
    (FitOptions, "clip", [-1, NAN, INF]),
    (FitOptions, "ema", [1, -0.1, NAN]),
    (FitOptions, "freeze_bn_after", [-0.1, 1.1, NAN]),
    (FitOptions, "seed", [-1, 0.5, 2**32]),
    (FitOptions, "save_every", [0, -3]),
    (FitOptions, "validate_every", [-3, 1.5]),
    (FitOptions, "log_every", [0]),
    (CompileOptions, "precision", ["int4"]),
    (CompileOptions, "frame", [(0, 640), (480, -1)]),
    (CompileOptions, "trials", [-1]),
    (TRAINING, "batch", [0, -8, 1.5]),
    (TRAINING, "epochs", [0, -1, NAN, INF]),
    (TRAINING, "val_every", [-1]),
    (TRAINING, "workers", [-2, 0.5]),
    (TRAINING, "cache_gb", [-1, NAN]),
    (TRAINING, "transform", ["none"]),
    (TRAINING, "weighting", ["learnt"]),
    (NetAdapt, "first_step", [0, 1, NAN]),
    (NetAdapt, "decay", [0, 1.1, NAN]),
    (NetAdapt, "momentum", [0, 1.1, NAN]),
    (NetAdapt, "max_iterations", [0]),
    (NetAdapt, "threads", [0, -1]),
    (NetAdapt, "rule", ["best"]),
    (Masks, "target", [0, 1, NAN]),
    (Masks, "lr_scale", [0, -1, INF]),
    (Masks, "target_at", [0, 1.5, NAN]),
    (Masks, "mode", ["both"]),
    (PRUNING, "rounds", [0]),
    (PRUNING, "multiple", [0, -8, 2.5]),
    (PRUNING, "n_batches", [0]),
    (PRUNING, "distill_weight", [-1, NAN, INF]),
    (PRUNING, "method", ["magnitude"]),
    (ExternalModel, "unit_m", [0, -1, NAN]),
    (ExternalModel, "depth_scale", [0, NAN]),
    (ExternalModel, "size", [(0, 0)]),
    (ExternalModel, "mean", [(NAN, 0, 0), (0, 0)]),
    (ExternalModel, "std", [(0, 1, 1), (1, 1, INF)]),
    (TeacherOptions, "weights", [(0.5, -1), (NAN,)]),
    (TeacherOptions, "zooms", [(0.5,), (3,), (NAN,)]),
    (LABELLING, "shard", [0]),
    (LABELLING, "workers", [-1]),
    (LABELLING, "height", [7, -1]),
    (LABELLING, "label_scale", [0, NAN, INF]),
    (Distillation, "label_weight", [-0.1, 2, NAN]),
    (Distillation, "min_confidence", [1.5, NAN]),
    (Distillation, "weight", [-1, INF, NAN]),
    (AcceptanceCriteria, "max_drop", [-0.1, NAN, INF]),
    (AcceptanceCriteria, "threads", [0]),
]


@pytest.mark.parametrize(("made", "name", "value"), [(m, name, v) for m, name, values in NONSENSE for v in values])
def test_what_makes_no_sense_is_refused_by_name(made: Callable[..., Any], name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"{name}|crop"):
        made(**{name: value})


def test_the_message_says_what_was_given_and_what_is_allowed() -> None:
    with pytest.raises(ValueError, match=r"momentum is 2; a number of at least 0 and below 1 is needed"):
        FitOptions(momentum=2)
    with pytest.raises(ValueError, match=r"zoom is \(2, 1\); a pair of finite numbers above 0, the lower one first"):
        View(zoom=(2, 1))


def test_what_lies_on_the_border_is_allowed() -> None:
    View(size=(1, 1), zoom=(1, 1), rotate=0, shift=0, flip=1, jitter=1, colour_shift=0)
    FitOptions(steps=1, momentum=0, weight_decay=0, clip=0, ema=0, freeze_bn_after=0, step_every=1, seed=2**32 - 1)
    TRAINING(batch=1, val_every=0, workers=-1, cache_gb=0, epochs=0.001)
    Masks(target=None)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--fit.clip", "-1"), "clip is -1"),
        (("--fit.lr", "nan"), "lr is nan"),
        (("--view.zoom", "0", "1"), "zoom is (0.0, 1.0)"),
        (("--batch", "0"), "batch is 0"),
    ],
)
def test_the_command_line_says_it_in_one_line_before_any_work(
    flags: tuple[str, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--data", str(tmp_path), "--out", str(tmp_path / "run"), *flags]) != 0
    told = capsys.readouterr().err
    assert said in told and "needed" in told and len(told.splitlines()) == 1
    assert not (tmp_path / "run").exists()
