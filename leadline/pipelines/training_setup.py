"""What a training run is made of, from its description alone: `parts(run)` gives the net it starts from, the batches,
the loss, the options and the validation split, before anything is trained. `leadline train` fits them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from leadline.core.spec import Spec, to_json
from leadline.core.storage import cache
from leadline.data.cache import cached
from leadline.data.dataset import Dataset, evenly
from leadline.data.layouts.detect import open_dataset
from leadline.data.layouts.unread import unread, with_files
from leadline.data.loader import Batches, Part, collate, enough_workers, has_pseudo_depth, item, loader
from leadline.data.options import View
from leadline.data.transforms.augment import augment
from leadline.data.transforms.batch import augmented, draw, gather
from leadline.data.transforms.stereo import augment_pair, focal_times_baseline, open_pairs
from leadline.distill.teachers import Teacher
from leadline.evaluation.evaluate import check_protocols
from leadline.evaluation.protocols import find as find_protocol
from leadline.nn import zoo
from leadline.nn.build import Net, build, calibrated
from leadline.nn.checkpoint import is_run, load, origin, shipped
from leadline.nn.pretrained.tflite import give_from_file_
from leadline.pipelines.training_data import (
    Say,
    from_pairs,
    marked,
    own_code,
    refuse_data,
    rows,
    seen,
    shares,
    split_validation,
    transform_of,
    without,
)
from leadline.pipelines.training_validation import measure_validation
from leadline.training.distributed import first, process
from leadline.training.fit import Finish, Loss, Validate
from leadline.training.losses import Reweighted, Term, weighted
from leadline.training.losses.parse import typed
from leadline.training.losses.stereo import photometric
from leadline.training.options import FitOptions, Training

_SPARED = ("fit", "out", "resume", "workers", "cache_gb", "autotune", "epochs")
"""What does not change what is learned, or is recorded by `fit`, as the epochs are with its steps."""


@dataclass(frozen=True)
class TeacherSupervision:
    """What a run learns from a teacher. `distill.teacher_supervision` makes one."""

    unlabelled: tuple[str, ...]
    """Folders beside those of `Training.data`, whose depth does not count."""
    add_labels: Callable[[list[Dataset]], list[Dataset]]
    """The data sets of the run, then those without depth, with the teacher's labels."""
    make_loss: Callable[[Mapping[str, Term], Net], Loss]
    """The loss for a start."""
    facts: Mapping[str, Any]
    online_teacher: Teacher | None = None
    """The teacher that sees each batch; None: its labels are stored."""


@dataclass(frozen=True)
class Parts:
    """What `fit` takes, and what the run knows besides. Holds open data sets: it stays in its process."""

    net: Net
    """The start."""
    loading: Callable[..., Batches]
    """`loading(workers=N)`: the run's batches, the same for every N."""
    loss: Loss
    finish: Finish | None
    options: FitOptions
    """The run's, with `epochs` as steps."""
    validation: Dataset | None
    """The validation split of the first data set, as it is stored; None: there is none."""
    validate: Validate | None
    """Metrics on `validation` under the run's protocol; leaves a picture in the run's folder."""
    facts: dict[str, Any]
    """What decides what is learned, as JSON."""
    workers: int
    """How many the run asks for, or `enough`."""
    enough: int
    """How many worker processes this machine bears."""


