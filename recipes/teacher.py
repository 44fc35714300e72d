"""Teachers: nets that need only be right. What they know is then given to small nets (`recipes/distillation_grid.py`).

    leadline data synth runs/rooms --n 1200 --seed 1 --textures DATA/photos --split train
    python -m recipes.teacher resnet50 --data DATA --rooms runs/rooms --out runs/teachers/resnet50
    python -m recipes.teacher mobilenet --data DATA --rooms runs/rooms --out runs/first/mobilenet --steps 3000
    python -m recipes.teacher mobilenet --data DATA --rooms runs/rooms --out runs/teachers/mobilenet --steps 2300 \\
        --after runs/first/mobilenet/teacher_mobilenet.safetensors --zoom 1.1

Labelled are NYU's 795 frames (75 of them are the validation split) and synthetic rooms, nothing else. Each learns
twice: much from enlarged views, then the scale of whole frames from views that are hardly enlarged, which made two
teachers together better by 0.02 of delta1. docs/results/ says what each reached, alone and together.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import tyro

from leadline.cli.train import run_training as train
from leadline.core.spec import Decoder, Encoder, Head, Spec
from leadline.data.layouts.detect import open_dataset
from leadline.data.loader import collate
from leadline.data.options import View
from leadline.data.transforms.augment import augment
from leadline.nn import zoo
from leadline.nn.build import Net, build
from leadline.nn.checkpoint import load, save
from leadline.nn.pretrained.tflite import give_from_file_
from leadline.training.options import FitOptions, Training

LICENCES = (
    "encoder: ImageNet weights, Apache-2.0 (ONNX model zoo)",
    "NYU Depth v2 labelled frames: research use only",
    "textures of the rooms: ImageNet sample photographs, research use only",
)

STILL = View(size=(224, 288), zoom=(1, 1), rotate=0, shift=0, flip=0, jitter=0)


def resnet50(weights: Path) -> tuple[Spec, Path]:
    """ResNet-50 v2, whose last stage is fresh and narrow since there are no weights for it, under a wide ladder."""
    encoder = Encoder("resnet50v2", (64, 256, 512, 1024, 512))
    return _spec("teacher_resnet50", encoder, (256, 128, 64, 32, 16)), (
        weights / "resnet50v2_imagenet_stages123.safetensors"
    )


def mobilenet(weights: Path) -> tuple[Spec, Path]:
    """MobileNetV2, whole, under the same."""
    encoder = zoo.boosting_student().encoder
    return _spec("teacher_mobilenet", encoder, (256, 128, 64, 32, 16)), weights / "mobilenetv2_imagenet.safetensors"


def fastdepth(weights: Path) -> tuple[Spec, Path]:
    """The published student itself, MobileNetV1, whole: a third opinion."""
    spec = replace(zoo.fastdepth(), name="teacher_fastdepth")
    return spec, weights / "mobilenet_v1_1.0_224_quant_embedding_extractor.tflite"


TEACHERS = {f.__name__: f for f in (resnet50, mobilenet, fastdepth)}


def _spec(name: str, encoder: Encoder, widths: tuple[int, ...]) -> Spec:
    decoder = Decoder("blconv", widths, "cat", depthwise=False, kernel=3)
    how = replace(zoo.boosting_student().preprocess, size=STILL.pixels)
    return Spec(name, encoder, decoder, Head(layer="conv", kernel=3, relu=False, resize="corners"), how)


def start(spec: Spec, weights: Path, data: Path, seed: int) -> Net:
    """A net whose encoder has the ImageNet weights; those of a ResNet's stem and first stage, general
    and slow, stay so (the statistics of its batch norms move).
    """
    net = build(spec, seed=seed)
    nyu = open_dataset(data / "nyu", "train")
    some = [nyu[int(i)] for i in np.linspace(0, len(nyu) - 1, 64)]
    net.head.start_at(float(np.mean([s.target[s.valid].mean() for s in some])))
    still = replace(STILL, size=spec.preprocess.size)
    images = collate([augment(s, np.random.default_rng(0), still) for s in some]).image
    give_from_file_(net.encoder, weights, (images - net.mean) / net.std)
    for early in (net.encoder.stem, net.encoder.stages[0]) if hasattr(net.encoder, "stem") else ():
        early.requires_grad_(False)
    return net


def main(
    name: tyro.conf.Positional[str], /, *, data: Path, rooms: Path, out: Path, steps: int = 2500,
    after: Path | None = None, zoom: float = 1.4, seed: int = 0, resume: bool = False,
) -> None:  # fmt: skip
    """Train one teacher.

    Args:
        name: resnet50, mobilenet or fastdepth
        data: the folder that holds nyu and init
        rooms: the synthetic rooms
        out: where checkpoints, curves and pictures go
        steps: batches of 8, two of these images synthetic; 0: what it starts from, with ImageNet's weights alone
        after: weights of a run before, to go on from for as many steps again
        zoom: how far views are enlarged at most; 1.1 for a last training, because a net that learns from enlarged
            views answers too near when asked about whole frames
        seed: of weights and batches
        resume: go on with a run that was stopped
    """
    if name not in TEACHERS:
        raise SystemExit(f"the teacher {name!r} is unknown; known: {', '.join(TEACHERS)}")
    if steps == 0 and after is not None:
        raise SystemExit("--steps 0 writes what a first training starts from, and --after goes on from another")
    spec, weights = TEACHERS[name](data / "init")
    net = start(spec, weights, data, seed)
    if steps == 0:
        save(net, out / f"{spec.name}.safetensors", provenance={"seed": seed, "licences": LICENCES[:1]})
        return
    run = Training(
        data=(f"{data / 'nyu'}:6", f"{rooms}:2"),
        out=out,
        model=spec.name,
        init=weights,
        batch=8,
        loss=("log_l1", "log_gradient:0.3"),
        view=View(zoom=(1.0, zoom), stretch=1.15, colour_shift=0.1),
        fit=FitOptions(
            steps=steps, optimizer="adamw", lr=8e-4, weight_decay=0.02, warmup=100, clip=1.0, ema=0.998,
            freeze_bn_after=0.9, validate_every=500, save_every=100, seed=seed,
        ),
        protocol="nyu-eigen@1",
        licences=LICENCES,
        resume=resume,
    )  # fmt: skip
    if after is not None:
        net.load_state_dict(load(after).state_dict())
        run = replace(run, model=str(after), fit=replace(run.fit, lr=run.fit.lr / 2))
    train(run, net)


if __name__ == "__main__":
    tyro.cli(main)
