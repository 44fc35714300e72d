"""How many photographs a second a teacher labels, in one process and by one and two workers of Ray, in turns.

python benchmarks/labelling.py --teacher fastdepth --n 512 --rounds 2
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import tyro

from leadline.data.synthetic.dataset import synthetic, write


def main(
    teacher: str = "fastdepth", n: int = 192, shard: int = 16, rounds: int = 2, photos: Path | None = None
) -> None:
    """Print the rates and their ratio.

    Args:
        teacher: whose answers are stored
        n: how many synthetic photographs are drawn and labelled
        shard: photographs in a file
        rounds: turns of each way
        photos: real ones instead
    """
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        if photos is None:
            photos = root / "photos"
            write(synthetic(n, seed=0), photos)
        rates: dict[int, list[float]] = {0: [], 1: [], 2: []}
        for turn in range(rounds):
            for workers, found in rates.items():
                words = ["label", str(photos), "--split", "all", "--teacher", teacher, "--shard", str(shard), "--json"]
                words += ["--workers", str(workers), "--out", str(root / f"{turn}-{workers}")]
                done = subprocess.run(
                    [sys.executable, "-m", "leadline", *words],
                    capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
                )  # fmt: skip
                found.append(json.loads(done.stdout)["images_per_s"])
        for workers, found in rates.items():
            name = f"{workers} workers" if workers else "no Ray, one thread"
            print(
                f"{name:<20} {statistics.median(found):6.1f} images/s  ({', '.join(f'{rate:.1f}' for rate in found)})"
            )
        ratios = [two / one for one, two in zip(rates[1], rates[2], strict=True)]
        print(f"two workers over one {statistics.median(ratios):6.2f}  ({', '.join(f'{r:.2f}' for r in ratios)})")


if __name__ == "__main__":
    tyro.cli(main)
