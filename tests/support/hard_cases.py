"""What is hard for pruning, case by case: a small net, its free groups, and why the others are frozen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from support.small_nets import (
    Forgetful,
    LastNorm,
    attention,
    baked,
    conv,
    in_half_precision,
    net,
    padded,
    shuffled,
    spatial_attention,
    standardised,
    twins,
    vector,
    zeros_then_written,
)
from torch import nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Case:
    """How to make a net, its free groups with their widths, and for each frozen one what the reason matches."""

    make: Callable[[], nn.Module]
    free: dict[str, int] = field(default_factory=dict)
    frozen: dict[str, str] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()
    masked: bool = True
    """Whether pruned and unread compute the same, as they must but for statistics over channels."""


ALL = {"a": 16, "b": 16}
CASES: dict[str, Case] = {
    "one channel is not depthwise": Case(
        lambda: net(lambda m, x: m.out(m.b(m.one(m.a(x)))), one=conv(16, 1), b=conv(1, 16)),
        free=ALL,
        frozen={"one": "one stays"},
    ),
    "concat into depthwise": Case(
        lambda: net(
            lambda m, x: m.out(m.dw(torch.cat([m.a(x), m.b(x)], 1))), 32, b=conv(3, 16), dw=conv(32, 32, groups=32)
        ),
        free=ALL,
    ),
    "squeeze and excite": Case(
        lambda: net(
            lambda m, x: m.out((y := m.a(x)) * torch.sigmoid(m.up(F.relu(m.down(y.mean((2, 3), keepdim=True)))))),
            down=conv(16, 4, 1),
            up=conv(4, 16, 1),
        ),
        free={"a": 16, "down": 4},
    ),
    "squeeze and excite through views": Case(
        lambda: net(
            lambda m, x: m.out(
                (y := m.a(x))
                * m.up(F.relu(m.down(F.adaptive_avg_pool2d(y, 1).view(1, y.shape[1]))))
                .view(1, y.shape[1], 1, 1)
                .expand_as(y)
            ),
            down=nn.Linear(16, 4),
            up=nn.Linear(4, 16),
        ),
        free={"a": 16, "down": 4},
    ),
    "a shared skip used twice": Case(
        lambda: net(lambda m, x: m.out((y := m.a(x)) + (z := m.b(y)) + m.c(y + z)), b=conv(16, 16), c=conv(16, 16)),
        free={"a": 16},
    ),
    "a chain of adds": Case(
        lambda: net(
            lambda m, x: m.out(
                (p := (q := m.a(x)) + m.b(F.relu(m.b1(q)))) + (r := m.c(F.relu(m.c1(p)))) + m.bn(r).mul(0.5)
            ),
            b1=conv(16, 8),
            b=conv(8, 16),
            c1=conv(16, 8),
            c=conv(8, 16),
            bn=nn.BatchNorm2d(16),
        ),
        free={"a": 16, "b1": 8, "c1": 8},
    ),
    "grouped": Case(
        lambda: net(lambda m, x: m.out(m.b(m.a(x))), b=conv(16, 32, groups=4), width=32), free={"a": 4, "b": 8}
    ),
    "depthwise with a multiplier": Case(
        lambda: net(lambda m, x: m.out(m.b(m.a(x))), b=conv(16, 48, groups=16), width=48), free={"a": 16}
    ),
    "transposed": Case(
        lambda: net(lambda m, x: m.out(m.b(m.a(x))), b=nn.ConvTranspose2d(16, 24, 2, 2), width=24),
        free={"a": 16, "b": 24},
    ),
    "transposed depthwise": Case(
        lambda: net(lambda m, x: m.out(m.b(m.a(x))), b=nn.ConvTranspose2d(16, 16, 2, 2, groups=16)), free={"a": 16}
    ),
    "transposed depthwise with a multiplier": Case(
        lambda: net(lambda m, x: m.out(m.b(m.a(x))), b=nn.ConvTranspose2d(16, 48, 2, 2, groups=16), width=48),
        free={"a": 16},
    ),
    "transposed grouped": Case(
        lambda: net(lambda m, x: m.out(m.b(m.a(x))), b=nn.ConvTranspose2d(16, 32, 2, 2, groups=4), width=32),
        free={"a": 4, "b": 8},
    ),
    "transposed groups of one output": Case(
        lambda: net(lambda m, x: m.out(m.b(m.a(x))), b=nn.ConvTranspose2d(16, 4, 2, 2, groups=4), width=4),
        free={"a": 4},
        frozen={"b": "only go together"},
    ),
    "pixel shuffle": Case(lambda: net(lambda m, x: m.out(F.pixel_shuffle(m.a(x), 2)), width=4), free={"a": 4}),
    "pixel shuffle into a batch norm": Case(
        lambda: net(lambda m, x: m.out(m.bn(F.pixel_shuffle(m.a(x), 2))), bn=nn.BatchNorm2d(4), width=4), free={"a": 4}
    ),
    "pixel unshuffle": Case(
        lambda: net(lambda m, x: m.out(F.pixel_unshuffle(F.max_pool2d(m.a(x), 3, 1)[:, :, :8, :8], 2)), width=64),
        free={"a": 16},
    ),
    "channel shuffle by views": Case(
        lambda: net(lambda m, x: m.out(shuffled(m.a(x), 2))), frozen={"a": "view.* a trial .* failed"}
    ),
    "channel shuffle": Case(
        lambda: net(lambda m, x: m.out(nn.functional.channel_shuffle(m.a(x), 2))), frozen={"a": "a trial .* failed"}
    ),
    "roll": Case(lambda: net(lambda m, x: m.out(m.a(x).roll(3, 1))), frozen={"a": "roll .* a trial .* failed"}),
    "flip": Case(lambda: net(lambda m, x: m.out(m.a(x).flip(1))), free={"a": 16}),
    "gated halves": Case(
        lambda: net(lambda m, x: m.out(F.relu((y := m.a(x).chunk(2, 1))[0]) * torch.sigmoid(y[1])), width=8),
        free={"a": 8},
    ),
    "glu": Case(lambda: net(lambda m, x: m.out(F.glu(m.a(x), 1)), width=8), frozen={"a": "glu"}, unknown=("glu",)),
    "halves apart": Case(
        lambda: net(lambda m, x: m.out((y := m.a(x).chunk(2, 1))[0]) + m.b(y[1]), width=8, b=conv(8, 1)),
        frozen={"a": "chunk .* failed", "a#2": "chunk .* failed", "out": "output"},
    ),
    "split by numbers": Case(
        lambda: net(lambda m, x: m.out((y := m.a(x).split([8, 8], 1))[0] * torch.sigmoid(y[1])), width=8),
        frozen={"a": "split_with_sizes .* failed"},
    ),
    "a view by numbers": Case(lambda: net(lambda m, x: m.out(baked(m.a(x)))), frozen={"a": "view .* failed"}),
    "a view that names its width": Case(
        lambda: net(lambda m, x: m.out(m.a(x).view(1, 16, -1).view(1, 16, *x.shape[2:]))),
        frozen={"a": "view .* failed"},
    ),
    "linear after flatten": Case(
        lambda: net(
            lambda m, x: m.fc(F.adaptive_avg_pool2d(m.a(x), 2).flatten(1)).view(1, 1, 5, 1) * m.out(m.a(x)).mean(),
            fc=nn.Linear(64, 5),
        ),
        free={"a": 16},
        frozen={"fc": "output", "out": "broadcast"},
    ),
    "layer scale [C,1,1]": Case(lambda: net(lambda m, x: m.out(m.a(x) * m.s), s=vector(16, 1, 1)), free={"a": 16}),
    "layer scale [1,C,1,1]": Case(lambda: net(lambda m, x: m.out(m.a(x) * m.s), s=vector(1, 16, 1, 1)), free={"a": 16}),
    "a map of weights [1,C,h,1]": Case(
        lambda: net(lambda m, x: m.out(F.adaptive_avg_pool2d(m.a(x), 4) * m.s), s=vector(1, 16, 4, 1)),
        frozen={"a": "no channels to remove"},
    ),
    "PReLU": Case(lambda: net(lambda m, x: m.out(m.p(m.a(x))), p=nn.PReLU(16)), free={"a": 16}),
    "PReLU with one slope": Case(lambda: net(lambda m, x: m.out(m.p(m.a(x))), p=nn.PReLU()), free={"a": 16}),
    "instance norm": Case(
        lambda: net(lambda m, x: m.out(m.n(m.a(x))), n=nn.InstanceNorm2d(16, affine=True)), free={"a": 16}
    ),
    "layer norm over channels": Case(
        lambda: net(lambda m, x: m.out(m.n(m.a(x))), n=LastNorm(16)), free={"a": 16}, masked=False
    ),
    "group norm": Case(
        lambda: net(lambda m, x: m.out(m.n(m.a(x))), n=nn.GroupNorm(4, 16)), free={"a": 4}, masked=False
    ),
    "an unused parameter": Case(
        lambda: net(lambda m, x: m.out(m.a(x)), lonely=vector(16), idle=conv(16, 16)), free={"a": 16}
    ),
    "a layer used twice": Case(
        lambda: net(lambda m, x: m.out(m.b(F.relu(m.b(m.a(x))))), b=conv(16, 16)), free={"a": 16}
    ),
    "a layer with two names": Case(twins, frozen={"a": "b.weight and c.weight are one tensor"}),
    "a dead output": Case(
        lambda: net(lambda m, x: (m.dead(y := m.a(x)), m.out(y))[1], dead=conv(16, 8)),
        free={"a": 16},
        frozen={"dead": "nothing reads it"},
    ),
    "several outputs": Case(
        lambda: net(lambda m, x: {"depth": [m.out(y := m.a(x))], "more": m.b(y)}, b=conv(16, 4)),
        free={"a": 16},
        frozen={"out": "output", "b": "output"},
    ),
    "attention": Case(
        lambda: net(attention, qkv=nn.Linear(16, 48)),
        free={"a": 16},
        frozen={"qkv": "scaled_dot_product_attention", "out": "output"},
        unknown=("scaled_dot_product_attention",),
    ),
    "fft": Case(
        lambda: net(lambda m, x: m.out(torch.fft.fft(m.a(x), dim=1).abs())),
        frozen={"a": "no rule for the operation fft_fft"},
        unknown=("fft_fft",),
    ),
    "einsum with a parameter": Case(
        lambda: net(lambda m, x: m.out(torch.einsum("bchw,dc->bdhw", m.a(x), m.mix)), mix=vector(16, 16)),
        frozen={"a": "einsum"},
        unknown=("einsum",),
    ),
    "autocast": Case(
        lambda: net(in_half_precision, b=conv(16, 16)),
        free={"b": 16},
        frozen={"a": "wrap_with_autocast"},
        unknown=("wrap_with_autocast",),
    ),
    "zero-padded channels": Case(
        lambda: net(lambda m, x: m.out(m.b(y := m.a(x)) + padded(y, 16)), width=32, b=conv(16, 32, stride=2)),
        frozen={"a": "pad mixes", "b": "no channels to remove"},
    ),
    "zeros then written": Case(
        lambda: net(zeros_then_written, width=32), frozen={"a": "new_zeros"}, unknown=("new_zeros", "copy_")
    ),
    "in place": Case(
        lambda: net(lambda m, x: m.out(m.a(x).add_(1).relu_().mul_(m.b(x))), b=conv(3, 16)), free={"a": 16}
    ),
    "weight standardisation": Case(
        lambda: net(
            lambda m, x: m.out(F.conv2d(m.a(x), standardised(m.b.weight), m.b.bias, padding=1)), b=conv(16, 16)
        ),
        frozen={"a": "conv2d mixes"},
    ),
    "a buffer that is not stored": Case(Forgetful, frozen={"a": "the buffer scale is not in state_dict"}),
    "spatial attention": Case(
        lambda: net(spatial_attention, gate=conv(2, 1, 7)), frozen={"a": "mean mixes", "gate": "broad"}
    ),
    "a gate for each pixel": Case(
        lambda: net(lambda m, x: m.out((y := m.a(x)) * torch.sigmoid(m.gate(y))), gate=conv(16, 1, 1)),
        free={"a": 16},
        frozen={"gate": "broadcast"},
    ),
    "linear over places": Case(
        lambda: net(
            lambda m, x: m.out(m.fc(F.adaptive_avg_pool2d(m.a(x), 4).flatten(2)).unflatten(2, (4, 4))),
            fc=nn.Linear(16, 16),
        ),
        frozen={"a": "linear mixes"},
    ),
    "functional groups by number": Case(
        lambda: net(lambda m, x: m.out(F.conv2d(m.a(x), m.w, groups=16, padding=1)), w=vector(16, 1, 3, 3)),
        frozen={"a": "does not run"},
    ),
    "a saturated end": Case(
        lambda: net(lambda m, x: F.relu(m.out(shuffled(m.a(x), 2)).clamp(max=1e-9)) * 0 + 1),
        frozen={"a": "a trial"},
    ),
}
