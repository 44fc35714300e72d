"""From the options of `leadline distill` to what `training_setup.parts` and `fit` take."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from hashlib import sha256
from typing import Any

import numpy as np

from leadline.core.errors import BadData
from leadline.core.spec import to_json
from leadline.core.text import some, split_list
from leadline.core.types import Item
from leadline.data.dataset import Dataset, with_depth
from leadline.data.label_set import Labels, labels_of, open_labels, read_label, with_labels
from leadline.distill.feature_loss import WAYS, Feature
from leadline.distill.loss import DistillationLoss
from leadline.distill.options import Distillation
from leadline.distill.teachers import Teacher, build_teacher
from leadline.nn.build import Net
from leadline.pipelines.training_setup import TeacherSupervision
from leadline.training.losses import Term
from leadline.training.options import Training

LITEDEPTH = ("decoder.logits.0", "decoder.mixers.2.0", "decoder.mixers.1.0")
"""The decoder layers, pre-activation, that LiteDepth's authors compare: 1/4, 1/8 and 1/16 of the image."""


def teacher_supervision(run: Training, how: Distillation) -> TeacherSupervision:
    """What `run` learns from the teacher.

    ValueError if there is neither a teacher nor a label set, if one of them would not be used, or if features are
    those of a teacher that is no net of leadline's; BadData if unlabelled images have no labels. All before any work.
    """
    sets = tuple(open_labels(path) for path in how.labels)
    teacher = build_teacher(how.teachers) if how.teachers.teacher else None
    if teacher is None and not sets:
        raise ValueError("there is no teacher: give one (--teacher), or label sets of `leadline label` (--labels)")
    if "stereo" in run.loss:
        raise ValueError("the loss 'stereo' learns from pairs of views alone and has no use for a teacher")
    if run.weighting != "fixed":
        raise ValueError(f"weighting is {run.weighting}, which distillation has no use for; leave it out")
    wanted = list(how.features)
    if wanted and (teacher is None or teacher.net is None):
        who = "there is none" if teacher is None else f"{teacher.name} is something else, averaged, or several"
        raise ValueError(f"features ({', '.join(wanted)}) are those of one net of leadline's as the teacher, and {who}")
    if teacher is not None and sets and not wanted:
        raise ValueError(f"label sets are given, so {teacher.name} would never be used; leave one of the two out")
    if teacher is not None and teacher.facts.get("by_name") and not sets:
        raise ValueError(
            f"{teacher.name} knows whole pictures, and a net learns from cut-outs of them: run `leadline label` with "
            "it first, and give what that writes as --labels"
        )
    if how.min_confidence and sets and not any(map(_unsure, sets)):
        raise ValueError(
            f"min_confidence is {how.min_confidence}, and no label set has its teacher's confidence: leave it out, or "
            "label with --flip, --zooms or several teachers"
        )
    online = teacher if not sets else None
    return TeacherSupervision(
        how.unlabelled,
        partial(_with_labels, labelled=len(run.data), sets=sets, min_confidence=how.min_confidence),
        partial(_distillation_loss, how=how, teacher=teacher, online=online is not None, seed=run.fit.seed),
        {**to_json(replace(how, labels=())), **_facts(sets, teacher)},
        online,
    )


def licences(facts: Mapping[str, Any]) -> list[str]:
    """Under which terms the teachers, and the images that they have seen for this run, came."""
    return sorted({line for one in (*facts["label_sets"], facts["teacher"] or {}) for line in one.get("licences", ())})


def _facts(sets: tuple[Labels, ...], teacher: Teacher | None) -> dict[str, Any]:
    label_sets = [
        {"teacher": s.manifest["teacher"], "kind": s.kind, "data": s.manifest["data"]["name"], "n": s.manifest["n"],
         "licences": s.manifest["licences"], "shards": _hash([shard["sha256"] for shard in s.manifest["shards"]])}
        for s in sets
    ]  # fmt: skip
    return {"label_sets": label_sets, "teacher": None if teacher is None else {"name": teacher.name, **teacher.facts}}


