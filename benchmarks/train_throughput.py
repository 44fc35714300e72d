"""Training throughput of `fit` against a plain eager float32 NCHW loop: same net, same batches, same machine.

    python benchmarks/train_throughput.py [--rounds 3] [--steps 12] [--batch 8]

Each run has a process of its own, so that peak memory is its own; the two kinds alternate (A B A B), and what counts is
the ratio of their median times. Batches lie ready in memory: this measures the step, not the reading.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

WARM_UP = 3


def plain(steps: int, batch: int) -> float:
    """Images per second of the loop that anyone would write first."""
    import torch

    from leadline.nn import zoo
    from leadline.nn.build import build

    net = build(zoo.fastdepth(), seed=0).train()
    for block in net.modules():  # torch's own depthwise convolution, not ours
        block.__class__ = torch.nn.Conv2d if isinstance(block, torch.nn.Conv2d) else block.__class__
    net.head.start_at(2.5)
    optimizer = torch.optim.SGD(net.parameters(), 0.01, momentum=0.9, weight_decay=1e-4)
    image, target = _batch(batch)
    for step in range(WARM_UP + steps):
        if step == WARM_UP:
            start = time.perf_counter()
        optimizer.zero_grad()
        (net(image) - target).abs().mean().backward()
        optimizer.step()
    return steps * batch / (time.perf_counter() - start)


def fit(steps: int, batch: int) -> float:
    """Images per second of `leadline.train.fit` with its defaults."""
    from functools import partial

    import torch

    from leadline.losses import l1, supervised
    from leadline.nn import zoo
    from leadline.nn.build import build
    from leadline.options import FitOptions
    from leadline.train import fit as fit_net
    from leadline.types import Sample

    image, target = _batch(batch)
    sample = Sample(image, target, torch.ones_like(target, dtype=torch.bool), tuple("x" * batch))
    times: list[float] = []

    def batches(_: int) -> Iterator[Sample]:
        for _ in itertools.count():
            times.append(time.perf_counter())
            yield sample

    net = build(zoo.fastdepth(), seed=0)
    net.head.start_at(2.5)
    options = FitOptions(steps=WARM_UP + steps + 1, log_every=10**6)
    fit_net(net, batches, partial(supervised, l1), options)
    return steps * batch / (times[WARM_UP + steps] - times[WARM_UP])


def _batch(n: int) -> tuple[object, object]:
    import torch

    torch.manual_seed(0)
    return torch.rand(n, 3, 224, 224), torch.rand(n, 1, 224, 224) * 4 + 0.5


KINDS = {"plain": plain, "fit": fit}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--only", choices=KINDS)
    given = parser.parse_args()
    if given.only:
        rate = KINDS[given.only](given.steps, given.batch)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"images_per_s": rate, "peak_mib": peak}))
        return
    runs: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    for _ in range(given.rounds):
        for kind in KINDS:
            flags = ["--only", kind, "--steps", str(given.steps), "--batch", str(given.batch)]
            done = subprocess.run([sys.executable, __file__, *flags], capture_output=True, text=True, check=True)
            runs[kind].append(json.loads(done.stdout.splitlines()[-1]))
    for kind, rows in runs.items():
        rates = [row["images_per_s"] for row in rows]
        peak = statistics.median(row["peak_mib"] for row in rows)
        spread = f"({min(rates):.1f} to {max(rates):.1f})"
        print(f"{kind:<6} {statistics.median(rates):6.1f} images/s {spread}, peak {peak:.0f} MiB")
    ratios = [b["images_per_s"] / a["images_per_s"] for a, b in zip(runs["plain"], runs["fit"], strict=True)]
    spread = f"({min(ratios):.2f} to {max(ratios):.2f})"
    print(f"fit / plain: {statistics.median(ratios):.2f} {spread} over {given.rounds} pairs")


if __name__ == "__main__":
    main()
