"""FastDepth on NYU Depth v2: the shipped weights, and the runs that show what each part of the recipe is worth.

    python -m recipes.fastdepth shipped --data DATA --rooms runs/rooms --out runs/fastdepth

DATA is the folder that holds `nyu`, `nyu_raw` and `init`; `leadline data synth runs/rooms --n 1200 --seed 1 --textures
DATA/photos` makes the rooms. What each run reached stands in docs/results/, how it went in LOG.md.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import tyro

from leadline.data.options import View
from leadline.training.options import FitOptions, Training
from recipes import start

LICENCES = (
    "encoder: MobileNetV1 ImageNet weights, Apache-2.0 (google-coral/test_data)",
    "NYU Depth v2 labelled and raw frames: research use only",
)


def shipped(data: Path, rooms: Path, out: Path, seed: int = 0) -> Training:
    """The weights in the package: 720 labelled (75 are the validation split) and 528 raw NYU frames, ImageNet
    encoder.
    """
    return Training(
        data=(f"{data / 'nyu'}:8", f"{data / 'nyu_raw'}:4"),
        out=out,
        init=data / "init" / "mobilenet_v1_1.0_224_quant_embedding_extractor.tflite",
        batch=12,
        loss=("log_l1", "log_gradient:0.3"),
        view=View(zoom=(1.0, 1.35), stretch=1.15, colour_shift=0.1),
        fit=FitOptions(
            steps=4000, optimizer="adamw", lr=2e-3, weight_decay=0.01, warmup=200, clip=1.0, ema=0.998,
            freeze_bn_after=0.9, validate_every=1000, seed=seed,
        ),
        protocol="nyu-eigen@1",
        licences=LICENCES,
    )  # fmt: skip


def short(data: Path, rooms: Path, out: Path, seed: int = 0) -> Training:
    """`shipped` at a fifth of its length, 1250 steps of 8 images: the reference of the runs below it."""
    run = shipped(data, rooms, out, seed)
    sets = (f"{data / 'nyu'}:5", f"{data / 'nyu_raw'}:3")
    return replace(run, data=sets, batch=8, fit=replace(run.fit, steps=1250, validate_every=0))


def with_synthetic(data: Path, rooms: Path, out: Path, seed: int = 0) -> Training:
    """`short` with a quarter of every batch from 1200 synthetic rooms."""
    sets = (f"{data / 'nyu'}:4", f"{data / 'nyu_raw'}:2", f"{rooms}:2")
    run = replace(short(data, rooms, out, seed), data=sets)
    return replace(run, licences=(*LICENCES, "textures of the rooms: ImageNet sample photographs, research use only"))


def labelled_only(data: Path, rooms: Path, out: Path, seed: int = 0) -> Training:
    """`short` on the 795 labelled frames only."""
    return replace(short(data, rooms, out, seed), data=(f"{data / 'nyu'}:8",))


def no_imagenet(data: Path, rooms: Path, out: Path, seed: int = 0) -> Training:
    """`short` with an encoder that starts from random weights."""
    return replace(short(data, rooms, out, seed), init=None)


def published(data: Path, rooms: Path, out: Path, seed: int = 0) -> Training:
    """The authors' list, loss and schedule (specs of the paper: SGD, L1, lr x0.1 every quarter) at `short`'s length."""
    run = short(data, rooms, out, seed)
    options = FitOptions(
        steps=1250, optimizer="sgd", lr=0.01, momentum=0.9, weight_decay=1e-4, schedule="step", seed=seed
    )
    return replace(run, data=(f"{data / 'nyu'}:8",), loss=("l1",), transform="fastdepth", fit=options)


RUNS = {f.__name__: f for f in (shipped, short, with_synthetic, labelled_only, no_imagenet, published)}


def main(
    name: tyro.conf.Positional[str], /, *, data: Path, rooms: Path, out: Path, seed: int = 0, resume: bool = False
) -> None:
    """Run one recipe.

    Args:
        name: shipped, short, with_synthetic, labelled_only, no_imagenet or published
        data: the folder that holds nyu, nyu_raw and init
        rooms: the synthetic rooms
        out: where checkpoints, curves and pictures go
        seed: of weights and batches
        resume: go on with a run that was stopped
    """
    start(RUNS, name, data, rooms, out, seed, resume=resume)


if __name__ == "__main__":
    tyro.cli(main)
