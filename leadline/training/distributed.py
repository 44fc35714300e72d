"""Several processes that train one net: each has a part of the batch, and all take the step that one would take.

What is equal, up to the order of sums: batch norms see the whole batch (rule 1), loss and gradient are the means of
those of the parts (rule 2). A loss that is a mean over all images or pixels is then that of the whole batch, where the
parts are of equal size; a mean over *valid* pixels is taken in each part, so that a pixel of the part that has fewer of
them counts more. A part without any does not count.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import torch
from accelerate import PartialState
from torch import Tensor, distributed, nn


class SyncBatchNorm2d(nn.BatchNorm2d):
    """Rule 1: batch norm whose training statistics are those of all processes' parts. torch's own needs a GPU."""

    def __init__(self, norm: nn.BatchNorm2d, compiled: bool) -> None:
        """In place of `norm`, whose parameters and state it shares. `compiled`: it stays outside a compiled graph."""
        super().__init__(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        _share_(norm, self)
        whole: Any = _SyncBatchNorm.apply
        self.whole: Callable[..., tuple[Tensor, Tensor, Tensor, Tensor]]
        self.whole = torch.compiler.disable(whole) if compiled else whole  # type: ignore[no-untyped-call]

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and self.track_running_stats):
            return super().forward(x)
        weight, bias, mean, var = self.weight, self.bias, self.running_mean, self.running_var
        assert mean is not None and var is not None and self.num_batches_tracked is not None
        if weight is None:  # affine=False
            weight, bias = torch.ones_like(mean), torch.zeros_like(mean)
        y, batch_mean, batch_var, n = self.whole(x, weight, bias, self.eps)
        with torch.no_grad():
            self.num_batches_tracked += 1
            share = self.momentum if self.momentum is not None else 1 / float(self.num_batches_tracked)
            mean.lerp_(batch_mean, share)
            var.lerp_(batch_var * (n / (n - 1)), share)
        result: Tensor = y
        return result


class _SyncBatchNorm(torch.autograd.Function):
    """(x, weight, bias, eps) -> (y, mean, biased variance, values in a channel), over all processes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        wide_x = x.to(torch.promote_types(x.dtype, torch.float32))
        own_var, own_mean = torch.var_mean(wide_x, (0, 2, 3), correction=0)
        own = torch.stack([own_mean, own_var, torch.full_like(own_mean, x.numel() / x.shape[1])])
        parts = [torch.empty_like(own) for _ in range(distributed.get_world_size())]
        distributed.all_gather(parts, own)
        means, variances, counts = torch.stack(parts, 1)
        n = counts.sum(0)
        mean = (counts * means).sum(0) / n
        var = (counts * (variances + (means - mean) ** 2)).sum(0) / n
        scale = torch.rsqrt(var + eps)
        ctx.save_for_backward(x, weight, mean, scale, n)
        y = (wide_x - _wide(mean)) * _wide(scale * weight) + _wide(bias)
        ctx.mark_non_differentiable(mean, var, n)
        return y.to(x.dtype), mean, var, n[:1]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, weight, mean, scale, n = ctx.saved_tensors
        grad, seen = grads[0].to(mean.dtype), (x - _wide(mean)) * _wide(scale)
        own = torch.stack([grad.sum((0, 2, 3)), (grad * seen).sum((0, 2, 3))])
        every = own.clone()
        distributed.all_reduce(every)
        grad_x = (grad - _wide(every[0] / n) - seen * _wide(every[1] / n)) * _wide(scale * weight)
        return grad_x.to(x.dtype), own[1], own[0], None


def _wide(channels: Tensor) -> Tensor:
    return channels[:, None, None]


def convert_sync_batchnorm_(net: nn.Module, compiled: bool = False) -> None:
    """Give `net` batch norms over the whole batch, in place; parameters and states stay what they are. In a net that
    is to be compiled they stay outside the graph. A batch norm of a class of its own, which may compute more than
    torch's, is a ValueError that names it.
    """
    for name, module in net.named_modules():
        if isinstance(module, nn.BatchNorm2d) and type(module) not in (nn.BatchNorm2d, SyncBatchNorm2d):
            raise ValueError(
                f"the layer {name} is a {type(module).__name__}, whose statistics would be those of one process's "
                "part of the batch; several processes can train torch's BatchNorm2d only: train this net in one process"
            )
    _replace_(net, nn.BatchNorm2d, partial(SyncBatchNorm2d, compiled=compiled))


def revert_sync_batchnorm_(net: nn.Module) -> None:
    """Undo `convert_sync_batchnorm_`, in place: torch's batch norms with the same parameters and state."""
    _replace_(net, SyncBatchNorm2d, _plain)


def _plain(norm: nn.BatchNorm2d) -> nn.BatchNorm2d:
    plain = nn.BatchNorm2d(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    _share_(norm, plain)
    return plain


def _share_(norm: nn.BatchNorm2d, other: nn.BatchNorm2d) -> None:
    """Give `other` the tensors and the mode of `norm`."""
    other._parameters, other._buffers, other.training = norm._parameters, norm._buffers, norm.training


def _replace_(net: nn.Module, kind: type[nn.BatchNorm2d], make: Callable[[nn.BatchNorm2d], nn.BatchNorm2d]) -> None:
    """Put `make(norm)` in the place of each norm of exactly this class; one that has several places keeps them all."""
    made: dict[nn.Module, nn.Module] = {}
    for parent in list(net.modules()):
        for name, child in list(parent._modules.items()):
            if child is not None and type(child) is kind:
                setattr(parent, name, made[child] if child in made else made.setdefault(child, make(child)))


def all_reduce_gradients_(
    parameters: Sequence[nn.Parameter], value: float | None, device: torch.device
) -> float | None:
    """Rule 2: gradients become their means over the processes whose part has something valid (`value` is not
    None), in place, in one message. Returns the mean of their values; None if no part has any.

    A gradient that is missing counts as 0, and stays missing where all lack it.
    """
    grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    there = [float(p.grad is not None) for p in parameters]
    numbers = torch.tensor([*there, value or 0.0, float(value is not None)], device=device)
    message = torch.cat([*(grad.reshape(-1).float() for grad in grads), numbers])
    distributed.all_reduce(message)
    *sums, numbers = message.split([*(grad.numel() for grad in grads), len(numbers)])  # type: ignore[no-untyped-call]
    *there, total, speaking = numbers.tolist()
    for parameter, grad, summed, some in zip(parameters, grads, sums, there, strict=True):
        parameter.grad = grad.copy_(summed.view(grad.shape) / max(speaking, 1)) if some else None
    return total / speaking if speaking else None


def zero_gradients_(outputs: Sequence[Tensor]) -> None:
    """A backward pass with zero gradients, for a process whose part of the batch has nothing valid: the other processes
    wait for it.
    """
    led = [output for output in outputs if output.requires_grad]
    if led:
        torch.autograd.backward(led, [torch.zeros_like(output) for output in led])


def process() -> tuple[int, int]:
    """Which process this is, and of how many that train together: (0, 1) unless `accelerate launch` started several."""
    state = PartialState(cpu=not torch.cuda.is_available())
    return state.process_index, state.num_processes


def first() -> AbstractContextManager[None]:
    """Lets the first process of each machine do something before the others do it."""
    context: AbstractContextManager[None] = PartialState(cpu=not torch.cuda.is_available()).local_main_process_first()
    return context
