"""The options of pruning, from which `leadline prune` makes its flags."""

from __future__ import annotations

import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from leadline.core.allowed import ABOVE_0, FROM_0, INSIDE, UP_TO_1, at_least, between, check, one_of, require
from leadline.training.options import FitOptions, Training

Method = Literal[
    "netadapt",
    "masks",
    "layers",
    "gates",
    "widths",
    "l1",
    "l2",
    "bn",
    "taylor",
    "taylor_gate",
    "taylor_output",
    "rank",
    "random",
]
Criterion = Literal["imprinting", "weight", "taylor_weight", "taylor_output", "taylor_gate", "bn", "ensemble"]
_SHORT = FitOptions(steps=20, optimizer="adamw", lr=2e-4, schedule="constant", clip=1.0)
_BETWEEN = FitOptions(steps=100, optimizer="adamw", lr=2e-4, schedule="constant", clip=1.0)
_MASKED = FitOptions(steps=600, optimizer="adam", lr=1e-4, weight_decay=0.0, schedule="constant", clip=1.0)
METHODS: tuple[Method, ...] = typing.get_args(Method)
CRITERIA: tuple[Criterion, ...] = typing.get_args(Criterion)


@dataclass(frozen=True, kw_only=True)
class NetAdapt:
    """How NetAdapt searches. Published for ImageNet (Yang et al. 2018): first steps of a few percent, decay 0.96 or
    0.98, 40 000 images in a short training.
    """

    first_step: float = 0.05
    """How much of the unpruned cost the first iteration saves."""
    decay: float = 0.96
    """Each further iteration saves so much of what the one before it did."""
    max_iterations: int = 100
    rule: Literal["accuracy", "ratio"] = "accuracy"
    """Which candidate stays: that of the highest accuracy, or of the least loss for what it saves."""
    short: FitOptions = _SHORT
    """The training of each candidate."""
    momentum: float = 0.3
    """In it, batch norms' statistics move so fast (elsewhere 0.1): they must follow the cut within few steps."""
    train: bool = True
    """Train candidates before they are measured."""
    images: int = 0
    """Candidates are compared on so many images of the validation split, evenly spaced; 0: on all of them."""
    processes: int = 1
    """That make candidates side by side."""
    threads: int | None = None
    """Of each process; None: PyTorch's own choice."""

    def __post_init__(self) -> None:
        check(self, rule=one_of("accuracy", "ratio"), first_step=INSIDE, decay=UP_TO_1, momentum=UP_TO_1)
        check(self, max_iterations=at_least(1), processes=at_least(1), threads=at_least(1), images=at_least(0))


@dataclass(frozen=True, kw_only=True)
class Masks:
    """How joint masks are learned (Elkerdawy et al. 2019); the authors published no values."""

    mode: Literal["total", "task"] = "total"
    """total: task and sparsity; task: the task alone decides what goes."""
    regulariser: Literal["plain", "cost"] = "plain"
    """What a channel that is on costs: 1, as published, or in proportion to what it adds to the budget's cost."""
    strength: float = 1e-5
    """Weight of the sparsity; with a target, where the net costs just what is planned."""
    target: float | None = None
    """The part of the cost to be kept, which the strength is controlled to reach; None: what the budget leaves."""
    controlled: bool = True
    """Control the strength so that the target is reached; a fixed strength ignores the budget: try several."""
    target_at: float = 0.7
    """Part of the run after which the target is to be reached."""
    tolerance: float = 0.02
    """The weight is e times as large for each such part of the cost above the plan."""
    start: float = 0.3
    """First value of all masks; a channel is on above 0."""
    lr_scale: float = 100.0
    """A mask moves so many times as fast as a weight (under Adam)."""
    fit: FitOptions = _MASKED
    """The training of masks and weights together."""

    def __post_init__(self) -> None:
        check(
            self, target=INSIDE, strength=ABOVE_0, tolerance=ABOVE_0, start=ABOVE_0, lr_scale=ABOVE_0, target_at=UP_TO_1
        )
        check(self, mode=one_of("total", "task"), regulariser=one_of("plain", "cost"))
        require(
            (
                self.target is None or self.controlled,
                f"masks.target is {self.target}, which a fixed strength cannot reach; leave one out",
            )
        )


@dataclass(frozen=True, kw_only=True)
class Gates:
    """How gates learn (Elkerdawy et al. 2022)."""

    ratio: float | None = None
    """A filter is needed as long as the hottest ones have at most this part of the heat; None: what the budget leaves,
    by the multiply-accumulates that are expected before any training."""
    mode: Literal["decoupled", "joint"] = "decoupled"
    """decoupled: the predictors' error reaches the predictors alone; joint: the net, too."""
    weight: float = 10.0
    """Of the predictors' error. With sgd and decoupled it is their learning rate over the net's, 10 as published."""
    until: float = 0.5
    """Part of the training after which the predictors stay as they are."""

    def __post_init__(self) -> None:
        check(self, ratio=UP_TO_1, weight=ABOVE_0, until=UP_TO_1, mode=one_of("decoupled", "joint"))


