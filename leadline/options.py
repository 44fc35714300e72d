"""The options of the long verbs: dataclasses, from which the command line makes its flags without loading torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from leadline.allowed import (
    ABOVE_0,
    BELOW_1,
    FROM_0,
    PART,
    SEED,
    SIZE,
    SPAN,
    UP_TO_1,
    at_least,
    between,
    check,
    each,
    one_of,
)

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

    size: tuple[int, int] | None = None
    """The net's input; None: as the net says. Later photographs are brought to it, too."""
    zoom: tuple[float, float] = (1.0, 1.5)
    stretch: float = 1.0
    rotate: float = 5.0
    shift: float = 1.0
    flip: float = 0.5
    jitter: float = 0.4
    colour_shift: float = 0.0

    def __post_init__(self) -> None:
        check(self, size=SIZE, zoom=SPAN, stretch=between(0.1, 10), rotate=between(0, 180))
        check(self, shift=PART, flip=PART, jitter=PART, colour_shift=BELOW_1)

    @property
    def pixels(self) -> tuple[int, int]:
        """`size`, or where there is no net to ask, FastDepth's."""
        return self.size or (224, 224)


@dataclass(frozen=True)
class Stereo:
    """`loss=stereo`: how a net learns from pairs of views alone. monodepth's published values (Godard et al. 2017)."""

    size: tuple[int, int] | None = None
    """Both views are brought to this size, and so are later photographs; None: the net's own."""
    ssim: float = 0.85
    """Part of (1 - SSIM) / 2 in the comparison of views; the rest is the mean absolute difference."""
    smoothness: float = 0.1
    """Weight of disparity edges where the image has none, halved at each coarser scale."""
    vertical: bool = True
    """Smooth down the columns too, as the paper says; the authors' code does so along the rows only."""
    consistency: float = 1.0
    """Weight of the difference between the left and the right view's disparities."""
    scales: int = 4
    """How many of the net's maps count, finest first."""
    flip: float = 0.5
    """Probability of mirrored views, which change places."""
    colours: float = 0.5
    """Probability of other colours, the same in both views, drawn from the next three ranges."""
    gamma: tuple[float, float] = (0.8, 1.2)
    brightness: tuple[float, float] = (0.5, 2.0)
    tint: tuple[float, float] = (0.8, 1.2)
    """A factor for each of red, green and blue."""
    cut_bottom: float = 0.0
    """Lowest part of the views that is cut away; Cityscapes' bonnet: 0.2."""

    def __post_init__(self) -> None:
        check(self, size=SIZE, ssim=PART, flip=PART, colours=PART, cut_bottom=BELOW_1, scales=one_of(1, 2, 3, 4))
        check(self, smoothness=FROM_0, consistency=FROM_0, gamma=SPAN, brightness=SPAN, tint=SPAN)


@dataclass(frozen=True)
class R2Crop:
    """LiteDepth's training list, see `data.r2crop`; the numbers are the published ones. Ranges are uniform around 0,
    those of colours around 1.
    """

    crop: bool = True
    """Cut-outs of random size; without, always the whole frame."""
    sizes: tuple[tuple[int, int], ...] = ((240, 384), (360, 512), (480, 640))
    """What may be cut out of a frame of the size `frame`; of other frames as much in proportion."""
    frame: tuple[int, int] = (480, 640)
    image: tuple[int, int] = (128, 160)
    """The size of a whole frame's image; that of a cut-out is as much smaller."""
    depth: tuple[int, int] = (480, 640)
    """The size of a whole frame's depth, by nearest neighbour. At the published size the loss costs three times as much
    as the net; (120, 160) takes 16 of the 225 targets that each pixel of the net's map is compared with."""
    rotate: float = 2.5
    """Degrees."""
    rotate_chance: float = 0.5
    flip: float = 0.5
    gamma: float = 0.1
    brightness: float = 0.25
    colour: float = 0.1
    """Of each channel by itself."""

    def __post_init__(self) -> None:
        check(self, frame=SIZE, image=SIZE, depth=SIZE, rotate=between(0, 180), rotate_chance=PART, flip=PART)
        check(self, gamma=BELOW_1, brightness=PART, colour=PART)
        large = [f"{h}x{w}" for h, w in self.sizes if not (0 < h <= self.frame[0] and 0 < w <= self.frame[1])]
        if large or not self.sizes:
            said = f"the crop {large[0]}" if large else "a list of no crops"
            frame = f"{self.frame[0]}x{self.frame[1]}"
            raise ValueError(f"{said} does not fit into an image of {frame}; crops of 1x1 to {frame} are allowed")
        for name in ("image", "depth"):
            for cut in self.sizes:
                if min(round(cut[i] * getattr(self, name)[i] / self.frame[i]) for i in (0, 1)) < 1:
                    raise ValueError(f"the crop {cut[0]}x{cut[1]} has no pixel in {name} {getattr(self, name)}")


