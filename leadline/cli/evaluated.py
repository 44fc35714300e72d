"""What `leadline val` evaluates: a model that runs now, or depth maps that a program has saved."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leadline.cli.command import warn
from leadline.core.text import some
from leadline.runtime.options import ExternalModel

if TYPE_CHECKING:
    from leadline.core.spec import Kind
    from leadline.data.dataset import Dataset
    from leadline.predict.predictor import Predictor


@dataclass(frozen=True)
class Evaluated:
    """`predict` gives the depth of each of `samples`, from its image or, with `by_sample`, from the whole Item.

    `facts` say in the report what was evaluated.
    """

    name: str
    kind: Kind
    predict: Callable[[Any], Any]
    samples: Dataset
    facts: dict[str, Any] = field(default_factory=dict)
    by_sample: bool = False


def of_model(predictor: Predictor, samples: Dataset, model: str) -> Evaluated:
    """A model, run on the images."""
    from leadline.runtime.external import ExternalManifest

    facts = {"model": model, "runtime": predictor.runtime, "precision": predictor.precision, "flip": predictor.flip}
    if isinstance(predictor.manifest, ExternalManifest):
        facts["external"] = predictor.manifest.to_json()
    return Evaluated(predictor.name, predictor.head.kind, predictor.answer, samples, facts)


def of_predictions(
    folder: Path, external: ExternalModel, samples: Dataset, whole: Dataset, allow_missing: bool
) -> Evaluated:
    """The depth maps below `folder`, of the frames `samples`, which are a part of `whole`; what is odd is told."""
    from leadline.data.map_folder import open_map_folder
    from leadline.evaluation.predictions import pair

    maps = open_map_folder(folder, external.kind, external.depth_scale, external.output)
    paired = pair(maps, samples, allow_missing=allow_missing, of=whole)
    if paired.missing:
        n = len(samples)
        warn(f"{len(paired.missing)} of {n} frames have no depth map and do not count: {some(paired.missing)}")
    if paired.unused:
        n = len(maps.files)
        warn(f"{len(paired.unused)} of {n} depth maps are for no frame of {whole.name} here: {some(paired.unused)}")
    return Evaluated(folder.resolve().name, maps.kind, paired, paired.frames, paired.facts(), by_sample=True)


def check_predictions(folder: Path, external: ExternalModel, others: Mapping[str, Any]) -> None:
    """ValueError if `folder` is none, or if something was said that is for models only."""
    wrong = next((flag for flag, value in others.items() if value), None)
    if wrong is not None:
        raise ValueError(f"--{wrong} is for a model, and --predictions are depth maps; leave one of the two out")
    if not folder.is_dir():
        what = "a file" if folder.exists() else "not there"
        raise ValueError(f"--predictions is {folder}, which is {what}; a folder of depth maps is needed")
    taken = ("kind", "output", "depth_scale", "licences")
    if external != ExternalModel(**{name: getattr(external, name) for name in taken}):
        raise ValueError("of --external.*, depth maps take kind, depth-scale, output and licences: leave out the rest")
