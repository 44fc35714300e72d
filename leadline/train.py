"""fit(net, batches, loss, options) -> (net, Report): the only training loop.

A loss is a function (net, batch) -> (scalar, logs). Supervised, distilled, masked, gated: all are losses bound with
`functools.partial`, so nothing here knows of them. The loop runs on one process or, under `accelerate launch`, on many.
"""

from __future__ import annotations

import copy
import ctypes
import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, PartialState
from torch import Tensor

from leadline.checkpoint import save
from leadline.data.loader import Batches
from leadline.errors import TrainingFailed
from leadline.nn.build import Net
from leadline.options import FitOptions
from leadline.report import Report
from leadline.spec import to_json
from leadline.train_state import State, curves, read_state, record_run, write_state
from leadline.types import Sample

Loss = Callable[[Any, Sample], tuple[Tensor, dict[str, float]]]
Validate = Callable[[Net, int], Mapping[str, float]]


def fit(
    net: Net,
    batches: Batches,
    loss: Loss,
    options: FitOptions,
    *,
    out: Path | None = None,
    resume: bool = False,
    validate: Validate | None = None,
    facts: Mapping[str, Any] | None = None,
) -> tuple[Net, Report]:
    """A trained copy of `net`, and what was measured on the way.

    With `out`, that folder receives `last.safetensors` (the net), `state.safetensors` (to resume), `run.json`
    (options, spec, versions, command, `facts`: everything to repeat the run) and TensorBoard's curves. With `resume` a
    run that was stopped at any moment continues from its last save, to the same weights bit for bit (same machine
    and number of threads). `validate(net, step)` returns figures to log. A loss that is not finite is a TrainingFailed.
    """
    _keep_freed_memory()
    precision = _precision(options)
    accelerator = Accelerator(cpu=not torch.cuda.is_available())
    net = copy.deepcopy(net).train()
    if options.channels_last:
        net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    mean = copy.deepcopy(net).to(accelerator.device) if options.ema else net
    shell, optimizer = accelerator.prepare(_Shell(net, precision), _optimizer(net, options))
    state = State(net, mean, optimizer)
    path = None if out is None else out / "state.safetensors"
    spared = ("save_every", "log_every", "validate_every")  # may differ when a run goes on
    plan = json.dumps([{k: v for k, v in to_json(options).items() if k not in spared}, dict(facts or {})])
    start = read_state(state, path, plan) if resume and path is not None and path.exists() else 0
    main = accelerator.is_main_process
    if main and out is not None:
        record_run(out, {"options": to_json(options), "spec": to_json(net.spec), **(facts or {})}, start)
    write, close = curves(out, options.steps, start) if main else (lambda *_: None, lambda: None)
    rate = _Rate()
    logs: dict[str, float] = {}
    figures: Mapping[str, float] = {}
    stream = batches(start)
    for step in range(start, options.steps):
        batch = _to(next(stream), accelerator.device, options.channels_last)
        logs = _step(shell, optimizer, accelerator, loss, batch, options, step)
        if options.ema:
            _average(mean, net, min(options.ema, (1 + step) / (10 + step)))
        rate.count(len(batch.name) * accelerator.num_processes)
        done, last = step + 1, step + 1 == options.steps
        if done % options.log_every == 0 or last:
            write(done, logs, rate.mean)
        if validate is not None and main and (last or (options.validate_every and done % options.validate_every == 0)):
            figures = validate(copy.deepcopy(mean).eval(), done)
            write(done, figures, rate.mean)
        if main and path is not None and (done % options.save_every == 0 or last):
            # first the net: what cannot be saved must not replace the state before it
            save(mean, path.with_name("last.safetensors"), provenance={"steps": done, **(facts or {})})
            write_state(state, path, done, plan)
    close()
    accelerator.wait_for_everyone()
    context = {
        "steps": options.steps,
        "steps_now": options.steps - start,
        "seed": options.seed,
        "precision": precision,
        "images_per_s": round(rate.mean, 1),
    }
    metrics = {**figures, **{name: value for name, value in logs.items() if name == "loss"}}
    return copy.deepcopy(mean).cpu().eval(), Report(net.spec.name, metrics=metrics, context=context)


