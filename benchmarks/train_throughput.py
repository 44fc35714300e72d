"""Training throughput of leadline against a plain loop: same net, loss, batches and machine.

    python benchmarks/train_throughput.py [--net litedepth] [--rounds 3] [--batch 8] [--workers 2] [--processes 2]

The plain loop is the one that anyone would write first: eager float32 in NCHW, torch's own depthwise convolution and
optimiser; frames from disk through torch's DataLoader with `--workers` (by default a worker for each core), which
decode and augment each 480x640 frame anew. Leadline chooses its workers itself. Four kinds, each in a process of its
own, so that peak memory is its own:

    plain, fit           one batch that lies ready in memory: the step alone
    plain-disk, train    from disk: the whole of `leadline train`, its cache already filled by a run before
    train-2              `train` in two processes, each with half of the batch and of the cores (--processes 2)

The kinds alternate (A B A B), and what counts is the ratio inside a pair.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from leadline.core.machine import usable_cores

WARM_UP = 3
STEPS = {"fastdepth": 12, "litedepth": 40}
FRAMES = 96


def plain(given: argparse.Namespace) -> float:
    """Images per second of the plain loop on a batch in memory."""
    image, target = _ready(given)
    return _plain_loop(given, itertools.repeat((image, target)), WARM_UP)


def plain_disk(given: argparse.Namespace) -> float:
    """Images per second of the plain loop, which decodes and augments."""
    import numpy as np
    from torch.utils.data import DataLoader
    from torch.utils.data import Dataset as TorchDataset

    from leadline.data.layouts.detect import open_dataset
    from leadline.data.loader import collate

    data, transform, rng = open_dataset(given.data, "train"), _transform(given.net), np.random.default_rng()

    class Frames(TorchDataset[Any]):
        def __len__(self) -> int:
            return len(data)

        def __getitem__(self, i: int) -> Any:
            return transform(data[i], rng)

    batches = DataLoader(
        Frames(), given.batch, shuffle=True, drop_last=True, num_workers=given.workers,
        collate_fn=lambda items: collate(items, pad=True), persistent_workers=given.workers > 0,
    )  # fmt: skip
    endless = itertools.chain.from_iterable(itertools.repeat(batches))
    return _plain_loop(given, ((b.image.contiguous(), b.target) for b in endless), _used_up(given.workers))


def _plain_loop(given: argparse.Namespace, batches: Iterator[tuple[Any, Any]], warm_up: int) -> float:
    import torch

    from leadline.nn import zoo
    from leadline.nn.build import build
    from leadline.nn.depthwise import set_fast_backward_

    net = build(zoo.spec(given.net), seed=0).train()
    set_fast_backward_(net, False)  # torch's own depthwise convolution, not ours
    net.head.start_at(2.5)
    optimizer = torch.optim.SGD(net.parameters(), 0.01, momentum=0.9, weight_decay=1e-4)
    steps = STEPS[given.net]
    for step in range(warm_up + steps):
        if step == warm_up:
            start = time.perf_counter()
        image, target = next(batches)
        optimizer.zero_grad()
        out = net(image)
        if out.shape != target.shape:
            out = torch.nn.functional.interpolate(out, size=target.shape[-2:])
        ((out - target).abs() * (target > 0)).sum().div((target > 0).sum()).backward()
        optimizer.step()
    return steps * given.batch / (time.perf_counter() - start)


def fit(given: argparse.Namespace) -> float:
    """Images per second of `leadline.training.fit.fit` with its defaults on a batch in memory."""
    import torch

    from leadline.data.batch import Batch

    image, target = _ready(given)
    sample = Batch(image, target, torch.ones_like(target, dtype=torch.bool), tuple("x" * given.batch))
    return _fit_rate(given, lambda start: itertools.repeat(sample), WARM_UP, None)


def train(given: argparse.Namespace) -> float:
    """Images per second of all that `leadline train` does: cache, workers, augmentation, steps."""
    import torch

    from leadline.data.loader import enough_workers
    from leadline.data.options import View
    from leadline.pipelines import train as cli_train
    from leadline.training.options import FitOptions, Training

    steps, rates = STEPS[given.net], []
    warm_up = _used_up(enough_workers(int(os.environ.get("WORLD_SIZE", "1")), torch.cuda.is_available()))

    def timed(net: Any, batches: Any, *others: Any, **named: Any) -> Any:
        rates.append(_fit_rate(given, batches, warm_up, named.get("finish")))
        raise _Measured

    fit_net, cli_train.fit = cli_train.fit, timed
    with tempfile.TemporaryDirectory() as out:
        run = Training(
            data=(given.data,), out=Path(out), model=given.net, batch=given.batch, val_every=0,
            transform="litedepth" if given.net == "litedepth" else "view", view=View(),
            fit=FitOptions(steps=warm_up + steps + 1),
        )  # fmt: skip
        with contextlib.suppress(_Measured):
            cli_train.train(run)
    cli_train.fit = fit_net
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    return rates[0]


def _used_up(workers: int) -> int:
    """Steps after which the batches are gone that workers had prepared while nothing was timed."""
    return 4 * workers + WARM_UP


class _Measured(Exception):
    """The rate is known; the rest of the run is of no interest."""


def _fit_rate(given: argparse.Namespace, batches: Any, warm_up: int, finish: Any) -> float:
    """Images per second between two calls for a batch, of `fit` itself."""
    from functools import partial

    from leadline.nn import zoo
    from leadline.nn.build import build
    from leadline.training.fit import fit as fit_net
    from leadline.training.losses import l1, supervised
    from leadline.training.options import FitOptions

    times: list[float] = []

    def noted(start: int) -> Iterator[Any]:
        for batch in batches(start):
            yield batch
            times.append(time.perf_counter())

    steps = STEPS[given.net]
    net = build(zoo.spec(given.net), seed=0)
    net.head.start_at(2.5)
    options = FitOptions(steps=warm_up + steps + 2, log_every=10**6)
    fit_net(net, noted, partial(supervised, l1), options, finish=finish)
    return steps * given.batch / (times[warm_up + steps] - times[warm_up])


def _ready(given: argparse.Namespace) -> tuple[Any, Any]:
    import torch

    torch.manual_seed(0)
    size, depth = ((128, 160), (480, 640)) if given.net == "litedepth" else ((224, 224), (224, 224))
    return torch.rand(given.batch, 3, *size), torch.rand(given.batch, 1, *depth) * 4 + 0.5


def _transform(net: str) -> Any:
    from leadline.data.transforms.augment import augment
    from leadline.data.transforms.r2crop import r2crop

    return r2crop if net == "litedepth" else augment


def write_frames(folder: Path) -> None:
    """JPEG photographs of smooth noise and 16-bit depth, 480x640, as cameras store them."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for part in ("images", "depth"):
        (folder / part).mkdir(parents=True)
    for i in range(FRAMES):
        coarse = Image.fromarray(rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)).resize((640, 480), 3)
        coarse.save(folder / "images" / f"{i:03}.jpg", quality=92)
        depth = np.linspace(800, 6000, 480)[:, None] + rng.normal(0, 20, (480, 640))
        Image.fromarray(depth.astype(np.uint16)).save(folder / "depth" / f"{i:03}.png")
    (folder / "dataset.toml").write_text('layout = "folder"\ndepth_scale = 1000\nsplit = "train"\n')


