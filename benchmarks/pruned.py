"""A pruned net in each runtime: its time over that of the net it came from, and, with --data, its accuracy there.

    python benchmarks/pruned.py [fastdepth_small] [--before fastdepth] [--runtimes onnx,ncnn] [--data DATA/nyu]

Both nets are timed in turns in one run, float32, 100 calls; a ratio whose percentiles overlap with another's says that
the two cannot be told apart. The accuracy is that of the exported file on every fourth test image (`nyu-eigen@1`).
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import leadline
from leadline.compress.cost.count import macs
from leadline.compress.cost.latency import timed
from leadline.data.dataset import subset
from leadline.data.layouts.detect import open_dataset
from leadline.evaluation.evaluate import evaluate
from leadline.predict.predictor import load_predictor
from leadline.runtime import BACKENDS, suffix
from leadline.runtime.export import export


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("after", nargs="?", default="fastdepth_small")
    parser.add_argument("--before", default="fastdepth")
    parser.add_argument("--runtimes", default=",".join(BACKENDS))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--data", type=Path)
    options = parser.parse_args()

    nets = {"before": leadline.load(options.before), "after": leadline.load(options.after)}
    size = nets["before"].spec.preprocess.size
    print(f"MACs {macs(nets['after'], size) / macs(nets['before'], size):.3f}")
    test = None if options.data is None else open_dataset(options.data, "test")
    for runtime in options.runtimes.split(","):
        times = timed(nets, size, runtime, threads=options.threads, n=100)
        ratio = times["after"].median / times["before"].median
        spans = [f"{t.median:.2f} ({t.p10:.2f} to {t.p90:.2f})" for t in times.values()]
        print(f"{runtime:10} {ratio:.3f}: {' -> '.join(spans)} ms", flush=True)
        if test is None:
            continue
        with tempfile.TemporaryDirectory() as folder:
            file = export(options.after, runtime, Path(folder) / f"net{suffix(runtime)}")
            found = evaluate(load_predictor(str(file)), subset(test, range(0, len(test), 4)), "nyu-eigen@1")
        print(f"{'':10} delta1 {found.metrics['delta1']:.4f}, abs_rel {found.metrics['abs_rel']:.4f}, n {found.n}")


if __name__ == "__main__":
    main()