@dataclass(frozen=True, kw_only=True)
class Nested:
    """How a net learns to run with its first filters alone, too."""

    levels: int = 1
    """How many narrower widths there are; the narrowest meets the budget, others lie between it and the whole net."""
    distill: float = 1.0
    """Each width also imitates the whole net's answer, with this weight; 0: it learns from the data alone."""

    def __post_init__(self) -> None:
        check(self, levels=between(1, 3), distill=FROM_0)


@dataclass(frozen=True, kw_only=True)
class PruneOptions:
    """How a net is pruned: everything of a run but the training."""

    method: Method
    """netadapt: greedy, layer by layer; masks: learned with the weights; layers: whole blocks are left out; gates:
    filters are switched on and off for each image, to a budget of MACs; widths: the net that can also run with its
    first filters alone; the others: a score for each channel, and one
    threshold for all of them."""
    budget: str
    """[KIND=]VALUE, KIND one of params, macs, bytes, latency; VALUE a number (800k, 1.5MB, 5ms, 30fps) or a part of
    what the net has (0.5x, 50%), without KIND of its MACs, or with a runtime of its latency."""
    out: Path
    """The file to write; a folder of the same name without its ending holds what is needed to go on."""
    runtime: str | None = None
    """For latency: what runs the net, such as openvino."""
    threads: int | None = None
    """For latency: its threads; by default every core."""
    netadapt: NetAdapt = NetAdapt()
    masks: Masks = Masks()
    gates: Gates = Gates()
    nested: Nested = Nested()
    multiple: int = 8
    """Widths are multiples of this."""
    layers: tuple[str, ...] = ()
    """Only groups of channels (method layers: blocks) whose names start so may shrink; `leadline info MODEL --channels`
    names the groups. None: all.
    The paper on masks: encoder.convs decoder.upconvs of monodepth."""
    criterion: Criterion = "imprinting"
    """Of `layers`: what a block is worth."""
    rounds: int = 1
    """Scores and layers: the budget is approached in so many steps, each but the last followed by `between`."""
    between: FitOptions = _BETWEEN
    """Scores: the training between two rounds."""
    n_batches: int = 16
    """Scores: batches of which they are the mean."""
    finetune: bool = True
    """Train the pruned net."""
    distill_weight: float = 0.0
    """In that training the unpruned net is the teacher: weight of mean |ln p - ln t|, t its answer. 0: only the data
    does.
    """
    reinit: bool = False
    """Forget the weights after pruning and train the small shape from scratch, for comparison."""
    name: str | None = None
    """The net's new name; by default it keeps its own."""

    def __post_init__(self) -> None:
        check(
            self,
            method=one_of(*METHODS),
            criterion=one_of(*CRITERIA),
            multiple=at_least(1),
            rounds=at_least(1),
            n_batches=at_least(1),
        )
        check(self, threads=at_least(1), distill_weight=FROM_0)
        require(
            (
                self.out.suffix == ".safetensors",
                f"out is {self.out}; the pruned net is a checkpoint, its name ends in .safetensors",
            ),
            (
                not self.reinit or self.finetune,
                "new weights without a training are of no use; leave --reinit out, or let it train",
            ),
            (
                self.method not in ("gates", "widths") or (self.finetune and not self.reinit),
                "gates and widths learn in the training, from the net's own weights; leave --no-finetune and --reinit "
                "out",
            ),
        )


@dataclass(frozen=True, kw_only=True)
class Pruning(PruneOptions):
    """One pruning run, completely."""

    training: Training
    """How the net learns: data, loss, batches, and the long training after pruning (fit.steps)."""


@dataclass(frozen=True, kw_only=True)
class AcceptanceCriteria:
    """When a file of lower precision is good: it is worse by at most `max_drop` in `metric`, and faster than its
    float32 twin.

    Worse is lower for deltas and higher for errors (`metrics.worse_by`). Images that the float32 twin can be measured
    on and the file cannot make it infinitely worse. `force` hands over the best file there is, good or not.
    """

    protocol: str = "indoor-metric@1"
    """How accuracy is measured, as in `leadline val`."""
    metric: str = "delta1"
    """The protocol's figure that decides: delta1, or an error such as rmse, of which less is better."""
    max_drop: float = 0.01
    """By how much the file may be worse in it, in its unit."""
    force: bool = False
    """Write the best file even if none is good."""
    threads: int | None = None
    """Threads of the runtime; by default every core."""

    def __post_init__(self) -> None:
        check(self, max_drop=FROM_0, threads=at_least(1))