KINDS = {"plain": plain, "fit": fit, "plain-disk": plain_disk, "train": train}


def measured(kind: str, given: argparse.Namespace, net: str) -> dict[str, float]:
    """Images per second and peak memory of one kind, in a process (or two) of its own."""
    flags = ["--only", kind.removesuffix("-2"), "--net", net, "--batch", str(given.batch)]
    flags += ["--workers", str(given.workers), "--data", given.data]
    start, around = [sys.executable], dict(os.environ)
    if kind == "train-2":
        start += ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"]
        start += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
        around["OMP_NUM_THREADS"] = str(max(1, usable_cores() // 2))
    done = subprocess.run([*start, __file__, *flags], capture_output=True, text=True, check=False, env=around)
    if done.returncode:
        raise SystemExit(f"{kind} failed:\n{done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))
    return found


def show(rows: dict[str, list[dict[str, float]]], pair: tuple[str, str]) -> None:
    for kind in pair:
        rates = [row["images_per_s"] for row in rows[kind]]
        spread, peak = f"({min(rates):.1f} to {max(rates):.1f})", statistics.median(r["peak_mib"] for r in rows[kind])
        print(f"  {kind:<10} {statistics.median(rates):7.1f} images/s {spread}, peak {peak:.0f} MiB")
    ratios = [b["images_per_s"] / a["images_per_s"] for a, b in zip(rows[pair[0]], rows[pair[1]], strict=True)]
    spread = f"({min(ratios):.2f} to {max(ratios):.2f})"
    print(f"  {pair[1]} / {pair[0]}: {statistics.median(ratios):.2f} {spread} over {len(ratios)} pairs", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--net", nargs="+", choices=STEPS, default=list(STEPS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--workers", type=int, default=usable_cores(), help="of the plain loop")
    parser.add_argument("--processes", type=int, choices=(1, 2), default=1)
    parser.add_argument("--data", default="", help="a folder of frames; by default some are made up")
    parser.add_argument("--only", choices=KINDS)
    given = parser.parse_args()
    if given.only:
        given.net = given.net[0]
        rate, peak = KINDS[given.only](given), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        if int(os.environ.get("RANK", "0")) == 0:
            print(json.dumps({"images_per_s": rate, "peak_mib": peak}))
        return
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LEADLINE_CACHE"] = str(Path(folder) / "cache")
        if not given.data:
            given.data = str(Path(folder) / "frames")
            write_frames(Path(given.data))
        pairs = [("plain", "fit"), ("plain-disk", "train")]
        pairs += [("train", "train-2")] if given.processes == 2 else []
        for net in given.net:
            print(f"{net}, batches of {given.batch}, the plain loop with {given.workers} workers")
            measured("train", given, net)  # fills the cache
            for pair in pairs:
                rows: dict[str, list[dict[str, float]]] = {kind: [] for kind in pair}
                for _ in range(given.rounds):
                    for kind in pair:
                        rows[kind].append(measured(kind, given, net))
                show(rows, pair)


if __name__ == "__main__":
    main()
