"""From a word to a teacher."""

from __future__ import annotations

from pathlib import Path

from leadline.core.errors import BadArtefact
from leadline.distill.options import FLAG, ExternalModel, TeacherOptions
from leadline.distill.teachers.checkpoint import net_teacher
from leadline.distill.teachers.depth_maps import folder_teacher
from leadline.distill.teachers.ensemble import Stated, ensemble, to_metric, with_test_time_augmentation
from leadline.distill.teachers.exported import exported_teacher, external_teacher
from leadline.distill.teachers.huggingface import hub_teacher, is_hub_folder
from leadline.distill.teachers.teacher import Teacher
from leadline.nn.checkpoint import is_run, load, origin, shipped
from leadline.runtime import SUFFIXES
from leadline.runtime.external import is_external

_UNSTATED = {"unit_m", "depth_scale"}
"""Facts of teachers that do not state by themselves what they are."""


def open_teacher(source: str | Path, external: ExternalModel = ExternalModel(), threads: int | None = None) -> Teacher:
    """The teacher that `source` names:

    1. a net that ships with leadline, a checkpoint of one, or a run's folder;
    2. a file of `leadline export`;
    3. any other .onnx or .tflite file that takes one picture and gives one map, as `external` says;
    4. a folder that Hugging Face's `save_pretrained` wrote, or OWNER/NAME on its hub;
    5. a folder of depth maps, as `external` says.

    `threads` are those of an exported file's runtime. Errors are those of what reads it; what is none of these is a
    ValueError or BadCheckpoint.
    """
    path = Path(source)
    if path.is_dir() and not is_run(path):
        return hub_teacher(path, external) if is_hub_folder(path) else folder_teacher(path, external)
    if str(source) in shipped() or path.suffix == ".safetensors" or path.is_dir():
        return net_teacher(load(source), origin(source))
    if path.suffix in SUFFIXES:
        if not path.is_file():
            raise BadArtefact(f"there is no file {path}")
        return external_teacher(path, external, threads) if is_external(path) else exported_teacher(path, threads)
    if str(source).count("/") == 1 and not path.exists() and not path.parent.exists():
        return hub_teacher(str(source), external)
    there = "" if path.exists() else " and no file or folder"
    raise ValueError(
        f"{source} is no teacher{there}; a net that ships ({', '.join(shipped())}), a checkpoint, an exported file, "
        "any .onnx or .tflite, a folder or OWNER/NAME of Hugging Face's hub, or a folder of depth maps is needed"
    )


def build_teacher(how: TeacherOptions, threads: int | None = None) -> Teacher:
    """The teacher that `how` describes, all its parts joined."""
    if not how.teacher:
        raise ValueError("teacher is empty; at least one is needed")
    made = []
    for source in how.teacher:
        one = open_teacher(source, how.external, threads)
        if how.flip or tuple(how.zooms) != (1.0,):
            one = with_test_time_augmentation(one, flip=how.flip, zooms=how.zooms)
        if how.metric is not None and one.kind != "metric":
            one = to_metric(one, _reference(how.metric, how.external, threads))
        made.append(one)
    if how.external.kind is not None and how.metric is None and all(one.kind != how.external.kind for one in made):
        kinds = ", ".join(f"{one.name} gives {one.kind}" for one in made)
        raise ValueError(f"{kinds} and says so itself; {how.external.kind} ({FLAG}) is wrong: leave it out")
    called = ", ".join(one.name for one in made)
    if how.external != ExternalModel() and how.metric is None and not any(_UNSTATED & one.facts.keys() for one in made):
        raise ValueError(f"{called}: all is known without what --external says; leave it out")
    if len(made) == 1 and how.weights:
        raise ValueError(f"weights are {how.weights}, and there is one teacher; leave them out")
    if how.metric is not None and all("to_metric" not in one.facts for one in made):
        raise ValueError(f"{called}: metric already; leave its `metric` out")
    return made[0] if len(made) == 1 else ensemble(made, how.weights or None)


def _reference(metric: str, external: ExternalModel, threads: int | None) -> Teacher | Stated | None:
    if metric == "truth":
        return None
    try:
        numbers = [float(word) for word in metric.split(",")]
    except ValueError:
        names_kind = is_hub_folder(Path(metric)) or not Path(metric).exists()
        plain = ExternalModel(kind=None if names_kind else "metric", depth_scale=external.depth_scale)
        return open_teacher(metric, plain, threads)
    if len(numbers) > 2:
        raise ValueError(f"metric is {metric!r}; SCALE or SCALE,SHIFT, truth, or a metric teacher is needed")
    return Stated(*numbers)
