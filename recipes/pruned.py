"""Pruning that is real: NetAdapt and joint masks, and what they are compared with.

    python -m recipes.pruned netadapt_macs --data DATA --out runs/netadapt_macs.safetensors

DATA is the folder that holds `nyu`, `nyu_raw` and `drive`. What each run reached stands in docs/results.md.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import tyro

from leadline.options import FitOptions
from leadline.options_prune import NetAdapt, Pruning
from recipes import fastdepth

_SHORT = FitOptions(steps=10, optimizer="adamw", lr=2e-4, weight_decay=0.01, schedule="constant", clip=1.0)


def netadapt_macs(data: Path, out: Path, seed: int = 0) -> Pruning:
    """The shipped fastdepth to half of its multiply-accumulates, as published, and the training that made it again at
    a lower rate.
    """
    training = fastdepth.short(data, Path(), out, seed)
    fit = replace(training.fit, steps=2000, lr=5e-4, warmup=50)
    return Pruning(
        "netadapt",
        "macs=0.5x",
        out,
        replace(training, model="fastdepth", init=None, fit=fit),
        netadapt=NetAdapt(first_step=0.07, short=replace(_SHORT, seed=seed), processes=2, threads=1),
    )


def netadapt_latency(data: Path, out: Path, seed: int = 0) -> Pruning:
    """To half of its latency in OpenVINO, one thread."""
    return replace(netadapt_macs(data, out, seed), budget="latency_ms=0.5x", runtime="openvino", threads=1)


RUNS = {f.__name__: f for f in (netadapt_macs, netadapt_latency)}


def main(name: tyro.conf.Positional[str], /, *, data: Path, out: Path, seed: int = 0, resume: bool = False) -> None:
    """Run one recipe.

    Args:
        name: netadapt_macs or netadapt_latency
        data: the folder that holds nyu, nyu_raw and drive
        out: the file to write
        seed: of batches
        resume: go on with a run that was stopped
    """
    from leadline.command import complain
    from leadline.pruning import run

    if name not in RUNS:
        raise SystemExit(f"the recipe {name!r} is unknown; known: {', '.join(RUNS)}")
    run(RUNS[name](data, out, seed), resume=resume, say=complain)


if __name__ == "__main__":
    tyro.cli(main)
