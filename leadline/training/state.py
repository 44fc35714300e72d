"""What a training run leaves on disk: the state to resume from, `run.json` to repeat it, the curves to look at."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from leadline import __version__
from leadline.core.errors import TrainingFailed
from leadline.core.old_keys import with_new_keys
from leadline.core.progress import is_quiet
from leadline.core.storage import write_atomically
from leadline.core.text import shortened

Logs = Mapping[str, float]


@dataclass
class State:
    """What a step changes: the net, the running mean of its weights (or the net itself), the optimiser, the weights of
    a loss that has some, and how many steps were skipped.
    """

    net: nn.Module
    mean: nn.Module
    optimizer: torch.optim.Optimizer
    loss: nn.Module | None = None
    skipped: int = 0


def write_state(state: State, path: Path, step: int, plan: str) -> None:
    """All tensors of `state` after `step` steps of `plan` (the options), as one safetensors file, atomically."""
    about = {"step": str(step), "plan": plan, "skipped": str(state.skipped)}
    write_atomically(path, to_bytes({k: v.contiguous() for k, v in _tensors(state).items()}, about))


def read_state(state: State, path: Path, plan: str) -> int:
    """Put a stored state into `state`, in place; the number of steps it had done. Another plan, net, loss or optimiser
    than it was written with, or a file that is none, is a TrainingFailed that names what differs and what can be done.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            step, skipped, stored_plan = (
                int(metadata["step"]),
                int(metadata.get("skipped", 0)),
                json.loads(metadata["plan"]),
            )
            if not isinstance(stored_plan, list) or [type(part) for part in stored_plan] != [dict, dict]:
                raise ValueError("its plan is none")
            stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, KeyError, ValueError, RecursionError) as error:
        raise TrainingFailed(
            f"{path} is damaged ({str(error).strip()}), and the run cannot go on from it. {_restart_advice(path)}"
        ) from error
    options, facts = json.loads(plan)
    if other := differences([with_more_steps(stored_plan[0], options, "steps"), stored_plan[1]], [options, facts]):
        shown = "; ".join(other[:6]) + (f"; and {len(other) - 6} more" if len(other) > 6 else "")
        raise TrainingFailed(f"{path} belongs to a run with other options: {shown}. {_same(other)}")
    try:
        _fill_optimizer(state.optimizer, {k[10:]: v for k, v in stored.items() if k.startswith("optimizer.")})
        fits = {k: v.shape for k, v in _tensors(state).items()} == {k: v.shape for k, v in stored.items()}
    except (LookupError, ValueError):
        fits = False
    if not fits:
        raise TrainingFailed(
            f"{path} belongs to another net, loss or optimizer: give another --out. {_restart_advice(path)}"
        )
    state.skipped = skipped
    wanted = _tensors(state)
    with torch.no_grad():
        for name, tensor in wanted.items():
            tensor.copy_(stored[name])
    return step


def _restart_advice(path: Path) -> str:
    """What can be done where a state is of no use, without losing the weights of the run."""
    last = path.with_name("last.safetensors")
    advice = f"Remove {path.name}, and the run starts from the beginning"
    return f"{advice}; or go on from its weights: --model {last} with another --out" if last.exists() else advice


def read_json(path: Path, of: type | tuple[type, ...] = dict, needs: Sequence[str] = ()) -> Any:
    """What one of a run's own JSON files says, a value `of` that type with the keys `needs`; a damaged one is a
    TrainingFailed that says what can be done.
    """
    try:
        found: Any = json.loads(path.read_bytes())
        fits = isinstance(found, of) and not isinstance(found, bool)
        if not fits or not set(needs) <= set(found if needs else ()):
            raise ValueError(f"it holds {type(found).__name__}, or lacks {' and '.join(needs) or 'what it should say'}")
        return found
    except (ValueError, RecursionError) as error:  # of JSON, or of UTF-8
        raise TrainingFailed(
            f"{path} is damaged ({error}), and the run cannot go on: remove {path.parent}, or give another --out"
        ) from error


def check_same(folder: Path, there: Any, here: Any) -> None:
    """A TrainingFailed, which names them, if a run that was stopped in `folder` had others than are given now."""
    if other := differences(there, here):
        raise TrainingFailed(f"the run in {folder} began with other options: {'; '.join(other[:6])}. {_same(other)}")


def _same(other: Sequence[str]) -> str:
    """What can be done about options that differ, of which `differences` made the lines."""
    fewer = any(line.split()[0].endswith("fit.steps") for line in other)
    return f"Give the same{' or more steps' if fewer else ''}, or another --out"


