"""fit(net, batches, loss, options) -> (net, Report): the only training loop.

A loss is a function (net, batch) -> (scalar, logs). Supervised, distilled, masked, gated: all are losses bound with
`functools.partial`, so nothing here knows of them; one that is an nn.Module may have weights of its own. The loop runs
on one process or, under `accelerate launch`, on many (`together` says what is then equal).
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import PartialState
from torch import Tensor, nn

from leadline.core.errors import TrainingFailed
from leadline.core.machine import NO_COMPILER, compiler
from leadline.core.report import Report
from leadline.core.spec import to_json
from leadline.data.batch import Batch
from leadline.data.loader import Batches
from leadline.nn.build import Net
from leadline.nn.checkpoint import save
from leadline.nn.depthwise import set_fast_backward_
from leadline.nn.reference import Reference
from leadline.training.distributed import (
    all_reduce_gradients_,
    convert_sync_batchnorm_,
    revert_sync_batchnorm_,
    zero_gradients_,
)
from leadline.training.memory import freed_memory_kept
from leadline.training.optim import ema_update_, learning_rate, optimizer
from leadline.training.options import FitOptions
from leadline.training.rate import Rate
from leadline.training.state import State, curves, read_state, record_run, write_state

Loss = Callable[[Any, Batch], tuple[Tensor, dict[str, float]]]
Validate = Callable[[Net, int], Mapping[str, float]]
Finish = Callable[[Any, torch.device], Batch]


def fit(
    net: Net,
    batches: Batches,
    loss: Loss,
    options: FitOptions,
    *,
    out: Path | None = None,
    resume: bool = False,
    validate: Validate | None = None,
    finish: Finish | None = None,
    facts: Mapping[str, Any] | None = None,
    notes: Mapping[str, Any] | None = None,
) -> tuple[Net, Report]:
    """A trained copy of `net`, and what was measured on the way.

    With `out`, that folder receives `last.safetensors` (the net), `state.safetensors` (to resume), `run.json`
    (options, spec, versions, command, `facts`, `notes`: everything to repeat the run) and TensorBoard's curves. With
    `resume` a run that was stopped at any moment continues from its last save, to the same weights bit for bit (same
    machine and number of threads); other options or `facts` are then a TrainingFailed, other `notes` are not.

    1. `validate(net, step)` returns figures to log; `finish(batch, device)` makes the Batch of what `batches` gives.
    2. Weights of a loss (an nn.Module) are trained with the net, without decay, and are in it afterwards; context
       `loss_parameters` holds them if they are 1000 numbers at most.
    3. A batch whose logs hold `skipped` (nothing in it is valid) makes no step (context `skipped_steps`); of several
       processes all must have nothing, or one that has adds a gradient of zeros. Batch norms do see it.
    4. A loss that is not finite is a TrainingFailed.
    5. Context `waiting` is the part of its time that the loop waited for batches.
    """
    run = Steps(net, loss, options)
    state = State(run.net, run.mean, run.optimizer, run.loss if isinstance(run.loss, nn.Module) else None)
    path = None if out is None else out / "state.safetensors"
    spared = ("save_every", "log_every", "validate_every")  # may differ when a run goes on
    plan = json.dumps([{k: v for k, v in to_json(options).items() if k not in spared}, dict(facts or {})])
    start = read_state(state, path, plan) if resume and path is not None and path.exists() else 0
    around = PartialState()
    main = around.is_main_process
    if main and out is not None:
        record = {"options": to_json(options), "spec": to_json(net.spec), **(facts or {}), **(notes or {})}
        record_run(out, record, start)
    rate = Rate()
    logs: dict[str, float] = {}
    figures: Mapping[str, float] = {}
    stream = batches(start)
    progress = curves(out, options.steps, start) if main else nullcontext(lambda *_: None)
    with freed_memory_kept(), progress as write:
        for step in range(start, options.steps):
            rate.begin()
            batch = next(stream)
            rate.got(len(batch.name) * around.num_processes)
            made = run.step(moved(batch, run.device, options.channels_last, finish), step)
            logs, state.skipped = (logs, state.skipped + 1) if made is None else (made, state.skipped)
            rate.end()
            done, last = step + 1, step + 1 == options.steps
            if done % options.log_every == 0 or last:
                write(done, {**logs, **({"skipped": state.skipped} if state.skipped else {})}, rate.mean)
            if last or (path is not None and done % options.save_every == 0):
                _refuse_not_finite(run.mean, done)  # else a net with NaN would overwrite the last good state
                if main and path is not None:
                    save(run.mean, path.with_name("last.safetensors"), provenance={"steps": done, **(facts or {})})
                    write_state(state, path, done, plan)
            due = last or (options.validate_every and done % options.validate_every == 0)
            if validate is not None and main and due:
                figures = validate(run.result(), done)
                write(done, figures, rate.mean)
        # a finished run that was killed before it validated
        if start >= options.steps and validate is not None and main:
            figures = validate(run.result(), start)
    around.wait_for_everyone()
    if isinstance(run.loss, nn.Module):
        cast(nn.Module, loss).load_state_dict(run.loss.state_dict())
    context = {
        "steps": options.steps,
        "steps_now": options.steps - start,
        "skipped_steps": state.skipped,
        "seed": options.seed,
        "precision": run.precision,
        "images_per_s": round(rate.mean, 1),
        "waiting": round(rate.waiting, 3),
    }
    if 0 < sum(p.numel() for p in run.others.values()) <= 1000:
        context["loss_parameters"] = {name: p.detach().cpu().tolist() for name, p in run.others.items()}
    metrics = {**figures, **{name: value for name, value in logs.items() if name == "loss"}}
    return run.result().cpu(), Report(net.spec.name, metrics=metrics, context=context)


class Steps:
    """What a step works on: copies of net and loss on the device, the running mean, the optimiser."""

    def __init__(self, net: Net, loss: Loss, options: FitOptions) -> None:
        around = PartialState(cpu=not torch.cuda.is_available())
        if options.compile and not compiler():
            raise ValueError(f"compile needs a C++ compiler: {NO_COMPILER}")
        self.options, self.device, self.together = options, around.device, around.num_processes > 1
        self.precision = _precision(options)
        self.net = copy.deepcopy(net).train().to(self.device)
        if options.channels_last:
            self.net = self.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self.together:
            convert_sync_batchnorm_(self.net, options.compile)
        set_fast_backward_(self.net, options.depthwise != "torch")
        self.mean = copy.deepcopy(self.net) if options.ema else self.net
        self.loss = copy.deepcopy(loss).to(self.device) if isinstance(loss, nn.Module) else loss
        self.others = _trained(self.loss) if isinstance(self.loss, nn.Module) else {}
        self.optimizer = optimizer(self.net, options, self.others.values())
        self.parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.shell = _Shell(self.net, self.precision, options.compile)

    def step(self, batch: Batch, step: int) -> dict[str, float] | None:
        """One step; its logs, or None if it was skipped."""
        options = self.options
        torch.manual_seed(options.seed * 1_000_003 + step)  # so a resumed run draws the same numbers
        lr = learning_rate(options, step)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        if step + 1e-6 >= options.freeze_bn_after * options.steps:  # 1e-6: in floating point 0.7 x 10 is above 7
            _freeze_batch_norms(self.net)
        self.optimizer.zero_grad(set_to_none=True)
        self.shell.outputs.clear()
        value, logs = self._loss_of(batch)
        # float() waits until the GPU has computed the loss: once a step; a CPU has no queue to wait for
        scalar = None if logs.get("skipped") else float(value.detach())
        if scalar is not None and math.isfinite(scalar):
            value.backward()  # type: ignore[no-untyped-call]
        elif self.together:
            zero_gradients_(self.shell.outputs)
        self.shell.outputs.clear()  # they keep the autograd graph, and its memory, alive
        if self.together:
            scalar = all_reduce_gradients_(self.parameters, scalar, self.device)
        if scalar is None:
            return None
        if not math.isfinite(scalar):
            raise TrainingFailed(f"the loss is {scalar} at step {step}; lower the learning rate ({lr:g}) or set clip")
        if options.clip:
            nn.utils.clip_grad_norm_(self.parameters, options.clip)
        self.optimizer.step()
        if options.ema:
            ema_update_(self.mean, self.net, min(options.ema, (1 + step) / (10 + step)))
        return {"loss": scalar, "lr": lr, **{name: number for name, number in logs.items() if name != "skipped"}}

    def _loss_of(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        try:
            return self.loss(self.shell, batch)
        except ValueError as error:
            if not str(error).startswith("Expected more than 1 "):  # torch's message for a norm over one value
                raise
            n, (height, width) = len(batch.name), batch.image.shape[-2:]
            raise ValueError(
                f"with --batch {n} and images of {height}x{width} a batch norm has one value for each channel, and "
                "nothing to take a mean over; give --batch 2 or more, or larger images (--view.size)"
            ) from error

    def result(self) -> Net:
        """The running mean, or the net, as it stands, in eval mode, with the layers that it came with."""
        net = copy.deepcopy(self.mean).eval()
        revert_sync_batchnorm_(net)
        set_fast_backward_(net, True)
        return net


class _Shell(nn.Module):
    """The net in the run's precision, compiled or not: what a loss calls. The net itself stays clean."""

    def __init__(self, net: Net, precision: str, compiled: bool) -> None:
        super().__init__()
        self.net, self.bf16 = net, precision == "bf16"
        # as a child it would store each weight twice
        self.called: Reference[Any] = Reference(torch.compile(net) if compiled else net)
        self.outputs: list[Tensor] = []

    def forward(self, image: Tensor, raw: bool = False) -> Tensor | list[Tensor]:
        with torch.autocast(image.device.type, torch.bfloat16, enabled=self.bf16):
            out: Tensor | list[Tensor] = self.called.module(image, raw=raw)
        maps = [x.float() for x in out] if isinstance(out, list) else [out.float()]
        self.outputs += maps
        return maps if isinstance(out, list) else maps[0]

    def enlarged(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        return self.net.enlarged(x, size)


def _refuse_not_finite(net: nn.Module, done: int) -> None:
    """A TrainingFailed if a weight is not finite: a finite loss may have a gradient that is not."""
    for name, tensor in net.state_dict().items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise TrainingFailed(
                f"after {done} steps {name} holds values that are not finite; lower the learning rate or set clip. "
                "What was saved before is kept"
            )


def _trained(loss: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in loss.named_parameters() if p.requires_grad}


def _freeze_batch_norms(net: nn.Module) -> None:
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


def moved(batch: Any, device: torch.device, channels_last: bool, finish: Finish | None = None) -> Batch:
    """A batch as a step takes it."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    sample: Batch = batch if finish is None else finish(batch, device)
    image = sample.image.to(device, non_blocking=True, memory_format=layout)
    right = None if sample.right is None else sample.right.to(device, non_blocking=True, memory_format=layout)
    there = {k: x.to(device) for k in ("target", "valid", "pseudo_depth") if (x := getattr(sample, k)) is not None}
    return replace(sample, image=image, right=right, **there)


def _precision(options: FitOptions) -> str:
    if options.precision != "auto":
        return options.precision
    fast = torch.cuda.is_bf16_supported() if torch.cuda.is_available() else bf16_on_cpu()
    return "bf16" if fast else "no"


def bf16_on_cpu() -> bool:
    """Whether the CPU multiplies matrices of bfloat16 (AMX): with AVX-512's alone a step took 1.3 times as long."""
    return bool(torch.cpu._is_amx_tile_supported())
