"""What `kill -9` does to the long verbs: train, label and prune are killed at random moments and begun again, until
they end; then they must hold what an undisturbed run holds, to the bit.

    python benchmarks/killed.py --times 50            # a table, and exit code 1 if anything was lost
    python benchmarks/killed.py --times 10 --verbs prune --seed 3

Each run is a forked copy of this process, which has loaded everything already: so a kill costs a second, not the ten of
a new Python. Needs Linux or macOS. Data and nets are made up and tiny, one thread computes.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch loads

import numpy as np
from PIL import Image

ANYWHERE = ("tensorboard/", "/.", "proposals_", ".lock", "pieces/")
"""What a run may clear away, or what bears its number: not counted as lost."""


@dataclass(frozen=True)
class Task:
    """A verb, its words (`{out}` stands for where it writes), those that a second start adds, and what must be equal
    at the end, read from the folder it wrote to.
    """

    verb: str
    words: tuple[str, ...]
    again: tuple[str, ...]
    result: Callable[[Path], dict[str, str]]


@dataclass
class Row:
    """What came of a verb."""

    verb: str
    runs: int = 0
    kills: int = 0
    seconds: float = 0.0
    drafts: int = 0
    wrong: list[str] = field(default_factory=list)


def tasks(root: Path) -> list[Task]:
    """The three verbs on what is made up in `root`."""
    frames, net = _frames(root / "frames", 40), _net(root / "net.safetensors")
    common = ("--data", str(frames), "--batch", "2", "--view.size", "32", "64")
    train = (
        "--model", net, "--out", "{out}/run", "--workers", "0", "--val-every", "2", "--fit.steps", "40",
        "--fit.save-every", "3", "--fit.log-every", "5", "--fit.validate-every", "20", "--fit.ema", "0.9",
        "--fit.precision", "no",
    )  # fmt: skip
    prune = (
        net, "--method", "netadapt", "--budget", "macs=0.85x", "--out", "{out}/out.safetensors", "--val-every", "2",
        "--layers", "encoder.blocks.1.", "decoder", "--netadapt.first-step", "0.08", "--netadapt.short.steps", "1",
        "--netadapt.short.precision", "no", "--fit.precision", "no", "--fit.steps", "12", "--fit.save-every", "3",
    )  # fmt: skip
    label = (str(frames), "--teacher", net, "--out", "{out}/labels", "--shard", "5", "--height", "24")
    return [
        Task("train", (*common, *train), ("--resume",), _trained),
        Task("label", label, (), _labelled),
        Task("prune", (*prune, *common), ("--resume",), _pruned),
    ]


def killed(task: Task, root: Path, times: int, rng: random.Random, say: Callable[[str], None] = print) -> Row:
    """Run the task undisturbed, then again and again with kills, `times` of them in all."""
    row = Row(task.verb)
    whole = root / task.verb / "whole"
    began = time.perf_counter()
    code, _ = _run(task, whole, False, None)
    row.seconds = time.perf_counter() - began
    if code != 0:
        raise SystemExit(f"{task.verb} fails undisturbed:\n{_log(whole).read_text()}")
    wanted, files = task.result(whole), dict(_files(whole))
    while row.kills < times:
        out = root / task.verb / f"killed-{row.runs:03d}"
        row.runs += 1
        once_more = min(rng.randint(1, 4), times - row.kills)
        begun = False
        for _ in range(once_more):
            before = dict(_files(out))
            code, ended = _run(task, out, begun, rng.uniform(0.0, 1.05) * row.seconds)
            begun = True
            row.kills += not ended
            row.wrong += _lost(before, out, row)
            if ended:
                break
        code, _ = _run(task, out, begun, None)
        if code != 0:
            row.wrong.append(f"{out.name} does not go on: {_log(out).read_text().strip().splitlines()[-1]}")
            continue
        found = task.result(out)
        row.wrong += [f"{out.name}: {key} differs" for key in wanted if found.get(key) != wanted[key]]
        row.wrong += [f"{out.name}: {name} is missing" for name in sorted(files.keys() - dict(_files(out)).keys())]
        row.drafts += sum(path.is_file() and path.name.startswith(".") for path in out.rglob("*"))
        say(f"{task.verb}: {row.kills} of {times} kills, {len(row.wrong)} faults")
    return row


def _run(task: Task, out: Path, begun: bool, after: float | None) -> tuple[int, bool]:
    """(exit code, whether it ended by itself) of the verb in a process of its own, killed after so many seconds."""
    out.mkdir(parents=True, exist_ok=True)
    words = [word.replace("{out}", str(out)) for word in (*task.words, *(task.again if begun else ()))]
    child = os.fork()
    if child == 0:
        _become([task.verb, *words], _log(out))
    deadline = None if after is None else time.perf_counter() + after
    while True:
        pid, status = os.waitpid(child, 0 if deadline is None else os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status), True
        if deadline is not None and time.perf_counter() >= deadline:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return -9, False
        time.sleep(0.002)


def _become(words: list[str], log: Path) -> None:
    """The child: the verb in a group of its own, its words in a file. Does not come back."""
    code = 70
    try:
        os.setsid()
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(file, 1)
        os.dup2(file, 2)
        from leadline.cli.main import main

        code = main(words)
        sys.stdout.flush()
    finally:
        os._exit(code)


def _log(out: Path) -> Path:
    return out.with_name(f"{out.name}.log")


def _files(out: Path) -> Iterator[tuple[str, int]]:
    """The files that a run must not lose, with their sizes."""
    for path in sorted(out.rglob("*")):
        name = path.relative_to(out).as_posix()
        if path.is_file() and not any(part in f"/{name}" for part in ANYWHERE):
            yield name, path.stat().st_size


def _lost(before: Mapping[str, int], out: Path, row: Row) -> list[str]:
    """What a kill took: files that were there, or that can no longer be read."""
    from safetensors import SafetensorError, safe_open

    now, found = dict(_files(out)), []
    over = {"labels/plan.json"} if "labels/manifest.json" in now else set()  # a finished set has no plan any more
    found += [f"{row.verb}: {name} was there before a kill" for name in before if name not in {*now, *over}]
    for name in now:
        try:
            if name.endswith(".safetensors"):
                with safe_open(str(out / name), framework="np"):
                    pass
            elif name.endswith(".json"):
                json.loads((out / name).read_bytes())
        except (SafetensorError, ValueError) as error:
            found.append(f"{row.verb}: {name} is damaged by a kill: {error}")
    return found


def _tensors(path: Path) -> str:
    from safetensors.numpy import load_file

    digest = sha256()
    for name, tensor in sorted(load_file(path).items()):
        digest.update(f"{name} {tensor.dtype} {tensor.shape}".encode() + tensor.tobytes())
    return digest.hexdigest()


def _trained(out: Path) -> dict[str, str]:
    report = json.loads((out / "run" / "report.json").read_bytes())
    figures = {name: value for name, value in report["metrics"].items() if name != "loss"}  # of the last step only
    (net,) = (path for path in (out / "run").glob("*.safetensors") if path.stem not in ("last", "state"))
    kept = {path.stem: _tensors(path) for path in (out / "run").glob("*.safetensors") if path != net}
    return {"weights": _tensors(net), "metrics": json.dumps(figures), **kept}


def _labelled(out: Path) -> dict[str, str]:
    return {name: sha256((out / name).read_bytes()).hexdigest() for name, _ in _files(out)}


def _pruned(out: Path) -> dict[str, str]:
    history = json.loads((out / "out" / "netadapt" / "history.json").read_bytes())
    return {
        "weights": _tensors(out / "out.safetensors"),
        "before training": _tensors(out / "out" / "pruned.safetensors"),
        "search": json.dumps(history["iterations"]),
    }


def _frames(root: Path, n: int) -> Path:
    """Pictures whose depth grows downwards."""
    rng = np.random.default_rng(0)
    for part in ("images", "depth"):
        (root / part).mkdir(parents=True, exist_ok=True)
    for i in range(n):
        depth = np.linspace(1, 2 + i / n, 36)[:, None] * np.linspace(1, 1.5, 72)
        colour = (depth[..., None] * rng.uniform(30, 70, 3)).clip(0, 255)
        Image.fromarray((colour + rng.uniform(0, 9, colour.shape)).clip(0, 255).astype(np.uint8)).save(
            root / "images" / f"{i:03d}.png"
        )
        Image.fromarray((1000 * depth).astype(np.uint16)).save(root / "depth" / f"{i:03d}.png")
    (root / "dataset.toml").write_text('layout = "folder"\ntest_fraction = 0.1\ndepth_scale = 1000\n')
    return root


def _net(path: Path) -> str:
    """FastDepth with 16 channels in every layer."""
    from leadline.core.spec import Decoder, Encoder, Head, Preprocess, Spec
    from leadline.nn.build import build
    from leadline.nn.checkpoint import save

    encoder, decoder = Encoder("mobilenet_v1", (16,) * 14), Decoder("nnconv5", (16,) * 5, "add")
    net = build(Spec("thin", encoder, decoder, Head(batch_statistics=False), Preprocess((32, 64))), seed=0)
    net.head.start_at(2.0)
    return str(save(net, path))


def _load_everything() -> None:
    """What the children would each load anew."""
    import torch

    for name in ("cli.main", "compress.pruning.netadapt", "distill.labelling.label"):
        importlib.import_module(f"leadline.{name}")
    for name in ("train", "distill", "prune", "prune_report"):
        importlib.import_module(f"leadline.pipelines.{name}")
    for name in ("torch.export", "torch.utils.tensorboard", "rich.progress"):
        importlib.import_module(name)
    torch.set_num_threads(1)


def table(rows: list[Row]) -> str:
    """One line for each verb."""
    lines = [f"{'verb':<8}{'runs':>6}{'kills':>7}{'s undisturbed':>15}{'drafts left':>13}{'faults':>8}"]
    lines += [f"{r.verb:<8}{r.runs:>6}{r.kills:>7}{r.seconds:>15.1f}{r.drafts:>13}{len(r.wrong):>8}" for r in rows]
    return "\n".join([*lines, *(f"  {line}" for r in rows for line in r.wrong)])


def run(times: int, verbs: list[str], seed: int, say: Callable[[str], None] = print) -> list[Row]:
    """The rows of `verbs`, with `times` kills shared out among them."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="leadline-killed-") as folder:
        os.environ["LEADLINE_CACHE"] = str(Path(folder) / "cache")
        _load_everything()
        chosen = [task for task in tasks(Path(folder)) if task.verb in verbs]
        for i, task in enumerate(chosen):
            share = times // len(chosen) + (i < times % len(chosen))
            rows.append(killed(task, Path(folder), share, random.Random(f"{seed} {task.verb}"), say))
    return rows


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=50, help="kills in all")
    parser.add_argument("--verbs", nargs="+", default=["train", "label", "prune"], choices=["train", "label", "prune"])
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(argv)
    rows = run(given.times, given.verbs, given.seed, lambda line: print(line, file=sys.stderr))
    print(table(rows))
    return 1 if any(row.wrong for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
