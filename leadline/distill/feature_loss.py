"""Learning what a teacher's layers see: features [B,C,h,w] of both, where they count bool [B,1,h,w], to a scalar."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Way = Literal["affinity", "channel", "hint"]


def affinity(student: Tensor, teacher: Tensor, where: Tensor) -> Tensor:
    """LiteDepth's structure-aware loss (Li et al. 2022, arXiv 2209.00961; the authors' similarity_mse_loss): the mean
    over the pictures of the mean of (A_s - A_t)^2, A = F^T F the cosines between all pairs of the N places that count,
    F [C,N] with columns of length 1. The authors' weight is 10. Numbers of channels may differ.

    |F_s^T F_s|^2 = |F_s F_s^T|^2 (Frobenius), and <F_s^T F_s, F_t^T F_t> = |F_s F_t^T|^2, so matrices of channels by
    channels do, and none of N x N is made. A picture in which no place counts gives 0.
    """
    errors = []
    for s, t, use in zip(student.flatten(2), teacher.flatten(2), where.flatten(1), strict=True):
        if not bool(use.any()):
            errors.append(0 * s.sum())
            continue
        a, b = (F.normalize(x[:, use].float(), dim=0) for x in (s, t))
        squares = [(x @ y.T).square().sum() for x, y in ((a, a), (b, b), (a, b))]
        errors.append((squares[0] + squares[1] - 2 * squares[2]).clamp(min=0) / a.shape[1] ** 2)
    return torch.stack(errors).mean()


def channel_kl(student: Tensor, teacher: Tensor, where: Tensor, *, temperature: float = 4.0) -> Tensor:
    """Channel-wise distillation (Shu et al. 2021, arXiv 2011.13256, eq. 4): each channel as a distribution over places,
    softmax(x / T); T^2 times the mean over channels and pictures of KL(teacher || student). LiteDepth lists it with
    T = 4 and weight 0.01. Places that do not count have no part in it.
    """
    never = torch.finfo(torch.float32).min
    s, t = (torch.where(where, x.float() / temperature, never).flatten(2) for x in (student, teacher))
    log_s, log_t = F.log_softmax(s, dim=2), F.log_softmax(t, dim=2)
    use = where.flatten(2)
    divergence = (torch.where(use, log_t.exp() * (log_t - log_s), 0)).sum(2)
    return temperature**2 * divergence.mean()


def hint(student: Tensor, teacher: Tensor, where: Tensor) -> Tensor:
    """Mean squared difference where it counts (Romero et al. 2015, arXiv 1412.6550); LiteDepth's weight is 0.01."""
    off = torch.where(where, (student.float() - teacher.float()).square().mean(1, keepdim=True), 0)
    return off.sum() / where.sum().clamp(min=1)


WAYS: dict[str, tuple[Callable[..., Tensor], float, bool]] = {
    "affinity": (affinity, 10.0, False),
    "channel": (channel_kl, 0.01, True),
    "hint": (hint, 0.01, True),
}
"""Name -> the loss, its published weight, and whether both must have as many channels: then a 1x1 convolution, which
is trained with the net and thrown away, brings the student's to the teacher's.
"""


class Feature(nn.Module):
    """One way to compare chosen layers of two nets. `pairs` are (student's module, teacher's module), by their names;
    what a module gives counts before anything behind it changes it: a convolution's own name means its pre-activation.

    Maps of unlike sizes: the teacher's is brought to the student's, bilinearly (the authors' have one size). An unknown
    name, or a module that gives no map, is a ValueError.
    """

    def __init__(
        self, way: Way, pairs: Sequence[tuple[str, str]], student: nn.Module, teacher: nn.Module,
        *, size: tuple[int, int], weight: float | None = None, seed: int = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        if way not in WAYS or not pairs:
            raise ValueError(f"features are compared by {way!r}, {len(pairs)} pairs; {', '.join(WAYS)}, one or more")
        self.way, self.pairs = way, tuple(pairs)
        self.weight = WAYS[way][1] if weight is None else weight
        mine, theirs = self._maps(student, teacher, torch.zeros(1, 3, *size, device=_device(student)))
        self.adapters = nn.ModuleDict()
        if WAYS[way][2]:
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(seed)
                for i, (s, t) in enumerate(zip(mine, theirs, strict=True)):
                    self.adapters[str(i)] = nn.Conv2d(s.shape[1], t.shape[1], 1)

    def _maps(self, student: nn.Module, teacher: nn.Module, image: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """The maps of one image, which also shows that the names are good."""
        found = []
        for net, which in ((student, 0), (teacher, 1)):
            was = net.training
            with torch.no_grad(), listening(net, [pair[which] for pair in self.pairs]) as maps:
                net.eval()(image)
            net.train(was)
            found.append(maps())
        return found[0], found[1]

    def forward(self, mine: Sequence[Tensor], theirs: Sequence[Tensor], valid: Tensor) -> Tensor:
        """The sum over the pairs times the weight. `valid` bool [B,1,H,W] goes to each map by nearest neighbour."""
        loss, values = WAYS[self.way][0], []
        for i, (s, t) in enumerate(zip(mine, theirs, strict=True)):
            size = s.shape[-2:]
            t = t if t.shape[-2:] == size else F.interpolate(t, size=size, mode="bilinear")
            where = F.interpolate(valid.float(), size=size, mode="nearest") > 0
            values.append(loss(self.adapters[str(i)](s.float()) if len(self.adapters) else s, t, where))
        return self.weight * torch.stack(values).sum()


@contextmanager
def listening(net: nn.Module, names: Sequence[str]) -> Iterator[Callable[[], list[Tensor]]]:
    """Inside, what the modules of these names give; ask after the net has run."""
    known = dict(net.named_modules())
    unknown = [name for name in names if name not in known]
    if unknown:
        near = [name for name, module in known.items() if isinstance(module, nn.Conv2d)]
        like = get_close_matches(unknown[0], near, 3, 0) or near[:3]
        who = getattr(getattr(net, "spec", None), "name", "the net")
        raise ValueError(f"{who} has no module {unknown[0]!r}; {len(near)} convolutions, such as {', '.join(like)}")
    outputs: dict[str, Any] = {}

    def keep(name: str) -> Callable[[nn.Module, Any, Any], None]:
        # a copy: an activation in place would change it
        return lambda module, given, out: outputs.update({name: out.clone() if isinstance(out, Tensor) else out})

    def maps() -> list[Tensor]:
        for name in names:
            if not isinstance(outputs.get(name), Tensor) or outputs[name].ndim != 4:
                raise ValueError(f"the module {name!r} gives no map [B,C,h,w]; name a convolution or a block")
        return [outputs[name] for name in names]

    hooks = [known[name].register_forward_hook(keep(name)) for name in dict.fromkeys(names)]
    try:
        yield maps
    finally:
        for hook in hooks:
            hook.remove()


def _device(net: nn.Module) -> torch.device:
    return next(net.parameters(), torch.empty(0)).device
