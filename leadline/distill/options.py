"""The options of distillation, from which `leadline label` and `leadline distill` make their flags."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from leadline.core.allowed import ABOVE_0, FROM_0, PART, at_least, between, check, each, require
from leadline.runtime.options import NOTHING_SAID
from leadline.runtime.options import ExternalModel as ExternalModel

FLAG = "--external.kind"
"""The flag that states the kind of a teacher whose file does not."""


@dataclass(frozen=True, kw_only=True)
class TeacherOptions:
    """Which teachers, and how their depth is made."""

    teacher: tuple[str, ...] = ()
    """A net that ships, a checkpoint, an exported file, any .onnx or .tflite, a folder or name of Hugging Face's hub,
    or a folder of depth maps. Of several the mean counts.
    """
    weights: tuple[float, ...] = ()
    """Of several teachers: how much each counts; none: all alike."""
    external: ExternalModel = NOTHING_SAID
    """What files that leadline has not made do not say of themselves."""
    flip: bool = False
    """Predict the mirrored picture too, and take the mean."""
    zooms: tuple[float, ...] = (1.0,)
    """Predict the whole picture and four cut-outs enlarged by each number above 1, to 2, and take the mean."""
    metric: str | None = None
    """Turn a relative teacher's numbers into metres, picture by picture: `truth`, the depth that the data has; `SCALE`
    or `SCALE,SHIFT`, known numbers; or a metric teacher.
    """

    def __post_init__(self) -> None:
        check(self, weights=each(ABOVE_0), zooms=each(between(1, 2)))


@dataclass(frozen=True, kw_only=True)
class Labelling:
    """One run of `leadline label`."""

    out: Path
    """The folder of the label set."""
    split: Literal["train", "val", "test", "all"] = "train"
    """The part of the data that is labelled."""
    height: int | None = 240
    """Labels of higher pictures are stored at so many rows; None: at the picture's size."""
    label_scale: float = 1000.0
    """Stored units per metre of metric labels: 1000 holds 65 m in steps of 1 mm, 256 holds 255 m in steps of 4 mm."""
    shard: int = 64
    """Pictures in a file."""
    licences: tuple[str, ...] = ()
    """The terms under which the pictures came; stated in what learns from them."""
    retry_skipped: bool = False
    """Try once more the images that an earlier run has left out, as after a repair."""
    workers: int = 0
    """Processes, each with one thread, run by Ray; 0: this one does it all, with all its threads."""
    ray: str | None = None
    """Address of a Ray cluster; None: the workers are on this machine."""
    device: str = "cpu"
    """Where nets and models of the hub run: cpu, cuda, mps. Exported files run on the CPU."""

    def __post_init__(self) -> None:
        check(self, shard=at_least(1), workers=at_least(0), height=at_least(8), label_scale=ABOVE_0)
        require(
            (
                self.ray is None or self.workers,
                "ray names a cluster, and workers is 0; say how many workers it shall run",
            )
        )


@dataclass(frozen=True, kw_only=True)
class Distillation:
    """What a student learns from a teacher, besides its training."""

    unlabelled: tuple[str, ...] = ()
    """Folders whose images are learned from without their depth, if they have any; FOLDER:N puts N into each batch."""
    labels: tuple[Path, ...] = ()
    """Label sets (`leadline label`) of the folders; each finds its own by its images. None: the teacher predicts."""
    teachers: TeacherOptions = TeacherOptions()
    """The teacher that sees each batch, where there are no label sets or its features are learned."""
    label_weight: float = 0.1
    """Of labelled images: the part that their own depth has in the loss; the rest is the teacher's (lambda)."""
    weight: float = 1.0
    """Of unlabelled images in the loss."""
    min_confidence: float = 0.0
    """Labels of a lower confidence do not count."""
    warmup_distill: bool = False
    """Increase the teacher's part slowly (LiteDepth's reweighting hook)."""
    features: tuple[str, ...] = ()
    """WAY:STUDENT=TEACHER,... of modules whose maps are compared; WAY is affinity, channel or hint, WAY*W has the
    weight W in place of the published one. `affinity` alone: the layers of LiteDepth.
    """

    def __post_init__(self) -> None:
        check(self, label_weight=PART, min_confidence=PART, weight=FROM_0)
        require(
            (
                not (self.teachers.metric == "truth" and self.unlabelled),
                "metric is truth, and unlabelled images have none: give a known scale, or a metric teacher",
            ),
            (
                self.teachers.teacher or self.teachers == TeacherOptions(),
                "options of a teacher are given, and no teacher is: give --teacher, or leave them out",
            ),
            (
                self.unlabelled or self.weight == Distillation.weight,
                f"weight is {self.weight}, of unlabelled images, and there are none; leave it out",
            ),
            (
                self.label_weight < 1 or (self.unlabelled and self.weight) or self.features,
                "label_weight is 1, so nothing is learned from a teacher; lower it, or leave the teacher out",
            ),
        )
