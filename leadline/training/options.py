"""The options of the long verbs: dataclasses, from which the command line makes its flags without loading torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from leadline.core.allowed import (
    ABOVE_0,
    BELOW_1,
    FROM_0,
    PART,
    SEED,
    UP_TO_1,
    at_least,
    check,
    each,
    one_of,
)
from leadline.data.options import R2Crop, Reading, Stereo, View


@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """How to train. FastDepth's published schedule: sgd, lr 0.01, momentum 0.9, weight decay 1e-4, step."""

    steps: int = 1000
    """Length of the run: how many batches."""
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    """sgd, adam: weight decay is part of the gradient, of all weights; adamw: apart from it, none on vectors."""
    lr: float = 0.01
    """The highest learning rate of the run."""
    momentum: float = 0.9
    """Of sgd."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Of adam and adamw."""
    eps: float = 1e-8
    """Of adam and adamw."""
    weight_decay: float = 1e-4
    schedule: Literal["cosine", "step", "constant", "poly", "halve"] = "cosine"
    """How the learning rate falls; halve: to 1/2 after 60 % of the steps and to 1/4 after 80 % (monodepth)."""
    warmup: int = 0
    """Steps over which the learning rate rises."""
    warmup_from: float = 0.0
    """The part of the learning rate that the first step has; 0: 1 / warmup."""
    step_every: float = 0.25
    """`schedule=step`: the learning rate is multiplied by 0.1 after each such part of the run."""
    power: float = 0.9
    """`schedule=poly`: the exponent of the part that is left."""
    lr_end: float = 0.0
    """`schedule=poly`: the part of the learning rate at which it ends."""
    clip: float = 0.0
    """Largest norm of the gradient; 0: any."""
    ema: float = 0.0
    """Decay of the running mean of the weights that is returned; 0: the weights themselves."""
    freeze_bn_after: float = 1.0
    """Part of the run after which batch norms keep their statistics."""
    precision: Literal["auto", "no", "bf16"] = "auto"
    """bf16 arithmetic; auto: where the processor multiplies matrices of it (AMX, a GPU)."""
    channels_last: bool = True
    """Keep the channels of images and weights last in memory, which most processors compute faster."""
    compile: bool = False
    """Compile the net with torch.compile; needs a C++ compiler, on a GPU Triton."""
    depthwise: Literal["own", "torch"] = "own"
    """On a CPU: whose backward pass of depthwise convolutions; the results differ by rounding."""
    seed: int = 0
    save_every: int = 200
    validate_every: int = 0
    """Steps between validations; 0: only at the end."""
    log_every: int = 20

    def __post_init__(self) -> None:
        check(self, steps=at_least(1), save_every=at_least(1), log_every=at_least(1), validate_every=at_least(0))
        check(self, optimizer=one_of("sgd", "adam", "adamw"), lr=ABOVE_0, momentum=BELOW_1, betas=each(BELOW_1, 2))
        check(self, eps=ABOVE_0, weight_decay=FROM_0, clip=FROM_0, ema=BELOW_1, freeze_bn_after=PART, seed=SEED)
        check(self, schedule=one_of("cosine", "step", "constant", "poly", "halve"), warmup=at_least(0))
        check(self, warmup_from=PART, lr_end=PART, step_every=UP_TO_1, power=ABOVE_0)
        check(self, precision=one_of("auto", "no", "bf16"), depthwise=one_of("own", "torch"))


@dataclass(frozen=True, kw_only=True)
class JointLoss:
    """`loss=joint`: what a net of depth and labels is trained with."""

    depth: tuple[str, ...] = ("log_l1",)
    """The losses of the depth, as `loss` names them, with their weights."""
    label_weight: float = 1.0
    """The weight of the labels' cross-entropy beside them."""

    def __post_init__(self) -> None:
        check(self, label_weight=ABOVE_0)


@dataclass(frozen=True, kw_only=True)
class Training:
    """One training run, completely."""

    data: tuple[str, ...]
    """Folders of data; FOLDER:N puts N of its images into each batch. FILE.py:NAME is a function of your own that gives
    the data set."""
    out: Path
    """Where checkpoints, curves, pictures and run.json go."""
    model: str = "fastdepth"
    """A net of the zoo, or a checkpoint file to go on from."""
    pretrained: bool = False
    """Start from the weights that ship under the model's name instead of fresh ones."""
    head: Literal["joint", "labels"] | None = None
    """Give the net of --model, which knows depth, another last layer for the classes of the data: joint, depth and a
    class in each pixel; labels, classes alone.
    """
    init: Path | None = None
    """An int8 .tflite classifier, or MXNet Gluon's .safetensors: the encoder's first weights."""
    batch: int = 8
    """Images in a batch, shared out evenly where --data names no number."""
    epochs: float | None = None
    """Length of the run in passes over the first data set; sets fit.steps."""
    loss: tuple[str, ...] = ("l1",)
    """Names of losses, added; NAME:W gives one the weight W, NAME:W@map compares at the net's own resolution.
    FILE.py:NAME is a function of your own, (pred, target, valid) -> scalar. `stereo` stands alone: it learns from pairs
    of views without depth; so do `cross_entropy`, for classes, and `joint`, for depth and classes.
    """
    weighting: Literal["fixed", "dynamic"] = "fixed"
    """Of several losses: as `loss` says, or learned on top of that (LiteDepth's dynamic re-weighting)."""
    transform: Literal["view", "fastdepth", "litedepth", "hu", "crop_flip", "labels", "joint"] = "view"
    """Random cut-outs as `view` says, or the published list of FastDepth, LiteDepth (as `r2crop` says) or Hu et al.;
    crop_flip: CIFAR's, for classes; labels, joint: as `view`, for a class in each pixel, and for depth and class."""
    view: View = View()
    r2crop: R2Crop = R2Crop()
    stereo: Stereo = Stereo()
    """What `loss=stereo` does; it takes the place of `transform` and `view`."""
    joint: JointLoss = JointLoss()
    """What `loss=joint` adds up."""
    fit: FitOptions = FitOptions()
    val_every: int = 10
    """Every N-th block of 20 images of the first data set is kept for validation, of a small set at least 8 images or a
    third; 0: none."""
    protocol: str = "indoor-metric@1"
    """The protocol of the validation."""
    augment: Literal["auto", "workers", "device"] = "auto"
    """Where `transform=view` is done: by the workers, or with the net for a whole batch; auto: so on a GPU."""
    workers: int = -1
    """Processes that prepare batches; -1: as many as the cores bear, 0: the loop itself prepares them."""
    cache_gb: float = 8.0
    """Decoded and shrunk frames are kept in leadline's cache (0.5 MB each at 240x320), at most so many 10^9 bytes for
    all runs together; what does not fit is decoded again and again. 0: nothing is kept.
    """
    autotune: bool = False
    """First measure which precision, memory layout, depthwise kernels, compilation and workers are fastest here."""
    reading: Reading = Reading()
    """How to read the folders of data."""
    resume: bool = False
    """Go on with the run that was stopped in `out`."""
    licences: tuple[str, ...] = ()
    """Stated in the weight file: under which terms the data came."""

    def __post_init__(self) -> None:
        check(self, batch=at_least(1), epochs=ABOVE_0, val_every=at_least(0), workers=at_least(-1), cache_gb=FROM_0)
        check(
            self,
            transform=one_of("view", "fastdepth", "litedepth", "hu", "crop_flip", "labels", "joint"),
            weighting=one_of("fixed", "dynamic"),
        )
        check(self, augment=one_of("auto", "workers", "device"))
