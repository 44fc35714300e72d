"""`leadline train`: data sets in, a checkpoint out. The recipes call `train` with their own values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from leadline.checkpoint import load, save, write_atomically
from leadline.command import complain
from leadline.data.dataset import Dataset, hold_out
from leadline.data.layouts import open_dataset
from leadline.data.loader import Part, cached, collate, loader
from leadline.data.transforms import Transform, augment, fastdepth_train
from leadline.evaluate import evaluate
from leadline.losses import LOSSES, Term, weighted
from leadline.nn import zoo
from leadline.nn.build import Net, build
from leadline.nn.init import give_, read_tflite, recreate_batch_norm_
from leadline.options import Training, View
from leadline.predict import Predictor
from leadline.report import Report
from leadline.runtime import eager
from leadline.spec import to_json
from leadline.train import fit, process
from leadline.train_state import commit
from leadline.types import Depth
from leadline.viz import panel

_SPARED = ("fit", "out", "resume", "workers", "cache")  # do not change what is learned, or are recorded by `fit`


def train(run: Training) -> tuple[Net, Report]:
    """The trained net and its report; both are also in `run.out`, the net as `NAME.safetensors`."""
    if not run.resume and (run.out / "state.safetensors").exists():
        raise ValueError(f"{run.out} holds a run already: give --resume to go on with it, or another --out")
    if run.init is not None and not run.init.is_file():
        raise ValueError(f"there is no file {run.init} to initialise the encoder from (--init)")
    terms, (folders, shares) = _terms(run.loss), _shares(run.data, run.batch)
    sets = [open_dataset(folder, "train", **run.reading.given()) for folder in folders]
    sets[0], chosen = _kept_for_choosing(run, sets[0])
    if run.cache:
        # FastDepth's list starts from the whole frame; a view needs no more rows than it shows
        height = None if run.transform == "fastdepth" else max(240, run.view.size[0])
        sets = [cached(data, height) for data in sets]
    net = load(run.model) if run.pretrained or Path(run.model).is_file() else _start(run, sets[0])
    transform: Transform = fastdepth_train if run.transform == "fastdepth" else partial(augment, view=run.view)
    parts = [Part(data, share, transform) for data, share in zip(sets, shares, strict=True)]
    for part in parts:  # what cannot be transformed should fail here, not in a worker
        part.transform(part.data[0], np.random.default_rng(0))
    rank, world = process()
    started_from = commit()
    batches = loader(parts, seed=run.fit.seed, workers=run.workers, rank=rank, world=world)
    options = run.fit
    if run.epochs is not None:
        options = replace(options, steps=max(1, round(run.epochs * len(sets[0]) / shares[0])))
    plain = json.loads(json.dumps(to_json(run), default=str))
    facts: dict[str, Any] = {
        "training": {key: value for key, value in plain.items() if key not in _SPARED},
        "images": [[data.name, len(data)] for data in sets],
    }
    validate = None if chosen is None else partial(_validate, run=run, data=chosen)
    loss = partial(weighted, terms)
    net, report = fit(net, batches, loss, options, out=run.out, resume=run.resume, validate=validate, facts=facts)
    if rank == 0 and report.context["steps_now"]:  # a run that was over before keeps what it reported then
        figures = {name: value for name, value in report.metrics.items() if name != "loss"}
        metrics = {f"{run.protocol} (choosing part)": figures} if figures else {}
        facts |= {"fit": to_json(options), "licences": list(run.licences), "commit": started_from}
        facts |= {"metrics": metrics, "context": dict(report.context)}
        save(net, run.out / f"{net.spec.name}.safetensors", provenance=facts)
        write_atomically(run.out / "report.json", json.dumps(report.to_json(), indent=2).encode())
    return net, report


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
    return rest, chosen


def _start(run: Training, data: Dataset) -> Net:
    """A fresh net whose encoder and head start from `run.init` and the data."""
    net = build(zoo.spec(run.model), seed=run.fit.seed)
    some = [data[int(i)] for i in np.linspace(0, len(data) - 1, min(len(data), 64))]
    depths = [float(s.target[s.valid].mean()) for s in some if s.valid.any()]
    if not depths:
        raise ValueError(f"the data set {data.name!r} has no valid depth to learn from; `leadline data check` says why")
    net.head.start_at(float(np.mean(depths)))
    if run.init is not None:
        still = View(net.spec.preprocess.size, zoom=(1, 1), rotate=0, shift=0, flip=0, jitter=0)
        images = collate([augment(s, np.random.default_rng(0), still) for s in some]).image
        give_(net.encoder, read_tflite(run.init))
        recreate_batch_norm_(net.encoder, (images - net.mean) / net.std)
    return net


def _validate(net: Net, step: int, *, run: Training, data: Dataset) -> Mapping[str, float]:
    """Metrics on the part kept for choosing, and a picture of four of its images."""
    predict = Predictor(net.spec.name, eager.runner(net), net.spec.preprocess, net.spec.head)
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


def _terms(names: tuple[str, ...]) -> dict[str, Term]:
    """NAME, NAME:WEIGHT or NAME:WEIGHT@map, see `losses.Term`."""
    terms = {}
    for entry in names:
        what, _, at = entry.partition("@")
        name, _, weight = what.partition(":")
        if name not in LOSSES:
            raise ValueError(f"the loss {name!r} is unknown; known: {', '.join(LOSSES)}")
        if at not in ("", "target", "map"):
            raise ValueError(f"the loss {entry!r} is to be taken at {at!r}; allowed: @target, @map")
        terms[name] = Term(LOSSES[name], float(weight or 1), "map" if at == "map" else "target")
    return terms
