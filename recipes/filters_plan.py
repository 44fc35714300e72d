"""The runs of `recipes.filters_layers_gates`: which nets, which rows of each table, and how a row learns."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

from leadline.compress.options import CRITERIA, METHODS, Criterion, Gates, Masks, Method, Nested, NetAdapt, Pruning
from leadline.core.spec import Encoder, Spec
from leadline.data.dataset import Dataset
from leadline.data.layouts.detect import open_dataset
from leadline.data.options import View
from leadline.nn import widths, zoo
from leadline.pipelines.training_data import split_validation
from leadline.training.options import FitOptions, Training

Precision = Literal["auto", "no", "bf16"]
HANDCRAFTED, BASELINE = "handcrafted", "baseline"
RUNTIME, THREADS = "onnx", 1
"""Where a latency budget is measured."""
FILTERS: tuple[Method, ...] = ("l2", "taylor", "masks", "netadapt")
LATENCIES = ("latency=0.65x", "latency=0.8x", "latency=0.5x")
MACS = ("macs=0.5x", "macs=0.7x", "macs=0.35x")
"""Three budgets; the middle one is run first. Gates and widths save multiply-accumulates for each image alone."""
VAL_EVERY = 10
LEVELS = 2
"""So many narrower widths has a nested net."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of a net's table. `budget` is as `leadline prune` takes it; r=0.92 for gates of that ratio; of
    `handcrafted` it is the smaller net's name.
    """

    method: str
    budget: str = ""
    criterion: str = ""

    @property
    def name(self) -> str:
        """The row's folder, without the seed."""
        return "-".join(filter(None, (self.method, self.criterion, self.budget.replace("=", "-"))))


@dataclass(frozen=True, kw_only=True)
class Study:
    """One net of the comparison: its data, how it is measured, how a pruned net learns, and its rows."""

    net: str
    folder: str
    """The data set's folder."""
    title: str
    protocol: str
    metric: str
    batch: int
    fit: FitOptions
    """The training of a pruned net."""
    epochs: float = 0.0
    """Its length in passes over the training part; 0: `fit.steps`."""
    start: FitOptions
    """The training of a net from nothing: a baseline, or a smaller net."""
    start_epochs: float = 0.0
    loss: tuple[str, ...] = ("cross_entropy",)
    transform: Literal["view", "crop_flip", "labels"] = "crop_flip"
    view: View = View()
    own_validation: bool = False
    """The data set has a part `val`; without it a part of the training part is kept."""
    rows: tuple[Row, ...]


_CLASSES = FitOptions(optimizer="sgd", lr=0.01, momentum=0.9, weight_decay=5e-4, schedule="cosine", log_every=50)
_DEPTH = FitOptions(
    steps=600, optimizer="adamw", lr=5e-4, weight_decay=0.01, warmup=50, clip=1.0, freeze_bn_after=0.9
)  # fmt: skip
_STREETS = FitOptions(steps=300, optimizer="adamw", lr=3e-4, weight_decay=0.05, warmup=15, clip=1.0)


def _of(methods: tuple[str, ...], budgets: tuple[str, ...], criteria: tuple[str, ...] = ("",)) -> tuple[Row, ...]:
    return tuple(Row(method=m, budget=b, criterion=c) for b in budgets for m in methods for c in criteria)


def _whole(gates: tuple[str, ...], smaller: tuple[str, ...]) -> tuple[Row, ...]:
    """The rows of a whole table."""
    return (
        *_of(FILTERS, LATENCIES),
        *_of(("layers",), LATENCIES, CRITERIA),
        *_of(("widths",), MACS),
        *_of(("gates",), gates),
        *_of((HANDCRAFTED,), smaller),
    )


def _cifar(net: str, rows: tuple[Row, ...]) -> Study:
    return Study(
        net=net, folder="cifar10", title="CIFAR-10", protocol="top1@1", metric="top1", batch=128, fit=_CLASSES,
        epochs=5, start=replace(_CLASSES, lr=0.1), start_epochs=20, rows=rows,
    )  # fmt: skip


_HALF = (
    *_of(("l2", "taylor"), LATENCIES),
    *_of(("layers",), LATENCIES, ("imprinting", "taylor_gate")),
    *_of(("widths",), MACS),
)
_ONE_LAYER = _of(("layers",), LATENCIES[:1], ("imprinting",))

STUDIES: dict[str, Study] = {
    study.net: study
    for study in (
        _cifar("resnet56", _whole((*MACS, "r=0.8"), ("resnet44", "resnet32", "resnet20"))),
        Study(
            net="fastdepth", folder="nyu", title="NYU Depth v2", protocol="nyu-eigen@1", metric="delta1", batch=8,
            fit=_DEPTH, start=replace(_DEPTH, steps=2000, lr=2e-3, warmup=200), loss=("log_l1", "log_gradient:0.3"),
            transform="view", rows=_whole(MACS, ("fastdepth_pruned",)),
        ),
        Study(
            net="skipnet_mobilenet", folder="camvid", title="CamVid", protocol="miou@1", metric="miou", batch=8,
            fit=_STREETS, start=replace(_STREETS, steps=4000, lr=1e-3, warmup=200), transform="labels",
            view=View(zoom=(1.0, 2.25), stretch=1.2, rotate=0, jitter=0.3, colour_shift=0.1), own_validation=True,
            rows=_HALF,
        ),
        _cifar("vgg16_bn", (*_of(("gates",), ("r=0.92", "r=0.85")), *_ONE_LAYER)),
        _cifar("mobilenet_v1_32", (*_of(("gates",), ("r=1",)), *_ONE_LAYER)),
    )
}  # fmt: skip


