"""LiteDepth: the published training. docs/papers/litedepth.md says what differs.

    python -m recipes.litedepth everything --data DATA --synthetic runs --out runs/litedepth

DATA is the folder that holds `nyu`, `nyu_raw`, `kitchen`, `tum_fr1_rpy`, `office` and `drive`; that of `--synthetic`
holds `rooms` and `streets`, which `leadline data synth` makes. The ablation is in `recipes/ablations.py`, the
weights that ship are made by `recipes/litedepth_distilled.py`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import tyro

from leadline.data.options import R2Crop
from leadline.training.options import FitOptions, Training
from recipes import start

LICENCES = (
    "NYU Depth v2 labelled and raw frames, Replica: research use only",
    "7-Scenes: non-commercial use only",
    "KITTI: CC BY-NC-SA",
    "TUM RGB-D: CC BY",
    "textures of the synthetic rooms and streets: ImageNet sample photographs, research use only",
)

LOSSES = ("sig:1", "gradient:0.25@map", "virtual_normal:2.5@map", "robust:0.6")
"""The authors' four terms with their fixed weights."""

DYNAMIC = ("sig:1", "gradient:0.25@map", "virtual_normal:2.5@map", "robust:0.2")
"""The same with the weights on which their dynamic re-weighting starts."""

HALF = R2Crop(sizes=((120, 192), (180, 256), (240, 320)), frame=(240, 320), depth=(120, 160))
"""The published cut-outs of frames that are kept at half the size; 16 of each 225 depths are compared."""


def published(data: Path, synthetic: Path, out: Path, seed: int = 0) -> Training:
    """The authors' list, losses and schedule on the labelled frames of NYU: 650 epochs in batches of 32."""
    return Training(
        data=(f"{data / 'nyu'}:32",),
        out=out,
        model="litedepth",
        batch=32,
        epochs=650,
        loss=LOSSES,
        transform="litedepth",
        fit=FitOptions(
            optimizer="adam", lr=4e-3, eps=1e-3, weight_decay=0, schedule="poly", power=0.9, lr_end=0.25,
            warmup=1500, warmup_from=1e-4, clip=35, seed=seed,
        ),
        protocol="nyu-eigen@1",
        licences=LICENCES[:1],
    )  # fmt: skip


def dynamic(data: Path, synthetic: Path, out: Path, seed: int = 0) -> Training:
    """`published` with the authors' dynamic re-weighting."""
    return replace(published(data, synthetic, out, seed), loss=DYNAMIC, weighting="dynamic")


def everything(data: Path, synthetic: Path, out: Path, seed: int = 0) -> Training:
    """The published losses and cut-outs on every train part at hand, and synthetic scenes."""
    shares = {"nyu": 12, "nyu_raw": 6, "kitchen": 2, "tum_fr1_rpy": 1, "office": 2, "drive": 2}
    made = {"rooms": 5, "streets": 2}
    return Training(
        data=(
            *(f"{data / name}:{n}" for name, n in shares.items()),
            *(f"{synthetic / name}:{n}" for name, n in made.items()),
        ),
        out=out,
        model="litedepth",
        batch=32,
        loss=LOSSES,
        transform="litedepth",
        r2crop=HALF,
        fit=FitOptions(
            steps=14600, optimizer="adam", lr=4e-3, eps=1e-3, weight_decay=0, schedule="poly", power=0.9, lr_end=0.25,
            warmup=1500, warmup_from=1e-4, clip=35, ema=0.998, validate_every=2000, seed=seed,
        ),
        protocol="nyu-eigen@1",
        licences=LICENCES,
    )  # fmt: skip


RUNS = {f.__name__: f for f in (published, dynamic, everything)}


def main(
    name: tyro.conf.Positional[str], /, *, data: Path, out: Path, synthetic: Path = Path("runs"), seed: int = 0,
    resume: bool = False,
) -> None:  # fmt: skip
    """Run one recipe.

    Args:
        name: published, dynamic or everything
        data: the folder that holds nyu and the other sets
        out: where checkpoints, curves and pictures go
        synthetic: the folder that holds the synthetic rooms and streets
        seed: of weights and batches
        resume: go on with a run that was stopped
    """
    start(RUNS, name, data, synthetic, out, seed, resume=resume)


if __name__ == "__main__":
    tyro.cli(main)
