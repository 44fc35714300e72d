"""`leadline train`: data sets in, a checkpoint out. The recipes call `train` with their own values."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from leadline.autotune import autotune
from leadline.autotune import chosen as chosen_of
from leadline.checkpoint import load, save, write_atomically
from leadline.command import complain
from leadline.data.augment_batch import augmented, draw, gather
from leadline.data.cache import cached
from leadline.data.dataset import Dataset, hold_out
from leadline.data.layouts import open_dataset
from leadline.data.loader import Batches, Part, collate, enough_workers, item, loader
from leadline.data.r2crop import r2crop
from leadline.data.stereo import augment_pair, measured, metres, open_pairs
from leadline.data.transforms import Transform, augment, fastdepth_train, hu_train
from leadline.evaluate import evaluate
from leadline.export import cache
from leadline.losses import Reweighted, weighted
from leadline.losses.stereo import photometric
from leadline.losses.typed import typed
from leadline.nn import zoo
from leadline.nn.build import Net, build, calibrated
from leadline.nn.init import give_from_file_
from leadline.options import FitOptions, Training, View
from leadline.predict import predictor_of
from leadline.report import Report
from leadline.spec import Spec, to_json
from leadline.train import Finish, Loss, first, fit, process
from leadline.train_state import commit
from leadline.types import Depth
from leadline.viz import panel

_SPARED = ("fit", "out", "resume", "workers", "cache_gb", "autotune")
"""What does not change what is learned, or is recorded by `fit`."""


def train(run: Training) -> tuple[Net, Report]:
    """The trained net and its report; both are also in `run.out`, the net as `NAME.safetensors`."""
    if not run.resume and (run.out / "state.safetensors").exists():
        raise ValueError(f"{run.out} holds a run already: give --resume to go on with it, or another --out")
    _checked(run)
    stereo, begun = _from_pairs(run), load(run.model) if _goes_on(run) else None
    spec = _trainable(run, zoo.spec(run.model) if begun is None else begun.spec)
    rank, world = process()
    if run.autotune and world > 1:
        raise ValueError("--autotune measures one process: run it by itself, and give the flags that it prints")
    if not stereo and run.view.size is None:
        run = replace(run, view=replace(run.view, size=spec.preprocess.size))
    terms, (folders, shares) = {} if stereo else typed(run.loss), _shares(run.data, run.batch)
    sets = [(open_pairs if stereo else open_dataset)(folder, "train", **run.reading.given()) for folder in folders]
    camera = metres(sets) if stereo else 0.0
    sets[0], chosen = _kept_for_choosing(run, sets[0])
    rows = None if stereo else _rows(run, spec)
    with first():  # the other processes then find what it has decoded
        sets = cached(sets, cache() / "frames", gb=run.cache_gb, height=rows, say=complain)
    net = _start(run, sets[0]) if begun is None else begun
    if stereo:
        net = calibrated(net, camera, run.stereo.size)
    else:
        net.spec = replace(net.spec, preprocess=replace(net.spec.preprocess, size=_seen(run)))
    transform = partial(augment_pair, size=net.spec.preprocess.size, how=run.stereo) if stereo else _transform(run)
    on_device = _on_device(run)  # said before the work
    parts = [Part(data, share, transform) for data, share in zip(sets, shares, strict=True)]
    for part in parts:  # what cannot be transformed should fail here, not in a worker
        item(part, 0, np.random.default_rng(0))
    started_from = commit()
    enough = enough_workers(world, torch.cuda.is_available())
    finish: Finish | None = partial(augmented, view=run.view) if on_device else None
    if on_device:
        parts = [replace(part, transform=partial(draw, view=run.view)) for part in parts]
    loading = partial(
        loader, parts, seed=run.fit.seed, rank=rank, world=world,
        pad=run.transform == "litedepth",  # its cut-outs differ in size
        gather=gather if on_device else None,
    )  # fmt: skip
    options, workers = run.fit, enough if run.workers < 0 else run.workers
    if run.epochs is not None:
        options = replace(options, steps=max(1, round(run.epochs * len(sets[0]) / shares[0])))
    plain = json.loads(json.dumps(to_json(run), default=str))
    facts: dict[str, Any] = {
        "training": {key: value for key, value in plain.items() if key not in _SPARED},
        "images": [[data.name, len(data)] for data in sets],
    }
    validate = None if chosen is None else partial(_validate, run=run, data=chosen)
    loss: Loss = partial(weighted, terms)
    if stereo:
        loss = partial(photometric, weights=run.stereo)
    elif run.weighting == "dynamic":
        loss = Reweighted(terms)
    notes: dict[str, Any] = {}
    if run.autotune:
        counts = [0, 1, enough, 2 * enough] if run.workers < 0 else [run.workers]
        tuned = _tuned(run, workers) or _tune(net, loading, loss, options, counts, finish, run.batch)
        notes["autotune"] = tuned
        options, workers = chosen_of(tuned, options)
    net, report = fit(
        net, loading(workers=workers), loss, options, out=run.out, resume=run.resume,
        validate=validate, finish=finish, facts=facts, notes={"workers": workers, **notes},
    )  # fmt: skip
    much = 0.1 if workers or enough else 0.5  # where a worker would disturb the net, making batches is waiting
    if rank == 0 and (waiting := report.context["waiting"]) > much and report.context["steps_now"] > 10:
        said = f"the net waited {waiting:.0%} of the time for its batches"
        complain(f"{said}: give more --workers (now {workers}) or a larger --cache-gb (now {run.cache_gb:g})")
    final = run.out / f"{net.spec.name}.safetensors"
    # a run that was over before keeps what it reported then, if it came to that
    if rank == 0 and (report.context["steps_now"] or not final.exists() or not (run.out / "report.json").exists()):
        figures = {name: value for name, value in report.metrics.items() if name != "loss"}
        metrics = {f"{run.protocol} (choosing part)": figures} if figures else {}
        facts |= {"fit": to_json(options), "licences": list(run.licences), "commit": started_from}
        facts |= {"metrics": metrics, "context": dict(report.context)}
        save(net, final, provenance=facts)
        write_atomically(run.out / "report.json", json.dumps(report.to_json(), indent=2).encode())
    return net, report


def _goes_on(run: Training) -> bool:
    """Whether the net comes with weights."""
    return run.pretrained or Path(run.model).is_file()


def _checked(run: Training) -> None:
    """What cannot be meant is a ValueError before any work."""
    if run.init is not None and not run.init.is_file():
        raise ValueError(f"there is no file {run.init} to initialise the encoder from (--init)")
    if run.init is not None and _goes_on(run):
        raise ValueError(f"{run.model} comes with weights, so --init has no use; leave one of the two out")
    if run.epochs is not None and not run.epochs > 0:
        raise ValueError(f"epochs is {run.epochs}; a number above 0 is needed")
    if run.resume and not (run.out / "state.safetensors").exists():
        complain(f"there is no run in {run.out} to go on with: it starts from the beginning")
    if _from_pairs(run):
        plain = Training(run.data, run.out)
        for name in ("init", "transform", "view", "weighting"):
            if getattr(run, name) != getattr(plain, name):
                raise ValueError(f"{name} is {getattr(run, name)}, which --loss stereo has no use for; leave it out")


def _trainable(run: Training, spec: Spec) -> Spec:
    """The Spec, if the run's loss can be compared with what such a net gives."""
    if spec.head.kind != "metric" and "stereo" not in run.loss:
        raise ValueError(
            f"{run.model} gives {spec.head.kind}, which cannot be compared with metres; --loss stereo trains it"
        )
    return spec


