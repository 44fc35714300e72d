"""Pruning that is real: NetAdapt and joint masks, and what they are compared with.

    python -m recipes.pruned netadapt_latency --data DATA --out runs/pruned/netadapt_latency.safetensors

DATA is the folder that holds `nyu`, `nyu_raw` and `drive`; `--start` the net that `recipes.monodepth drive_synthetic`
has made, for the runs on stereo pairs. What each run reached stands in docs/results/.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import tyro

from leadline.compress.options import Masks, Method, NetAdapt, Pruning
from leadline.training.options import FitOptions, Training
from recipes import fastdepth, monodepth

_SHORT = FitOptions(steps=10, optimizer="adamw", lr=2e-4, weight_decay=0.01, schedule="constant", clip=1.0)
_FILTERS = ("encoder.convs", "decoder.upconvs")
"""What the paper masks of monodepth."""


def netadapt_macs(data: Path, out: Path, start: Path, seed: int = 0) -> Pruning:
    """The shipped fastdepth to half of its multiply-accumulates, then 5000 steps of 8 beside it as a teacher."""
    training = fastdepth.short(data, Path(), out, seed)
    fit = replace(training.fit, steps=5000, lr=1e-3, warmup=100)
    search = NetAdapt(first_step=0.05, short=replace(_SHORT, seed=seed), processes=2, threads=1)
    training = replace(training, model="fastdepth", init=None, fit=fit)
    return Pruning(
        method="netadapt", budget="macs=0.5x", out=out, training=training, netadapt=search, distill_weight=1.0
    )


def netadapt_latency(data: Path, out: Path, start: Path, seed: int = 0) -> Pruning:
    """To half of its latency in OpenVINO on one thread: `fastdepth_small` in the package."""
    run = netadapt_macs(data, out, start, seed)
    return replace(run, budget="latency_ms=0.5x", runtime="openvino", threads=1, name="fastdepth_small")


def _scored(method: Method, data: Path, out: Path, seed: int) -> Pruning:
    """fastdepth to a fifth of its parameters at once, then 1000 steps of 8."""
    run = netadapt_macs(data, out, Path(), seed)
    training = replace(run.training, fit=replace(run.training.fit, steps=1000, lr=5e-4, warmup=50))
    return Pruning(method=method, budget="params=0.2x", out=out, training=training)


def l2(data: Path, out: Path, start: Path, seed: int = 0) -> Pruning:
    """By the filters' sums of squares."""
    return _scored("l2", data, out, seed)


def bn(data: Path, out: Path, start: Path, seed: int = 0) -> Pruning:
    """By the batch norms' factors."""
    return _scored("bn", data, out, seed)


def taylor(data: Path, out: Path, start: Path, seed: int = 0) -> Pruning:
    """By what the loss would change to first order."""
    return _scored("taylor", data, out, seed)


def random(data: Path, out: Path, start: Path, seed: int = 0) -> Pruning:
    """By lot."""
    return _scored("random", data, out, seed)


def masks(data: Path, out: Path, start: Path, seed: int = 0) -> Pruning:
    """By masks learned with the weights for 400 steps; 600 more of training make it as long as the others."""
    run = _scored("masks", data, out, seed)
    fit = replace(_SHORT, steps=400, lr=3e-4, seed=seed)
    training = replace(run.training, fit=replace(run.training.fit, steps=600))
    return replace(run, training=training, masks=Masks(fit=fit, lr_scale=33.0))


def masks_latency(data: Path, out: Path, start: Path, seed: int = 0) -> Pruning:
    """To half of the latency by masks that weigh what each channel costs there: 800 steps with them, 4200 without."""
    run = netadapt_latency(data, out, start, seed)
    fit = replace(_SHORT, steps=800, lr=3e-4, seed=seed)
    training = replace(run.training, fit=replace(run.training.fit, steps=4200))
    return replace(run, method="masks", training=training, masks=Masks(regulariser="cost", fit=fit, lr_scale=33.0))


def masks_fresh(data: Path, out: Path, start: Path, seed: int = 0) -> Pruning:
    """The shape that `masks` found (if it lies beside `out`, without another search), from fresh weights."""
    run = masks(data, out, start, seed)
    return replace(run, training=_from_nothing(run.training, 1000), reinit=True)


def netadapt_twice(data: Path, out: Path, start: Path, seed: int = 0) -> Pruning:
    """What `netadapt_macs` has trained (beside `out`; 0.59 of the latency) further to half of fastdepth's latency."""
    run = netadapt_latency(data, out, start, seed)
    fit = replace(run.training.fit, steps=2500)
    training = replace(run.training, model=str(out.with_name("netadapt_macs.safetensors")), fit=fit)
    return replace(run, budget="latency_ms=0.82x", training=training)


