"""What tests/test_together.py runs in one process and, by `accelerate launch`, in two; the first writes what it saw."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from support.tiny_training import TINY, Batches, loss, options
from torch import nn

from leadline.data.batch import Batch
from leadline.nn import zoo
from leadline.nn.build import Net, build
from leadline.training.distributed import convert_sync_batchnorm_, process
from leadline.training.fit import fit

STEPS, BATCH = 6, 8


def net(name: str) -> Net:
    made = build(TINY if name == "tiny" else zoo.spec(name), seed=0)
    made.head.start_at(2.5)
    return made


def batches(rank: int, world: int, nothing: tuple[int, ...] = (), nothing_at_all: tuple[int, ...] = ()) -> Batches:
    """Smooth random pictures, this process's every `world`-th; those of the second half of `nothing`'s steps, and all
    of `nothing_at_all`'s, have no valid pixel.
    """

    def from_step(start: int) -> Iterator[Batch]:
        for step in range(start, STEPS):
            generator = torch.Generator().manual_seed(step)
            coarse = torch.rand(BATCH, 4, 12, 16, generator=generator)
            fine = nn.functional.interpolate(coarse, (96, 128), mode="bilinear")
            image, target = fine[:, :3], 1 + 3 * fine[:, 3:]
            valid = torch.ones_like(target, dtype=torch.bool)
            valid[1::2] = step not in nothing
            valid &= step not in nothing_at_all
            mine = slice(rank, None, world)
            yield Batch(image[mine], target[mine], valid[mine], tuple("abcdefgh")[mine])

    return from_step


class Weighed(nn.Module):
    """A loss with a weight of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.sigma = nn.Parameter(torch.ones(1))

    def forward(self, net: Net, batch: Batch) -> tuple[torch.Tensor, dict[str, float]]:
        value, logs = loss(net, batch)
        return (0.5 * value / self.sigma**2 + (1 + self.sigma**2).log()).sum(), logs


def norms(rank: int, world: int) -> dict[str, list[float]]:
    """One batch norm over the whole batch, in float64: output, gradients, running statistics of the first part."""
    torch.manual_seed(0)
    x, outer = torch.randn(8, 3, 5, 4, dtype=torch.float64) * 3 + 7, torch.randn(8, 3, 5, 4, dtype=torch.float64)
    layer = nn.Sequential(nn.BatchNorm2d(3)).double()
    if world > 1:
        convert_sync_batchnorm_(layer)
    mine = x[rank::world].clone().requires_grad_()
    y = layer(mine)
    (y * outer[rank::world]).sum().backward()
    grads = [p.grad.clone() for p in layer.parameters()]
    if world > 1:
        for grad in grads:
            torch.distributed.all_reduce(grad)
    values = {"y": y[0], "x": mine.grad[0], "weight": grads[0], "bias": grads[1], **dict(layer.named_buffers())}
    return {name: value.detach().flatten().tolist() for name, value in values.items()}


def seen(name: str, rank: int, world: int, **which: tuple[int, ...]) -> dict[str, object]:
    """Each step's loss, and what the last leaves."""
    losses: list[float] = []

    def heard(model: Net, step: int) -> dict[str, float]:
        return {"total": float(sum(w.double().abs().sum() for w in model.state_dict().values()))}

    for steps in range(1, STEPS + 1):  # a run of n steps reports the loss of its n-th
        made = Weighed() if which else loss
        plan = options(steps=steps, schedule="constant", lr=1e-3, clip=1.0)
        _, report = fit(net(name), batches(rank, world, **which), made, plan, validate=heard)
        losses.append(report.metrics.get("loss", -1.0))
    context = {key: report.context.get(key) for key in ("skipped_steps", "loss_parameters")}
    return {"losses": losses, "total": report.metrics.get("total"), **context}


def main(out: Path) -> None:
    rank, world = process()
    torch.set_num_threads(1)
    found = {
        "world": world,
        "norms": norms(rank, world),
        "tiny": seen("tiny", rank, world),
        "litedepth": seen("litedepth", rank, world),
        "nothing": seen("litedepth", rank, world, nothing=(1,), nothing_at_all=(3,)),
    }
    if rank == 0:
        out.write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
