"""How long the commands of a light install take from typing to the prompt, and how large its venv is.

    python benchmarks/light_install.py [VENV] [--data FOLDER] [--n 5]

VENV is a venv with `leadline[onnx]`, see docs/deploy.md; without it one is made. FOLDER is any data set. Medians of `n`
runs after one that is not counted: wall-clock seconds, which other work on the machine lengthens, and seconds of all
cores.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import tempfile
import time
import venv
from pathlib import Path

import numpy as np
from PIL import Image

from leadline.bench.device import fingerprint

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("venv", type=Path, nargs="?")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--n", type=int, default=5)
    given = parser.parse_args()
    device = fingerprint()
    with tempfile.TemporaryDirectory() as folder:
        home = _made(Path(folder)) if given.venv is None else given.venv.resolve()
        pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((640, 480), Image.Resampling.BICUBIC).save(Path(folder) / "photo.jpg")
        commands = ["predict photo.jpg", "list", "info fastdepth_small", "doctor", "bench fastdepth_small --n 50"]
        if given.data is not None:
            commands.insert(1, f"val --data {given.data.resolve()} --limit 20")
        print("| command | seconds | of all cores |\n|---|---|---|")
        for words in commands:
            wall, cores = _seconds([str(home / "bin" / "leadline"), *words.split()], folder, given.n)
            shown = words.replace(str(given.data and given.data.resolve()), "DATA")
            print(f"| `leadline {shown}` | {wall:.2f} | {cores:.2f} |")
        size = sum(path.lstat().st_blocks for path in home.rglob("*")) * 512 / 2**20
    print(f"\n{size:.0f} MB; {device['cpu']}, {device['usable_cores']} cores, load {os.getloadavg()[0]:.1f}")


def _made(folder: Path) -> Path:
    """A venv of this repository."""
    pip = ["-m", "pip", "--quiet", "install", "--no-compile", "-c", str(ROOT / "constraints.txt"), f"{ROOT}[onnx]"]
    venv.create(folder / "venv", with_pip=True)
    subprocess.run([str(folder / "venv" / "bin" / "python"), *pip], check=True)
    return folder / "venv"


def _seconds(command: list[str], folder: str, n: int) -> tuple[float, float]:
    walls, cores = [], []
    for _ in range(n + 1):
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        walls.append(time.perf_counter() - start)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cores.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return statistics.median(walls[1:]), statistics.median(cores[1:])


if __name__ == "__main__":
    main()