def netadapt_short(data: Path, out: Path, start: Path, seed: int = 0) -> Pruning:
    """The shape that `netadapt_macs` found (likewise), trained for 2000 steps of 8 without a teacher."""
    run = netadapt_macs(data, out, start, seed)
    fit = replace(run.training.fit, steps=2000, lr=5e-4, warmup=50)
    return replace(run, training=replace(run.training, fit=fit), distill_weight=0.0)


def netadapt_fresh(data: Path, out: Path, start: Path, seed: int = 0) -> Pruning:
    """The same from fresh weights."""
    run = netadapt_short(data, out, start, seed)
    return replace(run, training=_from_nothing(run.training, 2000), reinit=True)


def _from_nothing(training: Training, steps: int) -> Training:
    return replace(training, fit=replace(training.fit, steps=steps, lr=2e-3, warmup=200))


def stereo_l2(data: Path, out: Path, start: Path, seed: int = 0) -> Pruning:
    """monodepth_vgg on the real pairs to a fifth of its parameters, of the filters that the paper masks. 600 steps."""
    training = monodepth.drive(data, Path(), out, seed)
    fit = replace(training.fit, warmup=20, validate_every=0)
    training = replace(training, model=str(start), fit=replace(fit, steps=600))
    return Pruning(method="l2", budget="params=0.2x", out=out, training=training, layers=_FILTERS)


def stereo_taylor(data: Path, out: Path, start: Path, seed: int = 0) -> Pruning:
    """The same by Taylor scores."""
    return replace(stereo_l2(data, out, start, seed), method="taylor")


def stereo_random(data: Path, out: Path, start: Path, seed: int = 0) -> Pruning:
    """The same by lot."""
    return replace(stereo_l2(data, out, start, seed), method="random")


def stereo_masks(data: Path, out: Path, start: Path, seed: int = 0) -> Pruning:
    """The same by joint masks: 300 steps with masks, 300 without."""
    run = stereo_l2(data, out, start, seed)
    training = replace(run.training, fit=replace(run.training.fit, steps=300))
    fit = replace(training.fit, schedule="constant", ema=0.0)
    return replace(run, method="masks", training=training, masks=Masks(fit=fit))


def stereo_task(data: Path, out: Path, start: Path, seed: int = 0) -> Pruning:
    """Masks without a regulariser: the task alone decides (the paper's L_task), to the single channel. They begin at
    0.15: in so few steps none falls from 0.3.
    """
    run = stereo_masks(data, out, start, seed)
    return replace(run, budget="params=0.999x", masks=replace(run.masks, mode="task", start=0.15), multiple=1)


def stereo_same(data: Path, out: Path, start: Path, seed: int = 0) -> Training:
    """The whole net for 600 steps more: what the training alone does."""
    training = stereo_l2(data, out, start, seed).training
    return replace(training, out=out.with_suffix(""))


_SHAPES = (("netadapt_short", "netadapt_macs"), ("netadapt_fresh", "netadapt_macs"), ("masks_fresh", "masks"))
_NETADAPT = (netadapt_macs, netadapt_latency, netadapt_twice, netadapt_short, netadapt_fresh)
_NYU = (*_NETADAPT, l2, bn, taylor, random, masks, masks_latency, masks_fresh)
_STEREO = (stereo_l2, stereo_taylor, stereo_random, stereo_masks, stereo_task, stereo_same)
RUNS = {f.__name__: f for f in (*_NYU, *_STEREO)}


def main(
    name: tyro.conf.Positional[str], /, *, data: Path, out: Path, seed: int = 0,
    start: Path = Path("runs/monodepth_drive/monodepth_vgg.safetensors"), resume: bool = False,
) -> None:  # fmt: skip
    """Run one recipe.

    Args:
        name: one of the functions of this file
        data: the folder that holds nyu, nyu_raw and drive
        out: the file to write
        seed: of batches and fresh weights
        start: the net that the runs on stereo pairs prune
        resume: go on with a run that was stopped
    """
    from leadline.cli.command import warn
    from leadline.cli.train import run_training as train
    from leadline.core.storage import write_atomically
    from leadline.pipelines.prune import run as prune

    if name not in RUNS:
        raise SystemExit(f"the recipe {name!r} is unknown; known: {', '.join(RUNS)}")
    run = RUNS[name](data, out, start, seed)
    for own_name, searched in _SHAPES:
        shape, own = out.parent / searched / "pruned.safetensors", out.with_suffix("") / "pruned.safetensors"
        if name == own_name and shape.exists() and not own.exists():  # spares a second search
            write_atomically(own, shape.read_bytes())
    if isinstance(run, Training):
        train(replace(run, resume=resume))
    else:
        prune(run, resume=resume, say=warn)


if __name__ == "__main__":
    tyro.cli(main)