def parts(
    run: Training,
    net: Net | None = None,
    *,
    supervision: TeacherSupervision | None = None,
    say: Say = lambda _: None,
) -> Parts:
    """What `run` is made of; equal runs give equal parts, also in another process.

    With `net` that one takes the place of the start that `run.model`, `pretrained` and `init` describe. It is left as
    it is, and its own size counts, not that of `run.view`, `run.r2crop` or `run.stereo`; a transform of a fixed size
    that differs is a ValueError. With the loss `stereo` a copy of it is used that gives metres by the data's cameras.
    With `supervision` it learns from a teacher, too.

    `say` is has_pseudo_depth of what takes long or goes without validation.
    """
    _checked(run, given=net is not None, say=say)
    stereo = from_pairs(run)
    begun = load(run.model) if net is None and _goes_on(run) else net
    name = run.model if net is None else net.spec.name
    spec = _trainable(run, zoo.spec(run.model) if begun is None else begun.spec, name)
    rank, world = process()
    if net is not None:
        run = _at_size_of(run, spec)
    elif not stereo and run.view.size is None:
        run = replace(run, view=replace(run.view, size=spec.preprocess.size))
    every = run.data if supervision is None else (*run.data, *supervision.unlabelled)
    terms, (folders, per_batch) = {} if stereo else typed(run.loss), shares(every, run.batch)
    refuse_data(run.out, folders, folders[len(run.data) :])
    how = run.reading.given()
    sets = [(open_pairs if stereo else open_dataset)(folder, "train", **how) for folder in folders[: len(run.data)]]
    sets += [open_dataset(folder, "train", **how, items="images") for folder in folders[len(run.data) :]]
    tell = say if rank == 0 else (lambda _: None)
    for note in filter(None, dict.fromkeys(map(unread, folders))):
        tell(note)
    sets = [with_files(data, folder, tell) for data, folder in zip(sets, folders, strict=True)]
    camera = focal_times_baseline(sets) if stereo else 0.0
    validation = None
    if run.data:
        sets[0], validation = split_validation(run, sets[0], say)
        sets[1:] = [
            without(validation, sets[0], data, folder, folders[0])
            for data, folder in zip(sets[1:], folders[1:], strict=True)
        ]
    elif run.val_every:
        say("no labelled data are given: there is no validation")
    if supervision is not None:
        sets = supervision.add_labels(sets)  # after the split, which shall not depend on what the teacher left out
    height = None if stereo else rows(run, spec)
    with first():  # the other processes then find what it has decoded
        sets = cached(sets, cache() / "frames", gb=run.cache_gb, height=height, say=say)
    online = None if supervision is None else supervision.online_teacher
    start = _start(run, sets[0], online) if begun is None else begun
    if stereo:
        start = calibrated(start, camera, run.stereo.size)
    elif net is None:
        start.spec = replace(start.spec, preprocess=replace(start.spec.preprocess, size=seen(run)))
    if validation is not None:
        check_protocols([run.protocol], start.spec.head.kind, validation)
    one = partial(augment_pair, size=start.spec.preprocess.size, how=run.stereo) if stereo else transform_of(run)
    on_device = _on_device(run)  # said before the work
    learned = [Part(data, share, one) for data, share in zip(sets, per_batch, strict=True)]
    for part in learned:  # what cannot be transformed should fail here, not in a worker
        item(part, 0, np.random.default_rng(0))
    finish: Finish | None = partial(augmented, view=run.view) if on_device else None
    begin: Callable[..., Any] = partial(draw, view=run.view) if on_device else one
    if online is not None:
        begin = partial(marked, transform=begin)
    learned = [replace(part, transform=begin) for part in learned]
    loading = partial(
        loader, learned, seed=run.fit.seed, rank=rank, world=world,
        pad=run.transform == "litedepth",  # its cut-outs differ in size
        gather=gather if on_device else None,
    )  # fmt: skip
    options, enough = run.fit, enough_workers(world, torch.cuda.is_available())
    if run.epochs is not None:
        options = replace(options, steps=max(1, round(run.epochs * len(sets[0]) / per_batch[0])))
    plain = json.loads(json.dumps(to_json(run), default=str))
    loss: Loss = partial(weighted, terms)
    if supervision is not None:
        loss = supervision.make_loss(terms, start)
    elif stereo:
        loss = partial(photometric, weights=run.stereo)
    elif run.weighting == "dynamic":
        loss = Reweighted(terms)
    facts = {
        "training": {key: value for key, value in plain.items() if key not in _SPARED},
        "images": [[data.name, len(data)] for data in sets],
        **own_code(run),
        **({"from": origin(run.model)} if net is None and begun is not None else {}),
        **({} if supervision is None else {"distillation": supervision.facts}),
    }
    validate = None if validation is None else partial(measure_validation, run=run, data=validation, say=say)
    workers = enough if run.workers < 0 else run.workers
    return Parts(start, loading, loss, finish, options, validation, validate, facts, workers, enough)


