"""Nets for driving, trained alike on CamVid and timed: the comparison of Siam et al. 2017 (arXiv 1707.02432).

    python -m recipes.street_nets train skipnet_mobilenet --data DATA --out runs/streets
    python -m recipes.street_nets speed --data DATA --out runs/streets
    python -m recipes.street_nets table --out runs/streets
    make results

Every net learns from CamVid's train part with one schedule (`runs`). The weights after the last step count: nothing is
chosen on any part. Val and test are measured once, after it. MobileNetV1 starts from ImageNet, the others from nothing.

Nets above LARGE multiply-accumulates learn at half size and for fewer steps, or a processor would take days; the table
marks them. A view is CROP of the net's input on each side, enlarged 0.8 to 1.8 times; the finished net is asked about
whole frames.

`speed` times every net at the size at which it is asked, on a quiet machine, in turns; nets that are not trained are
timed with fresh weights and without accuracies. `table` puts together what is there into one report, of which
`make results` makes docs/results/street-nets.md; what is missing is shown as not measured.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import tyro
from tyro.extras import SubcommandApp

from leadline.bench.device import fingerprint
from leadline.bench.rows import BenchOptions
from leadline.bench.run import bench
from leadline.cli.command import progress
from leadline.cli.train import run_training
from leadline.compress.cost.count import macs, parameters
from leadline.core.machine import usable_cores
from leadline.core.storage import write_atomically
from leadline.core.tasks import CAMVID
from leadline.data.layouts.detect import open_dataset
from leadline.data.options import View
from leadline.evaluation.evaluate import evaluate
from leadline.nn import zoo
from leadline.nn.build import Net, build, outline
from leadline.nn.checkpoint import load, read_provenance, save
from leadline.nn.costs import recorded_costs
from leadline.predict.predictor import predictor_of
from leadline.runtime import backend
from leadline.training.options import FitOptions, Training
from recipes.street_table import PICTURE, REPORT, plot, said_device, street_report, today

app = SubcommandApp()

NETS = tuple(name for name in zoo.names("segment") if zoo.spec(name).head.classes == CAMVID)
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
        out=folder_of(name, out, seed),
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
    size, found = net.spec.preprocess.size, {}
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
        "precision": training.fit.precision,
        "device": said_device(fingerprint()),
        "date": today(),
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
    check_names((net,))
    training = replace(run(net, data, out, steps, seed, precision), workers=workers)
    path = training.out / "street.json"
    if not (resume and path.exists()):
        resume = resume and (training.out / "state.safetensors").exists()
        trained, _ = run_training(replace(training, resume=resume))
        whole_frames(trained, net, training.out)
        write_atomically(path, json.dumps(measured(net, training, data), indent=1).encode())
    row = json.loads(path.read_text("utf-8"))
    print(f"{net}: mIoU val {row['val']['miou']:.4f}, test {row['test']['miou']:.4f}")


@app.command
def speed(
    nets: tyro.conf.Positional[tuple[str, ...]] = (), /, *, data: Path, out: Path, seed: int = 0, n: int = 100
) -> None:
    """Time nets in every runtime that is installed here; OUT/NET-SEED/speed.json holds the rows.

    Args:
        nets: which; without names all
        data: the folder that holds camvid
        out: the folder of the runs
        seed: of the runs
        n: how many calls of each row count
    """
    check_names(nets)
    names = nets or NETS
    for group in groups(names, out, seed):
        files = {name: checkpoint(name, out, seed) for name in group}
        options = bench_options(data if is_trained(group[0], out, seed) else None, data / "camvid" / "train", n)
        found = bench([str(file) for file in files.values()], options, progress)
        for name, file in files.items():
            kept = [_figures(row) for row in found.rows if row["model"] == str(file)]
            device = {"device": said_device(found.context["device"]), "packages": found.context["device"]["packages"]}
            facts = {"net": name, "n": n, "date": today(), **device, "rows": kept}
            write_atomically(folder_of(name, out, seed) / "speed.json", json.dumps(facts, indent=1).encode())
            print(f"{name}: {sum('error' not in row for row in kept)} rows of {len(kept)} are measured", flush=True)


@app.command
def table(*, out: Path, seed: int = 0, report: Path = REPORT, picture: Path = PICTURE) -> None:
    """Put accuracies and times that are there into one report, and draw them. `make results` makes the page.

    Args:
        out: the folder of the runs
        seed: of the runs
        report: the report to write
        picture: the picture to draw, if anything is measured
    """
    names = sorted(NETS, key=lambda name: recorded_costs()[name].macs)
    rows = [merged(name, folder_of(name, out, seed)) for name in names]
    write_atomically(report, (json.dumps(street_report(rows, seed).to_json(), indent=1) + "\n").encode())
    drawn = plot(rows, picture)
    print(f"wrote {report}{f' and {picture}' if drawn else ''}")


def merged(name: str, folder: Path) -> dict[str, Any]:
    """All that is known of a net: what it is, `accuracy` and `speed` as its run's folder has them, or None."""
    size = size_of(name)
    plain: dict[str, Any] = {
        "net": name,
        "large": is_large(name),
        "imagenet": name in INIT,
        "size": list(size),
        "parameters": recorded_costs()[name].parameters,
        "macs": macs(outline(zoo.spec(name)), size),
    }
    for key, file in (("accuracy", "street.json"), ("speed", "speed.json")):
        path = folder / file
        plain[key] = json.loads(path.read_text("utf-8")) if path.exists() else None
    return plain


