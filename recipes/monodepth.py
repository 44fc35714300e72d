"""monodepth: metric depth learned from stereo pairs alone. docs/papers/monodepth.md says what differs.

    leadline data synth runs/pairs --n 1600 --kind street --size 156 512 --stereo --seed 11 --textures DATA/photos
    python -m recipes.monodepth streets --data DATA --synthetic runs --out runs/monodepth_streets
    python -m recipes.monodepth drive_synthetic --data DATA --synthetic runs --out runs/monodepth_drive

DATA is the folder that holds `drive`, the 154 real pairs; `--synthetic` the one that holds `pairs`. What to measure:

    leadline val --model runs/monodepth_drive/monodepth_vgg.safetensors --data DATA/drive --flip \
        --protocol kitti-eigen-garg@1,kitti-eigen-raw@1      (the same Garg crop and range: unaligned, median-scaled)
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import tyro

from leadline.data.options import Stereo
from leadline.training.options import FitOptions, Training
from recipes import start

KITTI = "KITTI: CC BY-NC-SA"
TEXTURES = "textures of the synthetic streets: ImageNet sample photographs, research use only"
HALF = (128, 256)
"""The published input at half its size, a quarter of the work."""


def published(data: Path, synthetic: Path, out: Path, seed: int = 0) -> Training:
    """The authors' training on the KITTI drives in `data`: Adam, 50 epochs in batches of 8, 256x512.

    Of the smoothness only the slopes along the rows count, as in the authors' code, which made the published numbers.
    """
    return Training(
        data=(str(data),),
        out=out,
        model="monodepth_vgg",
        batch=8,
        epochs=50,
        loss=("stereo",),
        stereo=Stereo(vertical=False),
        fit=FitOptions(optimizer="adam", lr=1e-4, weight_decay=0, schedule="halve", seed=seed),
        val_every=0,
        protocol="kitti-eigen-garg@1",
        licences=(KITTI,),
    )


def streets(data: Path, synthetic: Path, out: Path, seed: int = 0) -> Training:
    """On the train part of synthetic streets, at half size: 32 thousand pairs.

    The published rate, warmed up: four times as much ends within twenty steps in disparities of 0 everywhere.
    """
    return Training(
        data=(str(synthetic / "pairs"),),
        out=out,
        model="monodepth_vgg",
        batch=8,
        loss=("stereo",),
        stereo=Stereo(size=HALF),
        fit=FitOptions(
            steps=4000, optimizer="adam", lr=1e-4, weight_decay=0, schedule="halve", warmup=100, clip=1.0, ema=0.998,
            validate_every=500, seed=seed,
        ),
        protocol="kitti-eigen-garg@1",
        licences=(TEXTURES,),
    )  # fmt: skip


def drive(data: Path, synthetic: Path, out: Path, seed: int = 0) -> Training:
    """On 103 of the first 123 real pairs of one drive (20 are the validation split), from fresh weights: 116 epochs."""
    run = streets(data, synthetic, out, seed)
    fit = replace(run.fit, steps=1500, validate_every=250)
    return replace(run, data=(str(data / "drive"),), fit=fit, val_every=6, licences=(KITTI,))


def drive_synthetic(data: Path, synthetic: Path, out: Path, seed: int = 0) -> Training:
    """`drive` from the weights that `streets` left in `out`/../monodepth_streets, 47 epochs."""
    run = drive(data, synthetic, out, seed)
    start = out.parent / "monodepth_streets" / "monodepth_vgg.safetensors"
    fit = replace(run.fit, steps=600, validate_every=100)
    return replace(run, model=str(start), fit=fit, licences=(KITTI, TEXTURES))


def drive_published(data: Path, synthetic: Path, out: Path, seed: int = 0) -> Training:
    """`published` on the drive's 103 pairs: size, loss, rate and batch as published, the steps of `drive`."""
    run = drive(data, synthetic, out, seed)
    fit = replace(run.fit, warmup=0, clip=0.0, ema=0.0)
    return replace(run, stereo=Stereo(vertical=False), fit=fit)


def pruned(data: Path, synthetic: Path, out: Path, seed: int = 0) -> Training:
    """`drive` with the widths of the pruned net, from fresh weights."""
    return replace(drive(data, synthetic, out, seed), model="monodepth_pruned")


def no_consistency(data: Path, synthetic: Path, out: Path, seed: int = 0) -> Training:
    """`pruned` without the left-right consistency."""
    return replace(pruned(data, synthetic, out, seed), stereo=Stereo(size=HALF, consistency=0.0))


def no_smoothness(data: Path, synthetic: Path, out: Path, seed: int = 0) -> Training:
    """`pruned` without the smoothness."""
    return replace(pruned(data, synthetic, out, seed), stereo=Stereo(size=HALF, smoothness=0.0))


def one_scale(data: Path, synthetic: Path, out: Path, seed: int = 0) -> Training:
    """`pruned` judged at the finest scale only."""
    return replace(pruned(data, synthetic, out, seed), stereo=Stereo(size=HALF, scales=1))


_ALL = (published, streets, drive, drive_synthetic, drive_published, pruned, no_consistency, no_smoothness, one_scale)
RUNS = {f.__name__: f for f in _ALL}


def main(
    name: tyro.conf.Positional[str], /, *, data: Path, out: Path, synthetic: Path = Path("runs"), seed: int = 0,
    resume: bool = False,
) -> None:  # fmt: skip
    """Run one recipe.

    Args:
        name: published, streets, drive, drive_synthetic, drive_published, pruned, no_consistency, no_smoothness
            or one_scale
        data: the folder that holds drive; for published KITTI's own
        out: where checkpoints, curves and pictures go
        synthetic: the folder that holds the synthetic pairs
        seed: of weights and batches
        resume: go on with a run that was stopped
    """
    start(RUNS, name, data, synthetic, out, seed, resume=resume)


if __name__ == "__main__":
    tyro.cli(main)
