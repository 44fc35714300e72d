"""How far a latency table's sums are from the measured times of whole nets, in widths nobody measured.

    python benchmarks/latency_table.py [--runtime openvino] [--model fastdepth] [--nets 8] [--threads 1]

The nets are the model in widths drawn by lot, a quarter to all of each group, and the model at four even widths. The
table and all nets are measured in one run; the errors are ratios. `spread` says how quiet the machine was: where the
times of one net differ by more than the error, the error is the machine's.
"""

from __future__ import annotations

import argparse

import torch

import leadline
from leadline.compress.cost.latency import table, table_error
from leadline.compress.pruning.importance import random
from leadline.compress.pruning.surgery import keep_topk, prune, round_to_multiple
from leadline.compress.pruning.trace import trace


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runtime", default="openvino")
    parser.add_argument("--model", default="fastdepth")
    parser.add_argument("--nets", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    net = leadline.load(options.model)
    size = net.spec.preprocess.size
    channels = trace(net, torch.zeros(1, 3, *size))
    scores = random(net, channels, seed=options.seed)
    draw = torch.Generator().manual_seed(options.seed)
    lots = [{name: 0.25 + 0.75 * float(torch.rand((), generator=draw)) for name in scores} for _ in range(options.nets)]
    shares = {f"drawn {i}": lot for i, lot in enumerate(lots)}
    shares |= {f"all {share}": dict.fromkeys(scores, share) for share in (0.25, 0.5, 0.75, 0.9)}
    nets, sizes = {}, {group: len(score) for group, score in scores.items()}
    for name, lot in shares.items():
        widths = {group: round_to_multiple(int(share * sizes[group]), sizes[group], 8) for group, share in lot.items()}
        nets[name] = prune(net, channels, keep_topk(scores, widths))

    found = table(net, size, options.runtime, threads=options.threads, say=print)
    report = table_error(net, size, found, nets)
    assert report.latency_ms is not None and report.context is not None
    print(f"{options.model}, {options.runtime}, {options.threads} threads: {report.latency_ms['median']:.3f} ms")
    for name, (predicted, measured) in report.context["nets"].items():
        print(f"{name:10} predicted {predicted:7.3f} ms, measured {measured:7.3f} ms, {predicted / measured - 1:+.1%}")
    print(", ".join(f"{name} {value:.1%}" for name, value in report.metrics.items()))


if __name__ == "__main__":
    main()
