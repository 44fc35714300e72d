"""`leadline label` and `leadline distill`."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from leadline.cli.command import print_json, progress, warn
from leadline.cli.data import tell_unread
from leadline.cli.early import check_layout, check_teachers, check_training
from leadline.cli.flags import AS_SAID, Read
from leadline.cli.say import closing
from leadline.cli.short_help import short_help
from leadline.core.machine import stated_threads
from leadline.core.text import shown
from leadline.distill.options import Distillation, Labelling, TeacherOptions
from leadline.training.options import Training


@short_help(
    {
        "Teachers": "--teacher --weights --metric --flip",
        "Label set": "--out --split --label-scale --licences --device --workers",
    },
    "leadline label photos --teacher fastdepth --out labels",
    "leadline label NYU --teacher a.safetensors b.onnx --split train --out labels",
)
def label(
    data: Annotated[Path, arg(metavar="FOLDER")],
    /,
    *,
    teachers: Annotated[TeacherOptions, arg(name="")],
    run: Annotated[Labelling, arg(name="")],
    reading: Read = AS_SAID,
    json: bool = False,
) -> int:
    """Let teachers predict the depth of photographs, and keep it as a label set. Run again after a stop, it goes on.

    Args:
        data: a folder of photographs, or any data set, whose depth does not count
        teachers: which teachers, and how they are used
        run: what is stored, and who works
        reading: how to read the data
        json: print one JSON object
    """
    check_teachers(teachers.teacher)
    check_layout(reading.layout)
    from leadline.data.label_set import open_labels
    from leadline.data.layouts.detect import described, open_dataset
    from leadline.data.layouts.unlabelled import passed_over
    from leadline.distill.labelling.label import label as label_all
    from leadline.distill.teachers import build_teacher
    from leadline.runtime.torch_threads import torch_threads

    data_at = Path(os.path.realpath(data))
    where = os.path.relpath(data_at, os.path.realpath(run.out))
    how = reading.given() | ({"items": "depth"} if teachers.metric == "truth" else {})
    opened = partial(open_dataset, data_at, run.split, **{"items": "images", **how})
    metric = teachers.metric and _whole(teachers.metric)
    teachers = replace(teachers, teacher=tuple(map(_whole, teachers.teacher)), metric=metric)
    bad: list[tuple[str, str]] = []
    rate = 0.0
    try:
        with torch_threads(stated_threads(None)):  # exported files look for the variable themselves
            for now in label_all(partial(build_teacher, teachers, 1 if run.workers else None), opened, where, run, how):
                bad += now.skipped
                rate = now.images_per_s
                progress(f"{now.done} of {now.n} images, {rate:.1f}/s")
                for name, why in now.skipped:
                    warn(f"left out {name}: {why}")
    except OSError as error:
        raise OSError(f"{error}; what {run.out} holds is kept, and the same command goes on") from error
    progress("")
    made = open_labels(run.out)
    for line in made.said["skipped"]:  # those of an earlier run
        if (line["name"], line["why"]) not in bad:
            warn(f"left out {line['name']}: {line['why']}")
    if described(data, **how)[1].layout == "unlabelled" and (n := passed_over(data)):
        warn(f"{n} pictures are not taken for photographs: depth, labels, masks or the like, by name or channels")
    tell_unread([data])
    keys = ("n", "kind", "teacher", "beyond", "no_prediction", "abstained")
    facts = {key: made.said[key] for key in keys if key in made.said}
    if json:
        print_json({"out": str(run.out), **facts, "skipped": made.said["skipped"], "images_per_s": rate})
        return 0
    teacher, n_bad = made.said["teacher"]["name"], len(made.said["skipped"])
    left = f", {n_bad} images left out" if n_bad else ""
    closing(shown(f"{run.out}: {len(made)} labels ({made.kind}) by {teacher}{left}; {rate:.1f} images/s in this run"))
    if made.said["beyond"]:
        warn(f"{made.said['beyond']} pixels are too far for 16 bits and have no label; a smaller --label-scale helps")
    if made.said["no_prediction"]:
        warn(f"for {made.said['no_prediction']} images the teacher has no prediction")
    for name, n in made.said.get("abstained", {}).items():
        warn(f"{name} abstained for {n} of {len(made)} images, and only the other teachers count")
    return 0


def _whole(source: str) -> str:
    """A file's whole path, for workers that run elsewhere; other words, also names that ship, as they are."""
    from leadline.nn.checkpoint import shipped

    return os.path.realpath(source) if source not in shipped() and Path(source).exists() else source


@dataclass(frozen=True)
class _Distillation(Distillation):
    """With the teachers' flags as they are in `leadline label`."""

    teachers: Annotated[TeacherOptions, arg(name="")] = Distillation.teachers


@short_help(
    {
        "Data and results": "--data --unlabelled --out",
        "Teacher": "--teacher --labels --label-weight",
        "Training": "--model --batch --fit.steps --fit.lr",
    },
    "leadline distill --data NYU --unlabelled photos:4 --labels labels --out run",
    "leadline distill --data NYU --teacher fastdepth --model litedepth --out run",
)
def distill(
    run: Annotated[Training, arg(name="")], how: Annotated[_Distillation, arg(name="")], *, json: bool = False
) -> int:
    """Train a net that learns from a teacher, on labelled images, on images without depth, or both.

    Args:
        run: the training, as in `leadline train`
        how: what it learns from which teacher, on which images
        json: print one JSON object
    """
    from leadline.cli.train import print_report, run_training

    check_training(run)
    check_teachers(how.teachers.teacher)
    return print_report(run_training(run, distillation=how)[1], run, json)