def _from_pairs(run: Training) -> bool:
    """Whether the run learns from stereo pairs."""
    return run.loss == ("stereo",)


def _tuned(run: Training, workers: int) -> dict[str, Any] | None:
    """What was chosen when the run that goes on began, if it is one."""
    path = run.out / "run.json"
    if not (run.resume and path.is_file()):
        return None
    began: dict[str, Any] = json.loads(path.read_bytes())
    return began.get("autotune") or {"options": {}, "workers": workers}


def _tune(
    net: Net,
    loading: Callable[..., Batches],
    loss: Loss,
    options: FitOptions,
    counts: list[int],
    finish: Finish | None,
    images: int,
) -> dict[str, Any]:
    """Measure, and show what was measured."""
    complain("measuring what is fastest here, which takes some minutes")
    tuned = autotune(net, lambda n: loading(workers=n), loss, options, workers=counts, finish=finish)
    print(tuned.table(images), file=sys.stderr)
    return tuned.to_json()


def _on_device(run: Training) -> bool:
    """Whether the loop augments, and not the workers."""
    can = run.transform == "view" and not _from_pairs(run)
    if run.augment == "device" and not can:
        raise ValueError("augment is device, which only --transform view can; give --augment workers")
    return can and (run.augment == "device" or (run.augment == "auto" and torch.cuda.is_available()))