def study_of(net: str) -> Study:
    """The Study of a net; an unknown name ends the program with those known."""
    if net not in STUDIES:
        raise SystemExit(f"the net {net!r} is unknown; known: {', '.join(STUDIES)}")
    return STUDIES[net]


def checked(row: Row) -> Row:
    """The row, with the first criterion where layers name none; one that cannot be ends the program with the reason."""
    if row.method not in (*METHODS, HANDCRAFTED):
        raise SystemExit(f"the method {row.method!r} is unknown; known: {', '.join((*METHODS, HANDCRAFTED))}")
    if row.criterion and row.method != "layers":
        raise SystemExit(f"criterion is {row.criterion!r}, and the method {row.method}; only layers have one")
    if row.criterion not in ("", *CRITERIA):
        raise SystemExit(f"the criterion {row.criterion!r} is unknown; known: {', '.join(CRITERIA)}")
    if row.budget.startswith("r=") and row.method != "gates":
        raise SystemExit(f"the budget is {row.budget}, a ratio of gates, and the method {row.method}; give macs=0.5x")
    return replace(row, criterion=CRITERIA[0]) if row.method == "layers" and not row.criterion else row


def smaller(study: Study, name: str) -> Spec:
    """The Spec of a net that somebody made small by hand; one that is unknown ends the program with those known."""
    known = [row.budget for row in study.rows if row.method == HANDCRAFTED]
    if name not in known:
        raise SystemExit(f"{name!r} is no smaller {study.net}; known: {', '.join(known) or 'none'}")
    if name in zoo.names(None):
        return zoo.spec(name)
    return replace(zoo.spec(study.net), name=name, encoder=Encoder(name, widths.RESNET_CIFAR))


def parts_of(study: Study, data: Path) -> tuple[Dataset, Dataset]:
    """(what a row learns from, what it is validated on). A set without enough images for both ends the program."""
    folder = data / study.folder
    if study.own_validation:
        return open_dataset(folder, "train"), open_dataset(folder, "val")
    run = Training(data=(str(folder),), out=Path("unused"), val_every=VAL_EVERY)
    learned, validation = split_validation(run, open_dataset(folder, "train"), lambda _: None)
    if validation is None:
        raise SystemExit(f"{folder} has too few images for a validation split; give the whole set")
    return learned, validation


@dataclass(frozen=True, kw_only=True)
class Learning:
    """How long and how a row learns, where not as its study says."""

    epochs: float = 0.0
    """Passes over the training part; 0: as the recipe says."""
    steps: int = 0
    """Batches instead of passes."""
    seed: int = 0
    """Of weights and batches."""
    precision: Precision = "auto"
    """bf16 where the processor computes it faster; auto: with AMX only."""
    workers: int = -1
    """Processes that prepare batches; 0: the training itself."""


def training_of(study: Study, data: Path, out: Path, fit: FitOptions, how: Learning) -> Training:
    """A training of the study's data by `fit`, whose steps count."""
    fit = replace(fit, seed=how.seed, precision=how.precision, save_every=max(1, min(200, fit.steps // 5)))
    return Training(
        data=(str(data / study.folder),), out=out, model=study.net, batch=study.batch, loss=study.loss,
        transform=study.transform, view=study.view, fit=fit, val_every=0 if study.own_validation else VAL_EVERY,
        protocol=study.protocol, workers=how.workers,
    )  # fmt: skip


def with_length(
    fit: FitOptions, study: Study, learned: int, epochs: float, steps: int, warm_up: float = 0.0
) -> FitOptions:
    """`fit` with `steps`, or 0: those of `epochs` over `learned` images, or 0: its own. `warm_up`: a part of them; 0:
    no more than a tenth.
    """
    steps = steps or (round(epochs * learned / study.batch) if epochs else fit.steps)
    steps = max(1, steps)
    return replace(fit, steps=steps, warmup=int(warm_up * steps) if warm_up else min(fit.warmup, steps // 10))


def pruning_of(row: Row, training: Training, source: Path, out: Path) -> Pruning:
    """The pruning run of a row: the net at `source` to the budget, then as long a training as the other rows have.

    Masks learn for 2 of 5 parts of it, with the weights.
    """
    latency = row.budget.startswith("latency")
    method = cast(Method, row.method)
    more: dict[str, Any] = {}
    budget = row.budget
    if budget.startswith("r="):
        budget, more = "macs=0.999x", {"gates": Gates(ratio=float(budget[2:]))}
    if method == "layers":
        more = {"criterion": cast(Criterion, row.criterion)}
    if method == "widths":
        more = {"nested": Nested(levels=LEVELS)}
    fit = training.fit
    short = FitOptions(
        optimizer="adamw", lr=2e-4, weight_decay=0.01, schedule="constant", clip=1.0, seed=fit.seed,
        precision=fit.precision,
    )  # fmt: skip
    if method == "netadapt":
        search = NetAdapt(first_step=0.08, short=replace(short, steps=5), images=500, threads=1)
        more = {"netadapt": search}
    if method == "masks":
        learning = max(1, round(0.4 * fit.steps))
        fit = replace(fit, steps=max(1, fit.steps - learning))
        masks = Masks(fit=replace(short, steps=learning, lr=3e-4), lr_scale=33.0)
        more = {"masks": replace(masks, regulariser="cost")}
    return Pruning(
        method=method, budget=budget, out=out, runtime=RUNTIME if latency else None,
        threads=THREADS if latency else None, training=replace(training, model=str(source), fit=fit), **more,
    )  # fmt: skip
