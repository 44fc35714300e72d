"""How many synthetic scenes a second are drawn, by several processes of one thread each: images/s on standard output.

python benchmarks/synthetic_speed.py --workers 2 --n 64 --kind room
"""

from __future__ import annotations

import argparse
import os
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from leadline.data.dataset import Dataset
from leadline.data.synthetic.dataset import synthetic


def _draw(data: Dataset, index: int) -> int:
    return int(data[index].image.size)


def images_per_second(data: Dataset, workers: int) -> float:
    """Drawn scenes per second of wall-clock time; the start of the processes and their textures do not count."""
    draw = partial(_draw, data)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        list(pool.map(draw, range(4 * workers)))
        start = time.perf_counter()
        list(pool.map(draw, range(len(data)), chunksize=2))
        return len(data) / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=64, help="scenes")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kind", choices=("room", "street", "mixed"), default="room")
    parser.add_argument("--size", type=int, nargs=2, default=(240, 320), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--textures", type=Path, help="a folder of photographs; without it textures are drawn")
    parser.add_argument("--stereo", action="store_true", help="draw the right view, too")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # read by the spawned processes
    data = synthetic(
        options.n, kind=options.kind, size=tuple(options.size), textures_folder=options.textures, stereo=options.stereo
    )
    speed = images_per_second(data, options.workers)
    size = "x".join(str(side) for side in options.size)
    print(f"{options.kind} {size} stereo={options.stereo} processes={options.workers}: {speed:.1f} images/s")


if __name__ == "__main__":
    main()
