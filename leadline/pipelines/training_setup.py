"""What a training run is made of, from its description alone: `parts(run)` gives the net it starts from, the batches,
the loss, the options and the validation split, before anything is trained. `leadline train` fits them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from leadline.core.errors import BadData, BadImage
from leadline.core.spec import Spec, to_json
from leadline.core.storage import cache
from leadline.core.tasks import NYU40, check_fits, reading_for, refuse_others, task_of
from leadline.data.cache import cached
from leadline.data.dataset import Dataset, readable
from leadline.data.layouts.detect import open_dataset
from leadline.data.layouts.unread import unread, with_files
from leadline.data.loader import Batches, Part, enough_workers, item, loader
from leadline.data.transforms.batch import augmented, draw, gather
from leadline.data.transforms.stereo import augment_pair, focal_times_baseline, open_pairs
from leadline.distill.teachers import Teacher
from leadline.evaluation.evaluate import check_protocols
from leadline.nn import zoo
from leadline.nn.build import Net
from leadline.nn.checkpoint import load, origin
from leadline.nn.new_head import spec_with_head
from leadline.pipelines.training_data import (
    Say,
    compares_maps,
    from_pairs,
    marked,
    own_code,
    refuse_data,
    rows,
    shares,
    split_validation,
    transform_of,
    without,
)
from leadline.pipelines.training_start import (
    at_size_of,
    check_start,
    check_trainable,
    comes_with_weights,
    depth_terms,
    starting_net,
    with_defaults_of,
)
from leadline.pipelines.training_validation import MEASURE
from leadline.training.distributed import first, process
from leadline.training.fit import Finish, Loss, Validate
from leadline.training.losses import Reweighted, Term, weighted
from leadline.training.losses.classes import cross_entropy
from leadline.training.losses.joint import joint
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
    protocol: str
    """Of the validation: the run's, or the task's own."""
    enough: int
    """How many worker processes this machine bears."""


@dataclass(frozen=True)
class TrainingSets:
    """The data sets of a run: the labelled ones, then those without depth."""

    data: list[Dataset]
    """Without the validation split."""
    per_batch: list[int]
    """How many images of each go into a batch."""
    validation: Dataset | None
    """The validation split of the first; None: there is none."""
    focal_times_baseline: float
    """Of the stereo cameras, in pixels times metres; 0 where the run does not learn from pairs."""

    def steps(self, epochs: float) -> int:
        """How many batches show the first data set `epochs` times."""
        return max(1, round(epochs * len(self.data[0]) / self.per_batch[0]))


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

    `say` gets one line about each step that takes long, and about what the run goes without.
    """
    given = net is not None
    check_start(run, given=given, say=say)
    weights = load(run.model) if net is None and comes_with_weights(run) else net
    spec = zoo.spec(run.model) if weights is None else weights.spec
    if run.head is not None:
        spec = spec_with_head(spec, run.head, NYU40)  # the data say which classes
    run = with_defaults_of(task_of(spec.head.kind), run)
    if supervision is not None:
        refuse_others(spec.head.kind, "learning from a teacher")
    check_trainable(run, spec, name=spec.name if given else run.model)
    run = at_size_of(run, spec, given=given)
    terms = depth_terms(run)

    sets = training_sets(run, spec, supervision, say)
    teacher = None if supervision is None else supervision.online_teacher
    start = starting_net(run, sets.data[0], weights, given=given, camera=sets.focal_times_baseline, teacher=teacher)
    validation = sets.validation
    if validation is not None:
        check_protocols([run.protocol], start.spec.head.kind, validation)
    measure = MEASURE[task_of(start.spec.head.kind).name]
    validate = None if validation is None else partial(measure, run=run, data=validation, say=say)
    loading, finish = training_batches(run, start, sets, with_teacher=teacher is not None)
    loss = training_loss(run, terms, start, supervision)

    options = run.fit if run.epochs is None else replace(run.fit, steps=sets.steps(run.epochs))
    weights_of = None if given or weights is None else run.model
    facts = training_facts(run, sets, supervision, weights_of)
    enough = enough_workers(process()[1], torch.cuda.is_available())
    workers = enough if run.workers < 0 else run.workers
    return Parts(start, loading, loss, finish, options, validation, validate, facts, workers, run.protocol, enough)