def with_more_steps(there: Mapping[str, Any], here: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The plan `there` with the steps that `here` has under `key`, if these are more: a run may be lengthened."""
    old, new = there.get(key), here.get(key)
    more = isinstance(old, int) and isinstance(new, int) and new > old
    return {**there, key: new} if more else dict(there)


def planned_steps(path: Path) -> int | None:
    """For how many steps the run of a stored state was planned; None: there is no such file, or it does not say."""
    try:
        with safe_open(str(path), framework="pt") as file:
            steps = json.loads((file.metadata() or {})["plan"])[0]["steps"]
    except (OSError, SafetensorError, LookupError, TypeError, ValueError, RecursionError):
        return None
    return steps if isinstance(steps, int) else None


def differences(there: Any, here: Any, name: str = "") -> list[str]:
    """Where two plans, [options, facts], differ: `fit.lr 0.1 there, 0.2 here`. A name that only one of them has does
    not count: options that a later version of leadline adds must not end a run.
    """
    if not name and isinstance(there, list):
        there, here = ({"fit": options, **facts} for options, facts in (there, here))
    there = there if name else with_new_keys(there, here)
    if isinstance(there, dict) and isinstance(here, dict):
        shared = [key for key in here if key in there]
        return [line for key in shared for line in differences(there[key], here[key], f"{name}.{key}".strip("."))]
    return [] if there == here else [f"{name} {_short(there)} there, {_short(here)} here"]


def _short(value: Any) -> str:
    return shortened(value if isinstance(value, str) else json.dumps(value), 60)


def _tensors(state: State) -> dict[str, Tensor]:
    found = {f"net.{k}": v for k, v in state.net.state_dict().items()}
    if state.mean is not state.net:
        found |= {f"mean.{k}": v for k, v in state.mean.state_dict().items()}
    if state.loss is not None:
        found |= {f"loss.{k}": v for k, v in state.loss.named_parameters() if v.requires_grad}
        found |= {f"loss.{k}": v for k, v in state.loss.named_buffers()}
    for index, slots in state.optimizer.state_dict()["state"].items():
        found |= {f"optimizer.{index}.{k}": v for k, v in slots.items() if isinstance(v, Tensor)}
    return {k: v.detach() for k, v in found.items()}


def _fill_optimizer(optimizer: torch.optim.Optimizer, stored: Mapping[str, Tensor]) -> None:
    """The optimiser has no slots before its first step, so they are loaded, not copied into."""
    slots: dict[int, dict[str, Tensor]] = {}
    for key, value in stored.items():
        index, name = key.split(".", 1)
        slots.setdefault(int(index), {})[name] = value
    weights = [p for group in optimizer.param_groups for p in group["params"]]
    for place, values in slots.items():  # fused optimisers need slots in the memory layout of their weights
        for name, value in values.items():
            if value.shape == weights[place].shape:
                values[name] = torch.empty_like(weights[place], requires_grad=False).copy_(value)
    optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})


def record_run(out: Path, facts: Mapping[str, Any], resumed_at: int) -> None:
    """`run.json`: the command, versions, device and commit, and `facts`. A run that goes on keeps what it began with
    and adds these to its list `resumed`; of the facts only `requested`, the options as they were given, is renewed.
    """
    around = {
        "command": sys.argv,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "versions": {"python": sys.version.split()[0], "torch": torch.__version__},
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "threads": torch.get_num_threads(),
        "commit": commit(),
    }
    path = out / "run.json"
    record: dict[str, Any] = around | dict(facts)
    if resumed_at and path.exists():
        with suppress(TrainingFailed):  # a damaged record is written anew; the run goes on
            record = read_json(path)
        earlier = record.get("resumed", [])
        record["resumed"] = [*(earlier if isinstance(earlier, list) else []), {"at_step": resumed_at, **around}]
        record |= {key: facts[key] for key in ("requested",) if key in facts}
    write_atomically(path, json.dumps(record, indent=2).encode())


def commit() -> str:
    """The git commit that leadline itself is at, with `+` if files differ from it; where it is installed, its version,
    whatever repository the installation lies in.
    """
    package = Path(__file__).resolve().parents[1]
    try:
        top = Path(_git("rev-parse", "--show-toplevel", at=package)).resolve()
        _git("ls-files", "--error-unmatch", "__init__.py", at=package)  # fails where git does not know the package
        head = _git("rev-parse", "--short=12", "HEAD", at=package)
        changed = _git("status", "--porcelain", "-uno", at=package)
    except (OSError, subprocess.SubprocessError):
        return __version__
    return f"{head}{'+' if changed else ''}" if top == package.parent else __version__


def _git(*words: str, at: Path) -> str:
    # git sets these in hooks, for the hook's repository
    around = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    done = subprocess.run(
        ["git", *words], cwd=at, env=around, capture_output=True, text=True, timeout=10, check=True
    )  # fmt: skip
    return done.stdout.strip()


@contextmanager
def curves(out: Path | None, steps: int, start: int) -> Iterator[Callable[[int, Logs, float], None]]:
    """A function (step, logs, images per second): TensorBoard curves to `out`, progress to standard error, on a
    terminal a bar, elsewhere one line a call. However the block is left, also by SIGTERM, the terminal gets its cursor
    back and the curves' file is whole.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
    from torch.utils.tensorboard import SummaryWriter

    console = Console(stderr=True, quiet=is_quiet())
    columns = [TextColumn("step {task.completed}/{task.total}"), BarColumn(), TimeRemainingColumn()]
    bar = Progress(*columns, TextColumn("{task.description}"), console=console, disable=not console.is_terminal)
    board: Any = None

    def write(step: int, logs: Logs, images_per_s: float) -> None:
        text = " ".join(f"{name} {value:.4g}" for name, value in logs.items())
        if console.is_terminal:
            bar.update(task, completed=step, description=f"{text} {images_per_s:.1f} img/s")
        else:
            left = (steps - step) / max(step - start, 1) * (time.perf_counter() - began)
            line = f"step {step}/{steps} {text} {images_per_s:.1f} img/s eta {left:.0f} s"
            console.print(line, highlight=False, soft_wrap=True)
        if board is not None:
            for name, value in logs.items():
                if math.isfinite(value):
                    board.add_scalar(name, value, step)
            board.flush()

    began = time.perf_counter()
    with _sigterm_raises(), bar:
        task = bar.add_task("", total=steps, completed=start)
        try:
            board = None if out is None else SummaryWriter(str(out / "tensorboard"), purge_step=start)
            yield write
        finally:
            if board is not None:
                board.close()


@contextmanager
def _sigterm_raises() -> Iterator[None]:
    """Inside, SIGTERM raises SystemExit, so that files are closed; only where no other handler is set."""
    mine = threading.current_thread() is threading.main_thread()
    if not mine or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def stop(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
