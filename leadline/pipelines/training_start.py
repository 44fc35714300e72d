"""The net that a training run starts from: a given one, the weights of a checkpoint, or a fresh one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from leadline.core.spec import Spec
from leadline.core.tasks import TASKS, Task, task_of
from leadline.core.types import Item, depth_of
from leadline.data.dataset import Dataset, evenly
from leadline.data.loader import collate, pseudo_depth_of
from leadline.data.options import View
from leadline.data.transforms.augment import augment
from leadline.distill.teachers import Teacher
from leadline.evaluation.protocols import find as find_protocol
from leadline.nn import zoo
from leadline.nn.build import Net, build, calibrated
from leadline.nn.checkpoint import is_run, shipped
from leadline.nn.new_head import spec_with_head, with_head
from leadline.nn.pretrained.tflite import give_from_file_
from leadline.pipelines.training_data import Say, compares_maps, from_pairs, seen
from leadline.training.losses import Term
from leadline.training.losses.parse import typed
from leadline.training.options import Training


def comes_with_weights(run: Training) -> bool:
    """Whether the net comes with weights."""
    known = run.model in zoo.names(None) or run.model in shipped()
    return run.pretrained or Path(run.model).is_file() or (not known and is_run(run.model))


def check_start(run: Training, *, given: bool, say: Say) -> None:
    """ValueError before any work if options contradict each other. With a `given` net, model and init do not count."""
    if not given and run.init is not None and not run.init.is_file():
        raise ValueError(f"there is no file {run.init} to initialise the encoder from (--init)")
    if not given and run.init is not None and comes_with_weights(run):
        raise ValueError(f"{run.model} comes with weights, so --init has no use; leave one of the two out")
    if not given and not comes_with_weights(run) and run.model in shipped() and run.model not in zoo.names(None):
        raise ValueError(f"{run.model} is known by its weights alone; give --pretrained, and it starts from them")
    find_protocol(run.protocol)  # also where nothing is validated
    if run.resume and not (run.out / "state.safetensors").exists():
        say(f"there is no run in {run.out} to go on with: it starts from the beginning")
    if from_pairs(run):
        plain = Training(data=run.data, out=run.out)
        for name in ("init", "transform", "view", "weighting"):
            if getattr(run, name) != getattr(plain, name):
                raise ValueError(f"{name} is {getattr(run, name)}, which --loss stereo has no use for; leave it out")


def check_trainable(run: Training, spec: Spec, name: str) -> None:
    """ValueError if the run's loss cannot be computed from what the net `name` predicts."""
    task = task_of(spec.head.kind)
    others = {loss for other in TASKS if other is not task for loss in other.losses}
    if wrong := [loss for loss in run.loss if (loss not in task.losses if task.losses else loss in others)]:
        allowed = ", ".join(task.losses) or "losses of depth, such as l1"
        raise ValueError(f"{name} gives {spec.head.kind}, and the loss {wrong[0]!r} is not for those; use {allowed}")
    if task.losses:
        return
    if spec.head.kind != "metric" and "stereo" not in run.loss:
        raise ValueError(
            f"{name} gives {spec.head.kind}, which cannot be compared with metres; --loss stereo trains it"
        )


def depth_terms(run: Training) -> dict[str, Term]:
    """The terms of the run that compare depth maps: those of its loss, or of the depth in a joint one."""
    if run.loss != ("joint",):
        return typed(run.loss) if compares_maps(run) else {}
    terms = typed(run.joint.depth)
    if wrong := next((name for name, term in terms.items() if term.at == "map"), None):
        raise ValueError(f"joint.depth is {wrong}@map; a net of depth and labels is compared at @target alone")
    return terms


def with_defaults_of(task: Task, run: Training) -> Training:
    """The run with the task's own loss, transform and protocol where it has those of depth by default."""
    plain = Training(data=run.data, out=run.out)
    of_task = {"loss": (task.loss,), "transform": task.transform, "protocol": task.protocol}
    left = {name: value for name, value in of_task.items() if getattr(run, name) == getattr(plain, name)}
    return replace(run, **left)  # type: ignore[arg-type]