def training_sets(run: Training, spec: Spec, supervision: TeacherSupervision | None, say: Say) -> TrainingSets:
    """The data sets of the run, opened, without the validation split, with the teacher's labels, through the cache.

    BadData or ValueError if a folder is no data set, or is written to by the run.
    """
    stereo, labelled = from_pairs(run), len(run.data)
    entries = run.data if supervision is None else (*run.data, *supervision.unlabelled)
    folders, per_batch = shares(entries, run.batch)
    refuse_data(run.out, folders, folders[labelled:])
    given = run.reading.given()
    how = {name: value for name, value in given.items() if name != "items"}
    opened = partial(open_pairs, **how) if stereo else partial(open_dataset, **{**reading_for(spec.head.kind), **given})
    sets = [opened(folder, "train") for folder in folders[:labelled]]
    sets += [open_dataset(folder, "train", **how, items="images") for folder in folders[labelled:]]
    for data in sets[:labelled]:
        check_fits(spec.head.kind, data.name, data.classes, data.joint)
    say_once = say if process()[0] == 0 else (lambda _: None)
    for note in filter(None, dict.fromkeys([*map(unread, folders), *(data.note for data in sets)])):
        say_once(note)
    sets = [with_files(data, folder, say_once) for data, folder in zip(sets, folders, strict=True)]
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
        sets = supervision.add_labels(sets)  # after the split: it must not depend on which images the teacher left out
    height = None if stereo else rows(run, spec)
    decoded = partial(cached, folder=cache() / "frames", gb=run.cache_gb, height=height, say=say)
    with first():  # one process decodes; the others then read its cache
        try:
            sets = decoded(sets)
        except (BadImage, BadData):
            photographs = [readable(data, say_once) for data in sets[labelled:]]
            if photographs == sets[labelled:]:
                raise
            sets = decoded([*sets[:labelled], *photographs])
    return TrainingSets(sets, per_batch, validation, camera)


def training_batches(
    run: Training, start: Net, sets: TrainingSets, *, with_teacher: bool
) -> tuple[Callable[..., Batches], Finish | None]:
    """`loading(workers=N)`, and what the loop does to a batch on the device; None: nothing.

    An item that cannot be transformed is an error here, and not in a worker process. `with_teacher`: a teacher sees
    each batch, so that it has to know which pixels come from the picture.
    """
    size = start.spec.preprocess.size
    transform = partial(augment_pair, size=size, how=run.stereo) if from_pairs(run) else transform_of(run)
    on_device = _on_device(run)
    for data in sets.data:
        item(Part(data, 1, transform), 0, np.random.default_rng(0))
    in_worker: Callable[..., Any] = partial(draw, view=run.view) if on_device else transform
    if with_teacher:
        in_worker = partial(marked, transform=in_worker)
    rank, world = process()
    loading = partial(
        loader,
        [Part(data, share, in_worker) for data, share in zip(sets.data, sets.per_batch, strict=True)],
        seed=run.fit.seed,
        rank=rank,
        world=world,
        pad=run.transform == "litedepth",  # r2crop's cut-outs differ in size
        gather=gather if on_device else None,
    )
    return loading, partial(augmented, view=run.view) if on_device else None


def training_loss(run: Training, terms: Mapping[str, Term], start: Net, supervision: TeacherSupervision | None) -> Loss:
    """What the run minimises: `terms` by their weights, the teacher's loss around them, or a loss that stands alone."""
    if supervision is not None:
        return supervision.make_loss(terms, start)
    if from_pairs(run):
        return partial(photometric, weights=run.stereo)
    if run.loss == ("joint",):
        return partial(joint, depth=terms, label_weight=run.joint.label_weight)
    if not compares_maps(run):
        return cross_entropy
    return Reweighted(terms) if run.weighting == "dynamic" else partial(weighted, terms)


def training_facts(
    run: Training, sets: TrainingSets, supervision: TeacherSupervision | None, weights_of: str | None
) -> dict[str, Any]:
    """What decides what is learned, as JSON. `weights_of`: the model whose weights are the start; None: no weights."""
    plain = json.loads(json.dumps(to_json(run), default=str))
    return {
        "training": {key: value for key, value in plain.items() if key not in _SPARED},
        "images": [[data.name, len(data)] for data in sets.data],
        **own_code(run),
        **({} if weights_of is None else {"from": origin(weights_of)}),
        **({} if supervision is None else {"distillation": supervision.facts}),
    }


def _on_device(run: Training) -> bool:
    """Whether the loop augments, and not the workers."""
    can = run.transform == "view" and not from_pairs(run)
    if run.augment == "device" and not can:
        raise ValueError("augment is device, which only --transform view can; give --augment workers")
    return can and (run.augment == "device" or (run.augment == "auto" and torch.cuda.is_available()))