def check_names(nets: tuple[str, ...]) -> None:
    """The program ends with the names that are known if one of these is none."""
    if unknown := [name for name in nets if name not in NETS]:
        raise SystemExit(f"the net {unknown[0]!r} is unknown; known: {', '.join(zoo.names('segment'))}")


def folder_of(name: str, out: Path, seed: int) -> Path:
    """Where a run goes."""
    return out / f"{name}-{seed}"


def is_trained(name: str, out: Path, seed: int) -> bool:
    """Whether the net's run is finished."""
    return (folder_of(name, out, seed) / "street.json").exists()


def checkpoint(name: str, out: Path, seed: int) -> Path:
    """The net of the finished run, or one with fresh weights, which is made here."""
    folder = folder_of(name, out, seed)
    if is_trained(name, out, seed):
        return folder / f"{name}.safetensors"
    spec = zoo.spec(name)
    spec = replace(spec, preprocess=replace(spec.preprocess, size=size_of(name)))
    return save(build(spec, seed=seed), folder / "fresh.safetensors")


def groups(names: tuple[str, ...], out: Path, seed: int) -> list[tuple[str, ...]]:
    """Nets that are timed in turns: the small ones together, each large one alone, as all have to be in memory."""
    small = [name for name in names if not is_large(name)]
    parted = [tuple(n for n in small if is_trained(n, out, seed) is trained) for trained in (True, False)]
    return [group for group in (*parted, *((name,) for name in names if is_large(name))) if group]


def bench_options(data: Path | None, pictures: Path, n: int) -> BenchOptions:
    """float32 and int8 in the runtimes that are installed, by one and two threads; with `data` the test part's mIoU."""
    return BenchOptions(
        runtimes=tuple(name for name in ("onnx", "openvino", "litert") if backend(name).missing() is None),
        precisions=("fp32", "int8"),
        threads=tuple(n for n in (1, 2) if n <= usable_cores()),
        end_to_end=False,
        data=None if data is None else data / "camvid",
        protocol=PROTOCOL,
        calibration=pictures,
        n_calibration=64,
        n=n,
        at_most_s=30.0,
    )


def _figures(row: Mapping[str, Any]) -> dict[str, Any]:
    """What of a benchmark's row goes into the table: no paths of this machine."""
    kept = {key: row[key] for key in ("runtime", "precision", "threads", "latency_ms", "bytes") if key in row}
    kept |= {"miou": row["metrics"]["miou"]} if row.get("metrics") else {}
    return kept | ({"error": re.sub(r"/\S*/", "", row["error"].splitlines()[0])} if "error" in row else {})


if __name__ == "__main__":
    app.cli()
