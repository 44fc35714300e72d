"""The rules: what each operation does to the names of channels. An operation without a rule freezes what it touches, so
every further rule only frees more.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from leadline.compress.pruning import layer_rules as layers
from leadline.compress.pruning.symbolic import Call, ChannelIds, Named, Rule, Stored, compressed, nameless, opaque


def _pointwise(names: ChannelIds, call: Call, shape: Any) -> Any:
    """Names that meet are one: a skip-add, a squeeze-excite product, a layer scale.

    1. What is broadcast along channels (a gate for each pixel) ties nothing; if it has a name itself, that one stays.
    2. A stored tensor that varies along one dim ([C], [C,1,1]) is a vector; one that varies along several is fixed.
    """
    operands = [_as_vector(names, v, len(shape)) if isinstance(v, Stored) else v for v in call.values()]
    ranks = [(v.ids.reshape(*[1] * (len(shape) - v.ids.ndim), *v.ids.shape), v.shape) for v in operands]
    varied = np.broadcast_shapes(*(tuple(ids.shape) for ids, _ in ranks))
    kept: Tensor | None = None
    for ids, real in ranks:
        real = (1,) * (len(shape) - len(real)) + tuple(real)
        if all(real[dim] == 1 for dim, n in enumerate(varied) if n > 1) and (
            max(varied, default=1) > 1 or not ids.any()
        ):
            names.freeze(ids, "a map that is broadcast over channels")  # rule 1
            continue
        if kept is None:
            kept = ids.expand(varied)
        else:
            names.tie(kept, ids.expand(varied))
            kept = torch.where(kept > 0, kept, ids.expand(varied))
    return nameless(shape) if kept is None else Named(kept.clone(), shape)


def _as_vector(names: ChannelIds, stored: Stored, rank: int) -> Named:
    long = [dim for dim, n in enumerate(stored.shape) if n > 1]
    if len(long) > 1:
        names.untouchable.setdefault(stored.name, "a stored tensor that varies along several dims")
    if len(long) != 1:
        return nameless(stored.shape)
    ids = names.of(stored, long[0])
    return Named(ids.reshape([-1 if dim == long[0] else 1 for dim in range(len(stored.shape))]), stored.shape)


def _spatial(names: ChannelIds, call: Call, shape: Any) -> Any:
    """Pooling and resizing: within a channel only."""
    x = call.args[0]
    ids = names.per_channel(x).reshape(1, -1, *[1] * (len(x.shape) - 2)) if x.ids.any() else x.ids
    return [Named(ids, each) for each in shape] if isinstance(shape, list) else Named(ids, shape)


def _pad(names: ChannelIds, call: Call, shape: Any) -> Any:
    """Along dims without names a border belongs to the channel that it surrounds."""
    x = call.args[0]
    amounts = call.args[1]
    padded = {len(shape) - 1 - i // 2 for i, n in enumerate(amounts) if n}
    return Named(x.ids, shape) if not padded & set(x.varies()) else opaque(names, call, shape)


def _reduced(names: ChannelIds, call: Call, shape: Any) -> Any:
    """A mean, sum or maximum over dims without names keeps the others; over names it would change with them."""
    x, dims = call.args[0], call.get(1, "dim")
    whole = list(range(len(x.shape)))
    dims = whole if dims in (None, []) else [d % len(whole) for d in (dims if isinstance(dims, list) else [dims])]
    if set(dims) & set(x.varies()):
        return opaque(names, call, shape)
    ids = x.ids
    if len(shape) < len(x.shape):
        for dim in sorted(dims, reverse=True):
            ids = ids.squeeze(dim)
    return Named(ids, shape)


def _along(names: ChannelIds, call: Call, shape: Any) -> Any:
    """A softmax or cumulative sum along a dim: it must not be one of names."""
    x, dim = call.args[0], call.args[1] % len(shape)
    return Named(x.ids, shape) if dim not in x.varies() else opaque(names, call, shape)


def _product(names: ChannelIds, call: Call, shape: Any) -> Any:
    """A matrix product with a constant matrix, over a dim without names (a resize as matrices)."""
    left, right = call.args
    if isinstance(left, Stored) or isinstance(right, Stored) or min(len(left.shape), len(right.shape)) < 2:
        return opaque(names, call, shape)
    rank = len(shape)
    side, other, contracted = (left, right, rank - 1) if left.ids.any() else (right, left, rank - 2)
    ids = side.ids.reshape(*[1] * (rank - side.ids.ndim), *side.ids.shape)
    if other.ids.any() or ids.shape[contracted] > 1:
        return opaque(names, call, shape)
    return Named(ids, shape)


def _moved(names: ChannelIds, call: Call, shape: Any) -> Any:
    """Data movement runs on the names.

    Where it takes sizes or positions along the dims of names, those may be written in Python, and removing channels
    would move a border: such names are in doubt.
    """
    name = call.name
    touched = [v for v in call.values() if isinstance(v, Named)]
    data = touched if name in ("cat", "stack") else touched[: 1 + (name == "expand_as")]
    if name.endswith("_") or len(data) < len(call.values()):  # stored, in place, or moved by another tensor
        return opaque(names, call, shape)
    if not any(v.ids.any() for v in data):
        return _results(call.target(*_with(call.args, _dummy), **call.kwargs))
    moved = _results(call.target(*_with(call.args, Named.whole), **call.kwargs))
    if name in _ALONG_ONE:
        position, key = _ALONG_ONE[name]
        in_doubt = call.get(position, key, 0) % len(data[0].shape) in data[0].varies()
    else:
        in_doubt = name not in _SAFE and any(v.varies() for v in data)
    if in_doubt:
        for value in data:
            names.doubt(value.ids, f"{name} takes sizes or positions along its channels")
    return moved


_SAFE = (
    *("cat", "stack", "permute", "transpose", "t", "movedim", "unsqueeze", "squeeze", "flatten", "flip"),
    *("pixel_shuffle", "pixel_unshuffle"),
)
"""Movement that takes the sizes it finds."""

_ALONG_ONE = {
    **dict.fromkeys(("slice", "select", "narrow", "unbind", "unflatten"), (1, "dim")),
    **dict.fromkeys(("split", "split_with_sizes", "chunk"), (2, "dim")),
}
"""Movement that takes sizes or positions along one dim: the place and name of that argument."""


def _results(value: Any) -> Any:
    return [compressed(v) for v in value] if isinstance(value, list | tuple) else compressed(value)


def _with(args: Any, how: Any) -> list[Any]:
    return [how(a) if isinstance(a, Named) else _with(a, how) if isinstance(a, list | tuple) else a for a in args]


def _dummy(value: Named) -> Tensor:
    return torch.zeros(1, dtype=torch.int64).expand(math.prod(value.shape)).reshape(value.shape)


def _kept(names: ChannelIds, call: Call, shape: Any) -> Any:
    return Named(call.args[0].ids, shape) if isinstance(call.args[0], Named) else call.args[0]


def _rules() -> dict[str, Rule]:
    table: dict[Any, str] = {
        layers.convolution: "conv2d conv1d",
        layers.transposed: "conv_transpose2d",
        layers.linear: "linear",
        layers.norm: "batch_norm instance_norm",
        layers.group_norm: "group_norm",
        layers.layer_norm: "layer_norm",
        _pointwise: "add sub mul div maximum minimum pow where relu relu6 hardtanh elu gelu silu hardswish "
        "hardsigmoid sigmoid tanh leaky_relu clamp clamp_min clamp_max abs neg exp log sqrt rsqrt reciprocal softplus "
        "mish selu celu rsub square",
        layers.prelu: "prelu",
        _spatial: "max_pool2d avg_pool2d adaptive_avg_pool2d adaptive_max_pool2d upsample_nearest2d "
        "upsample_bilinear2d upsample_bicubic2d upsample_nearest_exact2d",
        _pad: "pad constant_pad_nd reflection_pad2d replication_pad2d",
        _reduced: "mean sum amax amin var std",
        _along: "softmax log_softmax cumsum",
        _product: "matmul mm bmm",
        _moved: "view reshape flatten unflatten permute transpose t cat stack concat slice select split "
        "split_with_sizes chunk unbind narrow expand expand_as repeat squeeze unsqueeze roll flip pixel_shuffle "
        "pixel_unshuffle channel_shuffle movedim tile repeat_interleave",
        _kept: "alias contiguous clone detach dropout feature_dropout to _to_copy lift_fresh_copy identity",
    }
    takes_stored = (_pointwise, _product, _moved, _kept)
    return {
        name: rule if rule in takes_stored else _of_activations(rule)
        for rule, names in table.items()
        for name in names.split()
    }


def _of_activations(rule: Rule) -> Rule:
    """The rule for what the net computes; a stored tensor in its place (weight standardisation) is not understood."""

    def ruled(names: ChannelIds, call: Call, shape: Any) -> Any:
        return rule(names, call, shape) if isinstance(call.args[0], Named) else opaque(names, call, shape)

    return ruled


RULES = _rules()
