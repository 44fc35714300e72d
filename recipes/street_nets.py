"""Nets for driving, trained alike on CamVid and timed: the comparison of Siam et al. 2017 (arXiv 1707.02432).

    python -m recipes.street_nets train skipnet_mobilenet --data DATA --out runs/streets

Every net learns from CamVid's train part with one schedule (`runs`). The weights after the last step count: nothing is
chosen on any part. Val and test are measured once, after it. MobileNetV1 starts from ImageNet, the others from nothing.

Nets above LARGE multiply-accumulates learn at half size and for fewer steps, or a processor would take days; the table
marks them. A view is CROP of the net's input on each side, enlarged 0.8 to 1.8 times; the finished net is asked about
whole frames.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from tyro.extras import SubcommandApp

from leadline.cli.train import run_training
from leadline.compress.cost.count import macs, parameters
from leadline.core.storage import write_atomically
from leadline.data.layouts.detect import open_dataset
from leadline.data.options import View
from leadline.evaluation.evaluate import evaluate
from leadline.nn import zoo
from leadline.nn.build import Net
from leadline.nn.checkpoint import load, read_provenance, save
from leadline.nn.costs import recorded_costs
from leadline.predict.predictor import predictor_of
from leadline.training.options import FitOptions, Training

app = SubcommandApp()

LARGE = 20e9
"""Nets with more multiply-accumulates at 360x480 are trained at half size."""
CROP = 0.8
INIT = {"skipnet_mobilenet": "mobilenet_v1_1.0_224_quant_embedding_extractor.tflite"}
"""Files in DATA/init that hold a net's encoder."""
STEPS, SHORT = 4000, 300
PROTOCOL = "miou@1"


def is_large(name: str) -> bool:
    """Whether the net is trained at half size."""
    return recorded_costs()[name].macs > LARGE


def size_of(name: str) -> tuple[int, int]:
    """The (height, width) at which the net is trained and asked."""
    height, width = zoo.spec(name).preprocess.size
    return (height // 2, width // 2) if is_large(name) else (height, width)


def run(
    name: str, data: Path, out: Path, steps: int = 0, seed: int = 0, precision: Literal["auto", "no", "bf16"] = "auto"
) -> Training:
    """The training of one net; steps 0: STEPS, of a large one SHORT."""
    steps = steps or (SHORT if is_large(name) else STEPS)
    fit = FitOptions(
        steps=steps, optimizer="adamw", lr=1e-3, weight_decay=0.05, schedule="poly", warmup=steps // 20, clip=1.0,
        ema=0.998, precision=precision, seed=seed, save_every=max(1, steps // 20), log_every=50,
    )  # fmt: skip
    height, width = (round(CROP * side / 8) * 8 for side in size_of(name))
    return Training(
        data=(str(data / "camvid"),),
        out=out / f"{name}-{seed}",
        model=name,
        init=data / "init" / INIT[name] if name in INIT else None,
        batch=8,
        loss=("cross_entropy",),
        transform="labels",
        view=View(size=(height, width), zoom=(1.0, 2.25), stretch=1.2, rotate=0, jitter=0.3, colour_shift=0.1),
        fit=fit,
        val_every=0,
        protocol=PROTOCOL,
        licences=("CamVid (research)", *(["MobileNetV1 of ImageNet, Apache-2.0"] if name in INIT else [])),
    )


def whole_frames(net: Net, name: str, out: Path) -> Net:
    """The net of a finished run, which learned from crops, as one for whole frames; its file is written anew."""
    file = out / f"{name}.safetensors"
    net.spec = replace(net.spec, preprocess=replace(net.spec.preprocess, size=size_of(name)))
    save(net, file, provenance=read_provenance(file))
    return net


def measured(name: str, training: Training, data: Path) -> dict[str, Any]:
    """What is known of a finished run: cost, and the overlaps on CamVid's val and test parts."""
    net = load(training.out / f"{name}.safetensors")
    size = net.spec.preprocess.size
    found = {}
    for part in ("val", "test"):
        report = evaluate(predictor_of(net).labels, open_dataset(data / "camvid", part), PROTOCOL, name=name)
        found[part] = {"n": report.n, **report.metrics, "iou": report.context["iou"]}
    return {
        "net": name,
        "imagenet": training.init is not None,
        "size": list(size),
        "parameters": parameters(net),
        "macs": macs(net, size),
        "steps": training.fit.steps,
        "samples": training.fit.steps * training.batch,
        "crop": list(training.view.pixels),
        "seed": training.fit.seed,
        **found,
    }


@app.command
def train(
    net: str,
    /,
    *,
    data: Path,
    out: Path,
    steps: int = 0,
    seed: int = 0,
    precision: Literal["auto", "no", "bf16"] = "auto",
    workers: int = -1,
    resume: bool = False,
) -> None:
    """Train a net, then measure it once on val and test; OUT/NET-SEED/street.json holds the figures.

    Args:
        net: enet, fast_scnn, skipnet_mobilenet, or a large one: segnet, unet, fcn8s, dilated_front_end
        data: the folder that holds camvid and init
        out: the folder of the runs
        steps: batches of 8; 0: as the recipe says
        seed: of weights and batches
        precision: bf16 where the processor computes it faster; auto: with AMX only
        workers: processes that prepare batches; 0: the training itself
        resume: keep a finished run, go on with one that was cut off
    """
    if net not in zoo.names("segment"):
        raise SystemExit(f"the net {net!r} is unknown; known: {', '.join(zoo.names('segment'))}")
    training = replace(run(net, data, out, steps, seed, precision), workers=workers)
    path = training.out / "street.json"
    if not (resume and path.exists()):
        resume = resume and (training.out / "state.safetensors").exists()
        trained, _ = run_training(replace(training, resume=resume))
        whole_frames(trained, net, training.out)
        write_atomically(path, json.dumps(measured(net, training, data), indent=1).encode())
    row = json.loads(path.read_text("utf-8"))
    print(f"{net}: mIoU val {row['val']['miou']:.4f}, test {row['test']['miou']:.4f}")


if __name__ == "__main__":
    app.cli()
