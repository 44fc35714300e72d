"""The verb `prune`: a net pruned to a budget, trained again, and compared with what it was."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from leadline.cli.command import check_writable, names, print_json, progress, warn
from leadline.cli.early import PLOTS, check_ending, check_layout, check_model, check_protocol_names, check_runtimes
from leadline.cli.flags import AS_SAID, Read
from leadline.cli.say import closing, inform
from leadline.cli.short_help import short_help
from leadline.compress.cost.budget import parse
from leadline.compress.options import Method, PruneOptions, Pruning
from leadline.core.spec import Kind
from leadline.core.tasks import protocol_for, reading_for, task_of
from leadline.core.text import shown
from leadline.data.options import Stereo, View
from leadline.nn.files import read_spec
from leadline.training.loss_names import check_loss_names
from leadline.training.options import FitOptions, Training

_LONG = FitOptions(steps=1500, optimizer="adamw", lr=5e-4, weight_decay=0.01, warmup=50, clip=1.0, freeze_bn_after=0.9)


@dataclass(frozen=True, kw_only=True)
class _Pruning(PruneOptions):
    """With words for the values, and `-o`."""

    method: Annotated[Method, arg(metavar="METHOD")]
    """One of netadapt (greedy, layer by layer), masks (learned together with the weights), layers (whole blocks, by
    --criterion), gates (filters on and off for each image), widths (the first filters run alone, too), or a score for
    each channel: l1, l2, bn, taylor, taylor_gate, taylor_output, rank, random."""
    budget: Annotated[str, arg(metavar="BUDGET")]
    out: Annotated[Path, arg(aliases=["-o"], metavar="FILE")]
    runtime: Annotated[str | None, arg(metavar="NAME")] = None
    threads: Annotated[int | None, arg(metavar="N")] = None
    layers: Annotated[tuple[str, ...], arg(metavar="NAME ...")] = ()
    name: Annotated[str | None, arg(metavar="NAME")] = None


@dataclass(frozen=True, kw_only=True)
class _Training:
    """What of a `Training` pruning lets people choose."""

    data: Annotated[tuple[str, ...], arg(metavar="FOLDER ...")]
    """Folders to learn from; FOLDER:N puts N of its images into each batch."""
    batch: int = 8
    """Images in a batch."""
    epochs: float | None = None
    """Length of the training in passes over the first folder; sets fit.steps."""
    loss: tuple[str, ...] = ()
    """Names of losses, as in `leadline train`; by default log_l1 log_gradient:0.3, of classes cross_entropy."""
    fit: FitOptions = _LONG
    """The training of the pruned net."""
    view: View = View()
    """How a frame is looked at in training."""
    stereo: Stereo = Stereo()
    """What the loss `stereo` does."""
    val_every: int = 10
    """Every N-th block of 20 images of the first folder is kept for validation, which netadapt needs."""


@short_help(
    {
        "Method and budget": "--method --budget --runtime --threads",
        "Data and results": "--data --out --measure",
        "Training": "--finetune --fit.steps --fit.lr",
    },
    "leadline prune fastdepth --method l2 --budget 50% --data NYU -o x.safetensors",
    "leadline prune litedepth --method l1 --budget 0.7x --data NYU -o x.safetensors",
)
def prune(
    model: Annotated[str, arg(metavar="NAME|FILE")],
    /,
    *,
    how: Annotated[_Pruning, arg(name="")],
    learning: Annotated[_Training, arg(name="")],
    protocol: Annotated[str, arg(metavar="NAMES")] = "indoor-metric@1",
    measure: Annotated[str, arg(metavar="RUNTIMES")] = "",
    plot: Annotated[Path | None, arg(metavar="FILE")] = None,
    reading: Read = AS_SAID,
    resume: bool = False,
    json: bool = False,
) -> int:
    """Remove whole channels of a net until the budget is met, and train what is left. The file is a checkpoint.

    It holds the numbers that the model is stored in, float16 or float32.

    Args:
        model: a net that ships with leadline, or a checkpoint
        how: how it is pruned, and to what
        learning: how it learns
        protocol: how accuracy is measured, before and after, on the test part of the first folder; names with commas
        measure: runtimes, with commas between, in which both nets are timed
        plot: draw the widths that each layer kept into this file
        reading: how to read the data
        resume: go on with the run that was stopped
        json: print one JSON object
    """
    protocols, runtimes = names(protocol, "protocol"), names(measure or None, "measure")
    check_model(model)
    own = read_spec(model).head.kind
    learning = replace(learning, loss=learning.loss or task_of(own).pruned_loss)
    check_loss_names(learning.loss)
    check_protocol_names(protocols)
    check_layout(reading.layout)
    check_runtimes(*runtimes, *([how.runtime] if how.runtime else []))
    parse(how.budget, how.runtime, how.threads if how.runtime else None)
    check_ending("plot", plot, PLOTS)
    from leadline.core.machine import check_threads
    from leadline.core.report import table
    from leadline.core.writing import may_be_written
    from leadline.data.layouts.detect import open_dataset
    from leadline.evaluation.evaluate import check_protocols
    from leadline.nn.files import find
    from leadline.pipelines.prune import run
    from leadline.pipelines.prune_report import compared, draw_widths
    from leadline.pipelines.training_data import shares
    from leadline.runtime import installed

    for needed in [*runtimes, *([how.runtime] if how.runtime else [])]:
        installed(needed)  # what cannot run should fail now, not after the work
    check_threads(how.threads)
    folders = shares(learning.data, learning.batch)[0]
    if plot is not None:
        may_be_written(plot, reads=[find(model), how.out], apart=folders, advice="give another --plot")
        check_writable(plot)
    folder = folders[0]
    kind: Kind = "metric" if "stereo" in learning.loss else own
    test = open_dataset(folder, "test", **{**reading_for(kind), **reading.given()})
    if len(test):
        protocols = (protocol_for(kind, protocols[0]),) if len(protocols) == 1 else protocols
        check_protocols(protocols, kind, test)
    else:
        warn(f"{folder} has no test images: nothing will be said of accuracy")
    training = Training(model=model, out=how.out, protocol=protocols[0], reading=reading, **vars(learning))
    timed = {"threads": how.threads if how.runtime else None}  # without a runtime they are those of --measure alone
    pruned = run(Pruning(**vars(how) | timed, training=training), resume=resume, say=inform, progress=progress)
    reports = compared(
        pruned.before, pruned.after, files=(find(model), how.out), runtimes=runtimes, threads=how.threads,
        data=test if len(test) else None, protocols=protocols, narrower=pruned.narrower,
    )  # fmt: skip
    if plot is not None:
        draw_widths(pruned.before, pruned.after, plot)
    if json:
        print_json({"out": str(how.out), "reports": [report.to_json() for report in reports]})
    else:
        print(table(reports))
        closing(f"\nwrote {shown(how.out)}, in {pruned.stored} as {model}")
    return 0