def _hash(hashes: list[str]) -> str:
    return sha256(" ".join(hashes).encode()).hexdigest()[:16]


def _with_labels(
    data: list[Dataset], *, labelled: int, sets: tuple[Labels, ...], min_confidence: float
) -> list[Dataset]:
    of_depth = [labels for labels in sets if _of_depth(labels)]
    about = [(labels_of(one, sets) or _about_depth(one, of_depth)) if sets else None for one in data]
    names, places = some([one.name for one in data]), some([str(labels.root) for labels in sets])
    made = []
    for i, (one, labels) in enumerate(zip(data, about, strict=True)):
        has_depth = i < labelled
        if labels is not None and _of_depth(labels):
            one = with_depth(one)
        if labels is not None:
            made.append(with_labels(one, labels, keep_depth=has_depth, min_confidence=min_confidence))
        elif has_depth:
            made.append(one)  # trained on its own depth alone
        elif sets:
            raise BadData(f"no label set is about {one.name}: none of {places} has its images; run `leadline label`")
        else:
            made.append(replace(one, read=partial(_unlabelled, read=one.read)))
    if any(not any(labels is one for one in about) for labels in sets):
        raise BadData(
            f"of the label sets {places} one or more are about none of {names}: none has their first image, or it has "
            "other pixels; leave such sets out, or label these images anew"
        )
    return made


def _of_depth(labels: Labels) -> bool:
    """Whether only images with depth were labelled, since it gave the answers their scale."""
    return bool(labels.manifest["data"].get("reading", {}).get("items") == "depth")


def _about_depth(data: Dataset, sets: Sequence[Labels]) -> Labels | None:
    known = with_depth(data)
    return labels_of(known, sets) if sets and len(known) else None


def _unsure(labels: Labels) -> bool:
    """Whether the set stores confidence: some of it is below 1 in the first images."""
    found = [read_label(labels, name) for name in list(labels.places)[:8]]
    return any(bool((confidence[values > 0] < 1).any()) for values, confidence in found)


def _unlabelled(key: Any, read: Any) -> Item:
    sample: Item = read(key)
    return replace(sample, target=np.zeros_like(sample.target), valid=np.zeros_like(sample.valid))


def _distillation_loss(
    terms: Mapping[str, Term], net: Net, *, how: Distillation, teacher: Teacher | None, online: bool, seed: int
) -> DistillationLoss:
    features = []
    if how.features:
        assert teacher is not None and teacher.net is not None
        size = net.spec.preprocess.size
        features = [_feature(entry, net, teacher.net, size, seed) for entry in how.features]
    return DistillationLoss(
        terms, label_weight=how.label_weight, unlabelled=how.weight, warmup=how.warmup_distill,
        min_confidence=how.min_confidence, teacher=teacher, online=online, features=features,
    )  # fmt: skip


def _feature(entry: str, student: Net, teacher: Any, size: tuple[int, int], seed: int) -> Feature:
    what, _, modules = entry.partition(":")
    way, _, weight = what.partition("*")
    if way not in WAYS:
        raise ValueError(f"features are compared by {way!r} in {entry!r}; allowed: {', '.join(WAYS)}")
    pairs = [(name.partition("=")[0].strip(), name.rpartition("=")[2].strip()) for name in split_list(modules)]
    if any(not name for pair in pairs for name in pair):
        raise ValueError(f"{entry!r} has a module without a name; WAY:STUDENT=TEACHER,... is needed")
    if not pairs:
        pairs = [(name, name) for name in LITEDEPTH]
    try:
        factor = float(weight) if weight else None
    except ValueError:
        raise ValueError(f"{entry!r} has the weight {weight!r}; a number is needed") from None
    if factor is not None and not 0 < factor < math.inf:
        raise ValueError(f"{entry!r} has the weight {factor}; a number above 0 is needed")
    return Feature(way, pairs, student, teacher, size=size, weight=factor, seed=seed)  # type: ignore[arg-type]
