"""How long the help of each verb is, and how soon commands answer that need no torch: the tables of docs/cli.md.

    python benchmarks/command_line.py [--runs 7]

Each command is a process of its own; its times are medians of the runs, with the start of Python in them. Processor
seconds count the process's own work only, whatever else runs on the machine.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import statistics
import subprocess
import sys
import time

from leadline.cli.command import Verbs
from leadline.cli.main import VERBS, main
from leadline.core.report import grid

ANSWERS = (
    "--help",
    "predict --help",
    "prune --help",
    "list",
    "info fastdepth_small",
    "predict . --fov 0",
    "predict . --modle x",
    "val --data . --protocol nyu-eigen@2",
    "train --data . --out run --loss l3",
    "export fastdepth --runtime onnx --out x.foo",
)
"""Commands without work; the last five are wrong."""


def names(verbs: Verbs, before: str = "") -> list[str]:
    """All verbs, `data check` and the like as two words."""
    found = []
    for name, verb in verbs.items():
        found += [before + name] if callable(verb) else names(verb, f"{before}{name} ")
    return found


def printed(words: str) -> str:
    """What a command prints on standard output."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        main(words.split())
    return out.getvalue()


def seconds(words: str) -> tuple[float, float]:
    """How long the command takes, Python's start included, and how long a processor works for it."""
    before, start = os.times(), time.perf_counter()
    subprocess.run([sys.executable, "-m", "leadline", *words.split()], capture_output=True, check=False)
    end, after = time.perf_counter(), os.times()
    worked = after.children_user - before.children_user + after.children_system - before.children_system
    return end - start, worked


def run() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=7)
    n = parser.parse_args().runs
    rows = [["verb", "lines of --help", "lines of --help-all"]]
    for verb in names(VERBS):
        rows.append([verb, *(str(printed(f"{verb} {flag}").count("\n")) for flag in ("--help", "--help-all"))])
    print(grid(rows), end="\n\n")
    rows = [["command", "seconds", "processor seconds"]]
    for words in ANSWERS:
        medians = map(statistics.median, zip(*(seconds(words) for _ in range(n)), strict=True))
        rows.append([f"`leadline {words}`", *(f"{median:.2f}" for median in medians)])
    print(grid(rows))


if __name__ == "__main__":
    run()