def _transform(run: Training) -> Transform:
    table: dict[str, Transform] = {
        "view": partial(augment, view=run.view),
        "fastdepth": fastdepth_train,
        "litedepth": partial(r2crop, how=run.r2crop),
        "hu": hu_train,
    }
    return table[run.transform]


def _seen(run: Training) -> tuple[int, int]:
    """The size of the (largest) images that the transform gives the net, which is then asked at that size, too."""
    table = {"view": run.view.pixels, "fastdepth": (224, 224), "litedepth": run.r2crop.image, "hu": (228, 304)}
    return table[run.transform]


def _rows(run: Training, spec: Spec) -> int | None:
    """How many rows of a frame the transform needs; None: all of them.

    A net that later takes single pixels out of frames of 480x640, without averaging, has to learn from such pictures:
    LiteDepth, taught by averaged ones, was 0.01 to 0.04 of delta1 worse on the others.
    """
    least = 480 if spec.preprocess.resize == "corners" else 240
    table = {
        "view": max(least, run.view.pixels[0]),
        "fastdepth": None,
        "litedepth": run.r2crop.frame[0],
        "hu": 240,
    }
    return table[run.transform]


def _kept_for_choosing(run: Training, data: Dataset) -> tuple[Dataset, Dataset | None]:
    """(to learn from, to validate on), the second None if there is none."""
    if not run.choose:
        return data, None
    if run.choose == 1:
        raise ValueError("choose is 1, which keeps everything; 0 keeps nothing, 10 every tenth block of 20 images")
    rest, chosen = hold_out(data, run.choose)
    if not len(chosen):
        complain(f"{data.name} has too few images to keep every {run.choose}th block of 20: there is no validation")
        return data, None
    if _from_pairs(run) and not len(chosen := measured(chosen)):
        complain(f"{data.name} has no depth in the part kept for choosing: there is no validation")
        return rest, None
    return rest, chosen


def _start(run: Training, data: Dataset) -> Net:
    """A fresh net whose encoder and head start from `run.init` and the data."""
    net = build(zoo.spec(run.model), seed=run.fit.seed)
    if _from_pairs(run):
        return net
    some = [data[int(i)] for i in np.linspace(0, len(data) - 1, min(len(data), 64))]
    depths = [float(s.target[s.valid].mean()) for s in some if s.valid.any()]
    if not depths:
        raise ValueError(f"the data set {data.name!r} has no valid depth to learn from; `leadline data check` says why")
    net.head.start_at(float(np.mean(depths)))
    if run.init is not None:
        still = View(_seen(run), zoom=(1, 1), rotate=0, shift=0, flip=0, jitter=0)
        images = collate([augment(s, np.random.default_rng(0), still) for s in some]).image
        give_from_file_(net.encoder, run.init, (images - net.mean) / net.std)
    return net


def _validate(net: Net, step: int, *, run: Training, data: Dataset) -> Mapping[str, float]:
    """Metrics on the part kept for choosing, and a picture of four of its images."""
    predict = predictor_of(net)
    rows = []
    for i in np.linspace(0, len(data) - 1, min(4, len(data))).astype(int):
        sample = data[int(i)]
        rows.append(panel(sample.image, Depth(sample.target, "metric", sample.valid), predict(sample.image)))
    width = min(row.shape[1] for row in rows)
    picture = Image.fromarray(np.concatenate([row[:, :width] for row in rows]))
    folder = run.out / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    picture.save(folder / f"{step:06d}.jpg", quality=85)
    return evaluate(predict, data, run.protocol, name=net.spec.name).metrics


def _shares(data: tuple[str, ...], batch: int) -> tuple[list[Path], list[int]]:
    """Folders, and how many images of each go into a batch."""
    if not data:
        raise ValueError("data is empty; at least one folder is needed")
    pairs = [entry.rsplit(":", 1) if entry.rpartition(":")[2].isdigit() else [entry, ""] for entry in data]
    given = [int(share) if share else None for _, share in pairs]
    free = [i for i, share in enumerate(given) if share is None]
    left = batch - sum(share or 0 for share in given)
    shares = [share or 0 for share in given]
    for place, i in enumerate(free):
        shares[i] = left // len(free) + (place < left % len(free))
    if min(shares) < 1 or sum(shares) != batch:
        raise ValueError(
            f"a batch of {batch} images cannot be shared as {' '.join(data)}; give FOLDER:N, or another --batch"
        )
    return [Path(folder) for folder, _ in pairs], shares