def _step(
    shell: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    accelerator: Accelerator,
    loss: Loss,
    batch: Sample,
    options: FitOptions,
    step: int,
) -> dict[str, float]:
    torch.manual_seed(options.seed * 1_000_003 + step)  # whatever is random in a loss depends on the step alone
    lr = learning_rate(options, step)
    for group in optimizer.param_groups:
        group["lr"] = lr
    if step >= options.still_after * options.steps:
        _still(shell)
    optimizer.zero_grad(set_to_none=True)
    value, logs = loss(shell, batch)
    # reading the value waits for the computation: on a CPU that costs nothing, on a GPU one wait a step
    scalar = float(value.detach())
    if not math.isfinite(scalar):
        raise TrainingFailed(f"the loss is {scalar} at step {step}; lower the learning rate ({lr:g}) or set clip")
    accelerator.backward(value)
    if options.clip:
        accelerator.clip_grad_norm_(shell.parameters(), options.clip)
    optimizer.step()
    return {"loss": scalar, "lr": lr, **logs}


def process() -> tuple[int, int]:
    """Which process this is, and of how many that train together: (0, 1) unless `accelerate launch` started several."""
    state = PartialState(cpu=not torch.cuda.is_available())
    return state.process_index, state.num_processes


def learning_rate(options: FitOptions, step: int) -> float:
    """The learning rate of one step (0 is the first)."""
    warm = min(1.0, (step + 1) / options.warmup) if options.warmup else 1.0
    part = step / options.steps
    match options.schedule:
        case "cosine":
            return options.lr * warm * 0.5 * (1 + math.cos(math.pi * part))
        case "step":
            return options.lr * warm * 0.1 ** int(part / options.step_every)
        case "constant":
            return options.lr * warm


class _Shell(torch.nn.Module):
    """The net in the run's precision: what `prepare` may wrap and patch, so that the net itself stays clean.

    Accelerate's own mixed precision is one for the whole process; two runs in one process may differ.
    """

    def __init__(self, net: Net, precision: str) -> None:
        super().__init__()
        self.net, self.bf16 = net, precision == "bf16"

    def forward(self, image: Tensor, raw: bool = False) -> Tensor | list[Tensor]:
        with torch.autocast(image.device.type, torch.bfloat16, enabled=self.bf16):
            out: Tensor | list[Tensor] = self.net(image, raw=raw)
        return [x.float() for x in out] if isinstance(out, list) else out.float()


def _optimizer(net: Net, options: FitOptions) -> torch.optim.Optimizer:
    # fused: one pass over the weights; the plain form takes a fifth of a CPU step
    if options.optimizer == "sgd":  # as published: weight decay on everything
        decay, momentum = options.weight_decay, options.momentum
        return torch.optim.SGD(net.parameters(), options.lr, momentum, weight_decay=decay, fused=True)
    kernels = [p for p in net.parameters() if p.ndim > 1]
    vectors = [p for p in net.parameters() if p.ndim <= 1]
    groups: list[dict[str, Any]] = [{"params": kernels}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, options.lr, weight_decay=options.weight_decay, fused=True)


def _average(mean: torch.nn.Module, net: torch.nn.Module, decay: float) -> None:
    with torch.no_grad():
        pairs = list(zip(mean.state_dict().values(), net.state_dict().values(), strict=True))
        floats = [(a, b) for a, b in pairs if a.is_floating_point()]
        torch._foreach_lerp_([a for a, _ in floats], [b for _, b in floats], 1 - decay)
        for a, b in pairs:
            if not a.is_floating_point():
                a.copy_(b)


def _still(net: torch.nn.Module) -> None:
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()


def _to(batch: Sample, device: torch.device, channels_last: bool) -> Sample:
    layout = torch.channels_last if channels_last else torch.contiguous_format
    image = batch.image.to(device, non_blocking=True, memory_format=layout)
    right = None if batch.right is None else batch.right.to(device, non_blocking=True, memory_format=layout)
    return Sample(image, batch.target.to(device), batch.valid.to(device), batch.name, right=right)


def _precision(options: FitOptions) -> str:
    if options.precision != "auto":
        return options.precision
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported() else "no"
    # without these instructions bf16 is emulated, and slower than float32
    return "bf16" if torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported() else "no"


def _keep_freed_memory() -> None:
    """Let glibc keep freed memory (mallopt M_MMAP_THRESHOLD, M_TRIM_THRESHOLD): each step frees and asks for the same
    hundreds of megabytes, and getting them back from the kernel page by page costs a fifth of a CPU step.
    """
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-3, 1 << 30)
        libc.mallopt(-1, (1 << 31) - 1)
    except (OSError, AttributeError):
        return  # another C library: slower, not wrong


class _Rate:
    """Images per second: over the whole run, without the first step (which sets up the kernels)."""

    def __init__(self) -> None:
        self.started: float | None = None
        self.images = 0

    def count(self, images: int) -> None:
        if self.started is None:
            self.started = time.perf_counter()
        else:
            self.images += images

    @property
    def mean(self) -> float:
        return self.images / (time.perf_counter() - self.started) if self.started and self.images else 0.0
