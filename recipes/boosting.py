"""The Boosting student (Hu et al., KSEM 2023) without its teacher: trained as Hu et al. (WACV 2019) train, on NYU.

python -m recipes.boosting published --data DATA --out runs/boosting
"""

from __future__ import annotations

from pathlib import Path

import tyro

from leadline.training.options import FitOptions, Training
from recipes import start


def published(data: Path, out: Path, seed: int = 0) -> Training:
    """Adam 1e-4, weight decay 1e-4, 20 epochs of batches of 8, learning rate x 0.1 every 5; losses at the net's map."""
    return Training(
        data=(f"{data / 'nyu'}:8",),
        out=out,
        model="boosting_student",
        init=data / "init" / "mobilenetv2_imagenet.safetensors",
        batch=8,
        epochs=20,
        loss=("hu@map",),
        transform="hu",
        fit=FitOptions(optimizer="adam", lr=1e-4, weight_decay=1e-4, schedule="step", step_every=0.25, seed=seed),
        protocol="nyu-eigen@1",
        licences=(
            "encoder: MobileNetV2 ImageNet weights, Apache-2.0 (ONNX model zoo)",
            "NYU Depth v2 labelled frames: research use only",
        ),
    )


RUNS = {f.__name__: f for f in (published,)}


def main(name: tyro.conf.Positional[str], /, *, data: Path, out: Path, seed: int = 0, resume: bool = False) -> None:
    """Run one recipe.

    Args:
        name: published
        data: the folder that holds nyu and init
        out: where checkpoints, curves and pictures go
        seed: of weights and batches
        resume: go on with a run that was stopped
    """
    start(RUNS, name, data, out, seed, resume=resume)


if __name__ == "__main__":
    tyro.cli(main)