def at_size_of(run: Training, spec: Spec, *, given: bool) -> Training:
    """The run with images of the net's own size: always if the net is `given`, else where the run names no size.

    ValueError if the transform gives images of one fixed size, and the given net has another.
    """
    size = spec.preprocess.size
    if not given:
        use_own = not from_pairs(run) and run.view.size is None
        return replace(run, view=replace(run.view, size=size)) if use_own else run
    if from_pairs(run):
        return replace(run, stereo=replace(run.stereo, size=size))
    run = replace(run, view=replace(run.view, size=size), r2crop=replace(run.r2crop, image=size))
    if (found := seen(run)) != size:
        raise ValueError(
            f"transform is {run.transform}, which gives images of {found[0]}x{found[1]}, and {spec.name} is a net for "
            f"{size[0]}x{size[1]}; --transform view gives images of any size"
        )
    return run


def starting_net(
    run: Training, data: Dataset, weights: Net | None, *, given: bool, camera: float, teacher: Teacher | None
) -> Net:
    """The net at the first step: `weights`, or None for a fresh net, whose encoder and head `data` initialise; with
    `run.head` it has that head, for the classes of `data`.

    A net that is `given` keeps its size; `weights` of a checkpoint get that of the run. For stereo pairs it is a copy
    that gives metres by the cameras' `camera`, focal length times baseline. `teacher`: see `_fresh`.
    """
    start = _fresh(run, data, teacher) if weights is None else weights
    if weights is not None and run.head is not None:
        start = with_head(weights, run.head, data.classes, seed=run.fit.seed)
    if (n := len(start.spec.head.classes)) != len(data.classes):
        raise ValueError(
            f"{start.spec.name} knows {n} classes, and {data.name!r} has {len(data.classes)}; a net of depth gets a "
            "layer for those by --head"
        )
    if from_pairs(run):
        return calibrated(start, camera, run.stereo.size)
    if not given:
        start.spec = replace(start.spec, preprocess=replace(start.spec.preprocess, size=seen(run)))
    return start


def _fresh(run: Training, data: Dataset, teacher: Teacher | None) -> Net:
    """A fresh net. Its encoder starts from `run.init`; its head at the mean depth of the data, or where they have no
    depth, of what the teacher predicts.
    """
    spec = zoo.spec(run.model)
    if run.head is not None:
        spec = spec_with_head(spec, run.head, data.classes)
    elif spec.head.classes and data.classes:
        spec = replace(spec, head=replace(spec.head, classes=data.classes))
    net = build(spec, seed=run.fit.seed)
    if from_pairs(run):
        return net
    some = [data[i] for i in evenly(64, len(data))]
    if task_of(spec.head.kind).start == "mean":
        net.head.start_at(_mean_depth(some, teacher, data.name))
    if run.init is not None:
        # the images alone: a target may be a map of classes, or one number
        bare = [Item(one.image, np.zeros((1, 1), np.float32), np.zeros((1, 1), bool), one.name) for one in some]
        still = View(size=seen(run), zoom=(1, 1), rotate=0, shift=0, flip=0, jitter=0)
        images = collate([augment(one, np.random.default_rng(0), still) for one in bare]).image
        give_from_file_(net.encoder, run.init, (images - net.mean) / net.std)
    return net


def _mean_depth(some: Sequence[Item], teacher: Teacher | None, name: str) -> float:
    """The mean depth in metres of these items, or where they have none, of what is stored or predicted for them."""
    depths = [float(depth[valid].mean()) for depth, valid in map(depth_of, some) if valid.any()]
    if not depths:
        depths = [
            float(pseudo[pseudo > 0].mean())
            for s in some
            if s.pseudo_kind == "metric" and (pseudo := pseudo_depth_of(s)).any()
        ]
    if not depths and teacher is not None and teacher.kind == "metric":
        answers = [teacher(collate([s])).depth for s in some[:8]]
        depths = [float(a[torch.isfinite(a)].mean()) for a in answers if torch.isfinite(a).any()]
    if not depths:
        raise ValueError(
            f"{name!r} has no valid depth, so nothing says at which depth a fresh net starts; `leadline data "
            "check` says why, and --pretrained starts from a net that knows metres"
        )
    return float(np.mean(depths))
