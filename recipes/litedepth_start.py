"""A start for LiteDepth: its encoder learns to see what an ImageNet classifier sees, on images without depth.

    python -m recipes.litedepth_start --data DATA --rooms runs/rooms --out runs/start

The authors start from ImageNet weights of MobileNetV3-Small-Minimal; those of MobileNetV2 are at hand. So its features
at strides 4 to 32 are learned by hints (Romero et al. 2015), through 1x1 convolutions that are thrown away. No depth
takes part in this. `recipes.distillation_grid` gives the encoder, and nothing else of the net, to every row alike.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import tyro

from leadline.cli.train import run_training as train
from leadline.core.spec import Spec
from leadline.data.layouts.detect import open_dataset
from leadline.data.loader import collate
from leadline.data.options import View
from leadline.data.transforms.augment import augment
from leadline.distill.options import Distillation, TeacherOptions
from leadline.nn import zoo
from leadline.nn.build import build
from leadline.nn.checkpoint import save
from leadline.nn.pretrained.tflite import give_from_file_
from leadline.training.options import FitOptions, Training
from recipes.distillation_grid import SETS, fresh, sets
from recipes.teacher import LICENCES, STILL

SHARES = {"nyu": 8, "nyu_raw": 8, "photos": 12, "rooms": 8, "streets": 12}
"""Of 48 images how many are of which set."""

PAIRS = ((1, 3), (3, 6), (8, 13), (11, 16))
"""The last blocks at strides 4, 8, 16 and 32: LiteDepth's and MobileNetV2's."""


def classifier(data: Path, out: Path) -> Path:
    """A file with ImageNet's MobileNetV2 as the encoder of a net of LiteDepth's size, whose decoder nobody asks."""
    lite = zoo.litedepth()
    how = replace(zoo.boosting_student().preprocess, size=lite.preprocess.size)
    net = build(Spec("imagenet", zoo.boosting_student().encoder, lite.decoder, lite.head, how))
    net.head.start_at(2.7)
    nyu = open_dataset(data / "nyu", "train")
    frames = [augment(nyu[i * len(nyu) // 64], np.random.default_rng(0), STILL) for i in range(64)]
    images = (collate(frames).image - net.mean) / net.std
    give_from_file_(net.encoder, data / "init" / "mobilenetv2_imagenet.safetensors", images)
    path = out / "imagenet.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    save(net, path, provenance={"encoder": "ImageNet", "licences": [LICENCES[0]]})
    return path


def main(*, data: Path, rooms: Path, out: Path, steps: int = 1500, resume: bool = False) -> None:
    """Train it.

    Args:
        data: the folder that holds nyu, init and the other sets
        rooms: the synthetic rooms
        out: where checkpoints go
        steps: batches of 48
        resume: go on with a run that was stopped
    """
    path = out / "imagenet.safetensors"
    teacher = path if path.exists() else classifier(data, out)
    places = sets(data, rooms, out)
    pairs = ",".join(f"encoder.blocks.{mine}=encoder.blocks.{theirs}" for mine, theirs in PAIRS)
    run = Training(
        data=(),
        out=out,
        model="litedepth",
        batch=sum(SHARES.values()),
        loss=("log_l1",),
        view=View(zoom=(1.0, 1.7), stretch=1.15, colour_shift=0.1),
        fit=FitOptions(
            steps=steps, optimizer="adamw", lr=4e-3, weight_decay=0.01, warmup=100, clip=1.0, ema=0.998,
            freeze_bn_after=0.9, validate_every=0, save_every=100, seed=0,
        ),
        val_every=0,
        cache_gb=24,
        licences=(LICENCES[0], *(SETS[name] for name in SHARES)),
        resume=resume,
    )  # fmt: skip
    distillation = Distillation(
        unlabelled=tuple(f"{places[name]}:{n}" for name, n in SHARES.items()),
        teachers=TeacherOptions(teacher=(str(teacher),)),
        label_weight=1.0,
        weight=0.0,  # what it answers means nothing
        features=(f"hint*1:{pairs}",),
    )
    train(run, fresh("litedepth", seed=0), distillation)


if __name__ == "__main__":
    tyro.cli(main)
