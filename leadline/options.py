"""The options of the long verbs: dataclasses, from which the command line makes its flags without loading torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np

Precision = Literal["fp32", "fp16", "bf16", "int8"]
"""The arithmetic of an exported file; what a runtime has no kernels for stays in float32."""


@dataclass(frozen=True)
class View:
    """How `augment` looks at a frame. Ranges are uniform, that of `zoom` in its logarithm; `flip` is a probability.

    `zoom` enlarges (below 1 shows a border of invalid pixels), `stretch` is the factor between the two axes, `rotate`
    in degrees, `shift` moves the cut-out within what zooming leaves free (0 centre, 1 anywhere).
    """

    size: tuple[int, int] = (224, 224)
    zoom: tuple[float, float] = (1.0, 1.5)
    stretch: float = 1.0
    rotate: float = 5.0
    shift: float = 1.0
    flip: float = 0.5
    jitter: float = 0.4
    colour_shift: float = 0.0


@dataclass(frozen=True)
class Reading:
    """How to read a folder of data where its dataset.toml is silent or wrong; what is given here counts."""

    layout: str | None = None
    """Read it as this layout, whatever its files look like."""
    depth_scale: float | None = None
    """Stored units per metre of its depth files."""
    depth_offset: float | None = None
    """Added to stored values before dividing."""
    invalid: int | None = None
    """The stored value that means no depth; -1: there is none."""
    max_depth: float | None = None
    """Farther values, in metres, do not count."""
    test_fraction: float | None = None
    """Without lists of its own: the last share of the frames is the test part."""

    def given(self) -> dict[str, Any]:
        """The fields that are set, for `open_dataset`."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class FitOptions:
    """How to train. FastDepth's published schedule: sgd, lr 0.01, momentum 0.9, weight decay 1e-4, step."""

    steps: int = 1000
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 1e-4
    schedule: Literal["cosine", "step", "constant"] = "cosine"
    warmup: int = 0
    """Steps over which the learning rate rises from 0."""
    step_every: float = 0.25
    """`schedule=step`: the learning rate is multiplied by 0.1 after each such part of the run."""
    clip: float = 0.0
    """Largest norm of the gradient; 0: any."""
    ema: float = 0.0
    """Decay of the running mean of the weights that is returned; 0: the weights themselves."""
    still_after: float = 1.0
    """Part of the run after which batch norms keep their statistics."""
    precision: Literal["auto", "no", "bf16"] = "auto"
    """bf16 arithmetic; auto: where the processor has it."""
    channels_last: bool = True
    seed: int = 0
    save_every: int = 200
    validate_every: int = 0
    """Steps between validations; 0: only at the end."""
    log_every: int = 20

    def __post_init__(self) -> None:
        for name in ("steps", "save_every", "log_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; at least 1 is needed")
        if not self.step_every > 0 or not 0 <= self.ema < 1:
            raise ValueError(f"step_every is {self.step_every} and ema {self.ema}; above 0, and in [0, 1), are needed")


@dataclass(frozen=True)
class CompileOptions:
    """How a backend makes its artefact. A value that a backend cannot honour is a ValueError, never ignored.

    `frame`: the camera's (height, width); the artefact then holds resize, normalisation and the way back.
    `calibration` (int8): network inputs float32 [1,3,h,w] in 0..1 from which ranges are learned.
    `keep` (int8): the convolutions that stay in floating point, by their name in the net.
    `tuning`, `trials` (tvm): the folder with the tuner's database, and how many schedules are tried for each task.
    `source`, `provenance`: the checkpoint's sha256 and origin, for the artefact's card; `export` fills them in.
    """

    precision: Precision = "fp32"
    frame: tuple[int, int] | None = None
    calibration: Sequence[np.ndarray] = ()
    keep: tuple[str, ...] = ()
    tuning: Path | None = None
    trials: int = 0
    source: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Training:
    """One training run, completely."""

    data: tuple[str, ...]
    """Folders of data; FOLDER:N puts N of its images into each batch."""
    out: Path
    """Where checkpoints, curves, pictures and run.json go."""
    model: str = "fastdepth"
    """A net of the zoo, or a checkpoint file to go on from."""
    pretrained: bool = False
    """Start from the weights that ship under the model's name instead of fresh ones."""
    init: Path | None = None
    """An int8 .tflite classifier: the encoder's first weights."""
    batch: int = 8
    """Images in a batch, shared out evenly where --data names no number."""
    epochs: float | None = None
    """Length of the run in passes over the first data set; sets fit.steps."""
    loss: tuple[str, ...] = ("l1",)
    """Names of losses, added; NAME:W gives one the weight W, NAME:W@map compares at the net's own resolution."""
    transform: Literal["view", "fastdepth"] = "view"
    """Random cut-outs as `view` says, or FastDepth's published list."""
    view: View = View()
    fit: FitOptions = FitOptions()
    choose: int = 10
    """Every so-manieth block of 20 images of the first data set is kept for validation; 0: none."""
    protocol: str = "indoor-metric@1"
    """The protocol of the validation."""
    workers: int = 1
    """Processes that prepare batches."""
    cache: bool = True
    """Hold the decoded images in memory (0.4 MB each at 240x320); without, each is decoded again and again."""
    reading: Reading = Reading()
    """How to read the folders of data."""
    resume: bool = False
    """Go on with the run that was stopped in `out`."""
    licences: tuple[str, ...] = ()
    """Stated in the weight file: under which terms the data came."""