def _goes_on(run: Training) -> bool:
    """Whether the net comes with weights."""
    known = run.model in zoo.names() or run.model in shipped()
    return run.pretrained or Path(run.model).is_file() or (not known and is_run(run.model))


def _checked(run: Training, given: bool, say: Say) -> None:
    """What cannot be meant is a ValueError before any work; how a net starts does not matter where one is `given`."""
    if not given and run.init is not None and not run.init.is_file():
        raise ValueError(f"there is no file {run.init} to initialise the encoder from (--init)")
    if not given and run.init is not None and _goes_on(run):
        raise ValueError(f"{run.model} comes with weights, so --init has no use; leave one of the two out")
    if not given and not _goes_on(run) and run.model in shipped() and run.model not in zoo.names():
        raise ValueError(f"{run.model} is known by its weights alone; give --pretrained, and it starts from them")
    find_protocol(run.protocol)  # also where nothing is validated
    if run.resume and not (run.out / "state.safetensors").exists():
        say(f"there is no run in {run.out} to go on with: it starts from the beginning")
    if from_pairs(run):
        plain = Training(run.data, run.out)
        for name in ("init", "transform", "view", "weighting"):
            if getattr(run, name) != getattr(plain, name):
                raise ValueError(f"{name} is {getattr(run, name)}, which --loss stereo has no use for; leave it out")


def _trainable(run: Training, spec: Spec, name: str) -> Spec:
    """The Spec, if the run's loss can be compared with what such a net gives."""
    if spec.head.kind != "metric" and "stereo" not in run.loss:
        raise ValueError(
            f"{name} gives {spec.head.kind}, which cannot be compared with metres; --loss stereo trains it"
        )
    return spec


def _at_size_of(run: Training, spec: Spec) -> Training:
    """The run with images of the size that the spec's net is asked at."""
    size = spec.preprocess.size
    if from_pairs(run):
        return replace(run, stereo=replace(run.stereo, size=size))
    run = replace(run, view=replace(run.view, size=size), r2crop=replace(run.r2crop, image=size))
    if (found := seen(run)) != size:
        raise ValueError(
            f"transform is {run.transform}, which gives images of {found[0]}x{found[1]}, and {spec.name} is a net for "
            f"{size[0]}x{size[1]}; --transform view gives images of any size"
        )
    return run


def _on_device(run: Training) -> bool:
    """Whether the loop augments, and not the workers."""
    can = run.transform == "view" and not from_pairs(run)
    if run.augment == "device" and not can:
        raise ValueError("augment is device, which only --transform view can; give --augment workers")
    return can and (run.augment == "device" or (run.augment == "auto" and torch.cuda.is_available()))


def _start(run: Training, data: Dataset, teacher: Teacher | None = None) -> Net:
    """A fresh net whose encoder and head start from `run.init`, the data, and where it has no depth the teacher."""
    net = build(zoo.spec(run.model), seed=run.fit.seed)
    if from_pairs(run):
        return net
    some = [data[i] for i in evenly(64, len(data))]
    depths = [float(s.target[s.valid].mean()) for s in some if s.valid.any()]
    if not depths:
        depths = [
            float(s.pseudo_depth[s.pseudo_depth > 0].mean())
            for s in some
            if s.pseudo_kind == "metric" and np.any(has_pseudo_depth(s))
        ]
    if not depths and teacher is not None and teacher.kind == "metric":
        answers = [teacher(collate([s])).depth for s in some[:8]]
        depths = [float(a[torch.isfinite(a)].mean()) for a in answers if torch.isfinite(a).any()]
    if not depths:
        raise ValueError(
            f"{data.name!r} has no valid depth, so nothing says at which depth a fresh net starts; `leadline data "
            "check` says why, and --pretrained starts from a net that knows metres"
        )
    net.head.start_at(float(np.mean(depths)))
    if run.init is not None:
        still = View(seen(run), zoom=(1, 1), rotate=0, shift=0, flip=0, jitter=0)
        images = collate([augment(s, np.random.default_rng(0), still) for s in some]).image
        give_from_file_(net.encoder, run.init, (images - net.mean) / net.std)
    return net