@dataclass(frozen=True)
class Reading:
    """How to read a folder of data where its dataset.toml is silent or wrong; what is given here counts."""

    layout: str | None = None
    """Read it as this layout, whatever its files look like."""
    depth_key: str | None = None
    """Of files that hold several arrays, channels or pages: the name of the one that is depth."""
    depth_scale: float | None = None
    """Stored units per metre of its depth files."""
    depth_offset: float | None = None
    """Added to stored values before dividing."""
    depth_rotated: int | None = None
    """16-bit values were rotated left by so many bits; SUN RGB-D has 3."""
    ray_distance: bool | None = None
    """Whether its numbers are distances along each pixel's ray; its intrinsics turn them into depth."""
    invalid: tuple[float, ...] | None = None
    """The stored values that mean no depth; -1: there are none."""
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
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    """sgd, adam: weight decay is part of the gradient, of all weights; adamw: apart from it, none on vectors."""
    lr: float = 0.01
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
    still_after: float = 1.0
    """Part of the run after which batch norms keep their statistics."""
    precision: Literal["auto", "no", "bf16"] = "auto"
    """bf16 arithmetic; auto: where the processor multiplies matrices of it (AMX, a GPU)."""
    channels_last: bool = True
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
        check(self, eps=ABOVE_0, weight_decay=FROM_0, clip=FROM_0, ema=BELOW_1, still_after=PART, seed=SEED)
        check(
            self,
            schedule=one_of("cosine", "step", "constant", "poly", "halve"),
            warmup=at_least(0),
            warmup_from=PART,
            lr_end=PART,
        )
        check(self, step_every=UP_TO_1, power=ABOVE_0, warmup_from=PART, lr_end=PART)
        check(self, precision=one_of("auto", "no", "bf16"), depthwise=one_of("own", "torch"))


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

    def __post_init__(self) -> None:
        check(self, precision=one_of("fp32", "fp16", "bf16", "int8"), frame=SIZE, trials=at_least(0))


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
    """An int8 .tflite classifier, or MXNet Gluon's .safetensors: the encoder's first weights."""
    batch: int = 8
    """Images in a batch, shared out evenly where --data names no number."""
    epochs: float | None = None
    """Length of the run in passes over the first data set; sets fit.steps."""
    loss: tuple[str, ...] = ("l1",)
    """Names of losses, added; NAME:W gives one the weight W, NAME:W@map compares at the net's own resolution. `stereo`
    stands alone: it learns from pairs of views without depth.
    """
    weighting: Literal["fixed", "dynamic"] = "fixed"
    """Of several losses: as `loss` says, or learned on top of that (LiteDepth's dynamic re-weighting)."""
    transform: Literal["view", "fastdepth", "litedepth", "hu"] = "view"
    """Random cut-outs as `view` says, or the published list of FastDepth, LiteDepth (as `r2crop` says) or Hu et al."""
    view: View = View()
    r2crop: R2Crop = R2Crop()
    stereo: Stereo = Stereo()
    """What `loss=stereo` does; it takes the place of `transform` and `view`."""
    fit: FitOptions = FitOptions()
    choose: int = 10
    """Every so-manieth block of 20 images of the first data set is kept for validation; 0: none."""
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
        check(self, batch=at_least(1), epochs=ABOVE_0, choose=at_least(0), workers=at_least(-1), cache_gb=FROM_0)
        check(self, transform=one_of("view", "fastdepth", "litedepth", "hu"), weighting=one_of("fixed", "dynamic"))
        check(self, augment=one_of("auto", "workers", "device"))
