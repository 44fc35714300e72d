"""Folders of training and pruning runs in which a file is damaged, and the same command with --resume."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np

from fuzz.case import Case, pick
from fuzz.damage import damaged
from fuzz.json_damage import changed, odd_text
from fuzz.nets import joined, read_parts, write_nets

Rng = np.random.Generator


def prepare(folder: Path) -> None:
    """A run of two steps of each kind, which has ended."""
    from support.tiny_scenes import render, write_folder

    write_nets(folder / "nets")
    write_folder(folder / "rooms", [render(seed, size=(48, 64)) for seed in range(4)])
    (folder / "rooms" / "dataset.toml").write_text('layout = "folder"\ndepth_scale = 1000\ntest_fraction = 0.5\n')
    for kind, words in COMMANDS.items():
        _run(folder, folder / kind, words, resume=False)


def make(rng: Rng, folder: Path, prepared: Path) -> Case:
    """A copy of a run's folder with one file damaged."""
    kind = pick(rng, COMMANDS)
    shutil.copytree(prepared / kind, folder / kind)
    files = sorted(p for p in (folder / kind).rglob("*") if p.suffix in (".json", ".safetensors"))
    path = pick(rng, files)
    where = path.relative_to(folder)
    turn = rng.random()
    if turn < 0.2:
        done, data = damaged(rng, path.read_bytes())
    elif path.suffix == ".json":
        done, plain = changed(rng, json.loads(path.read_bytes())) if turn < 0.7 else odd_text(rng)
        data = (json.dumps(plain) if turn < 0.7 else plain).encode("utf-8", "surrogatepass")
    else:
        header, body = read_parts(path)
        done, header["__metadata__"] = changed(rng, header["__metadata__"])
        data = joined(header, body)
    path.write_bytes(data)
    return Case(f"{where}: {done}", lambda: _run(prepared, folder / kind, COMMANDS[kind], resume=True), told=True)


def _run(home: Path, out: Path, words: tuple[str, ...], *, resume: bool) -> None:
    from leadline.cli.main import main

    given = [word.format(home=home, out=out) for word in words]
    code = main([*given, *(["--resume"] if resume else [])])
    assert code != 2 and (resume or code == 0), f"the words {given} ended with {code}"


_FIT = ("--fit.steps", "2", "--fit.precision", "no", "--fit.save-every", "1", "--batch", "2", "--val-every", "0")
COMMANDS = {
    "trained": (
        "train", "--data", "{home}/rooms", "--out", "{out}/run", "--model", "{home}/nets/fastdepth.safetensors", *_FIT,
        "--view.size", "32", "48", "--workers", "0", "--cache-gb", "0",
    ),
    "pruned": (
        "prune", "{home}/nets/fastdepth.safetensors", "--method", "l1", "--budget", "macs=0.9x", "--data",
        "{home}/rooms",
        "--out", "{out}/small.safetensors", "--multiple", "1", *_FIT, "--view.size", "32", "48",
    ),
}  # fmt: skip
