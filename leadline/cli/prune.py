"""The verb `prune`: a net pruned to a budget, trained again, and compared with what it was."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from leadline.cli.command import check_writable, names, print_json, progress, warn
from leadline.cli.flags import AS_SAID, Read
from leadline.cli.say import closing, inform
from leadline.compress.options import Masks, Method, NetAdapt, Pruning
from leadline.core.text import shown
from leadline.data.options import Stereo, View
from leadline.training.options import FitOptions, Training

# what a flag says by default
_NETADAPT, _MASKS, _VIEW, _STEREO = NetAdapt(), Masks(), View(), Stereo()
_LONG = FitOptions(steps=1500, optimizer="adamw", lr=5e-4, weight_decay=0.01, warmup=50, clip=1.0, freeze_bn_after=0.9)


def prune(
    model: Annotated[str, arg(metavar="NAME|FILE")],
    /,
    *,
    method: Method,
    budget: Annotated[str, arg(metavar="BUDGET")],
    data: Annotated[tuple[str, ...], arg(metavar="FOLDER ...")],
    out: Annotated[Path, arg(aliases=["-o"], metavar="FILE")],
    runtime: Annotated[str | None, arg(metavar="NAME")] = None,
    threads: Annotated[int | None, arg(metavar="N")] = None,
    layers: Annotated[tuple[str, ...], arg(metavar="NAME ...")] = (),
    multiple: int = 8,
    rounds: int = 1,
    netadapt: NetAdapt = _NETADAPT,
    masks: Masks = _MASKS,
    batch: int = 8,
    loss: tuple[str, ...] = ("log_l1", "log_gradient:0.3"),
    fit: FitOptions = _LONG,
    view: View = _VIEW,
    stereo: Stereo = _STEREO,
    val_every: int = 10,
    finetune: bool = True,
    distill_weight: float = 0.0,
    reinit: bool = False,
    name: Annotated[str | None, arg(metavar="NAME")] = None,
    protocol: Annotated[str, arg(metavar="NAMES")] = "indoor-metric@1",
    measure: Annotated[str, arg(metavar="RUNTIMES")] = "",
    plot: Annotated[Path | None, arg(metavar="FILE")] = None,
    reading: Read = AS_SAID,
    resume: bool = False,
    json: bool = False,
) -> int:
    """A smaller net: whole channels are removed until the budget is met, and it is trained. The file is a checkpoint.

    It holds the numbers that the model is stored in, float16 or float32.

    Args:
        model: a net that ships with leadline, or a checkpoint
        method: netadapt (greedy, layer by layer), masks (learned together with the weights), or a score for each
            channel: l1, l2, bn, taylor, taylor_gate, taylor_output, rank, random
        budget: params, macs, bytes (of a file in half precision) or latency (with --runtime): params=800k, 1.5MB, 5ms,
            30fps, or a part of what the net has: macs=0.5x, macs=50%
        data: folders to learn from; FOLDER:N puts N of its images into each batch
        out: the checkpoint to write; a folder of that name without its ending holds what --resume needs
        runtime: latency_ms: what runs the net, such as openvino
        threads: threads of the runtimes; by default every core
        layers: only groups of channels whose names start so may shrink; see `leadline info MODEL --channels`
        multiple: widths are multiples of this
        rounds: scores: the budget is approached in so many rounds, with 100 steps of training between them
        netadapt: how NetAdapt searches
        masks: how joint masks are learned
        batch: images in a batch
        loss: names of losses, as in `leadline train`
        fit: the training of the pruned net
        view: how a frame is looked at in training
        stereo: what the loss `stereo` does
        val_every: every N-th block of 20 images of the first folder is kept for validation, which netadapt needs
        finetune: whether the pruned net is trained
        distill_weight: in that training the unpruned net is the teacher, too: weight of the mean |ln p - ln t|, t its
            answer
        reinit: forget its weights first, to see what they are worth
        name: the net's new name
        protocol: how accuracy is measured, before and after, on the test part of the first folder; names with commas
        measure: runtimes, with commas between, in which both nets are timed
        plot: draw the widths that each layer kept into this file
        reading: how to read the data
        resume: go on with the run that was stopped
        json: print one JSON object
    """
    from leadline.core.machine import check_threads
    from leadline.core.report import table
    from leadline.core.writing import may_be_written
    from leadline.data.layouts.detect import open_dataset
    from leadline.evaluation.evaluate import check_protocols
    from leadline.nn.checkpoint import find, load
    from leadline.pipelines.prune import run
    from leadline.pipelines.prune_report import check_picture, compared, draw_widths
    from leadline.pipelines.training_data import shares
    from leadline.runtime import installed

    protocols, runtimes = names(protocol, "protocol"), names(measure or None, "measure")
    for needed in [*runtimes, *([runtime] if runtime else [])]:
        installed(needed)  # what cannot run should fail now, not after the work
    check_threads(threads)
    if plot is not None:
        check_picture(plot)
    folders = shares(data, batch)[0]
    if plot is not None:
        may_be_written(plot, reads=[find(model), out], apart=folders, advice="give another --plot")
        check_writable(plot)
    folder = folders[0]
    test = open_dataset(folder, "test", **reading.given())
    if len(test):
        check_protocols(protocols, "metric" if "stereo" in loss else load(model).spec.head.kind, test)
    else:
        warn(f"{folder} has no test images: nothing will be said of accuracy")
    training = Training(
        data, out, model, batch=batch, loss=loss, view=view, stereo=stereo, fit=fit, val_every=val_every,
        protocol=protocols[0], reading=reading,
    )  # fmt: skip
    pruned = run(
        Pruning(
            method, budget, out, training, runtime, threads if runtime else None, netadapt, masks, multiple, layers,
            rounds, finetune=finetune, distill_weight=distill_weight, reinit=reinit, name=name,
        ),
        resume=resume,
        say=inform,
        progress=progress,
    )  # fmt: skip
    reports = compared(
        pruned.before, pruned.after, files=(find(model), out), runtimes=runtimes, threads=threads,
        data=test if len(test) else None, protocols=protocols,
    )  # fmt: skip
    if plot is not None:
        draw_widths(pruned.before, pruned.after, plot)
    if json:
        print_json({"out": str(out), "reports": [report.to_json() for report in reports]})
    else:
        print(table(reports))
        closing(f"\nwrote {shown(out)}, in {pruned.stored} as {model}")
    return 0
