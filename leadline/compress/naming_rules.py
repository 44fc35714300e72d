"""The rules: what each operation does to the names of channels. An operation without a rule freezes what it touches, so
every further rule only frees more.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from leadline.compress.naming import Call, Named, Names, Rule, Stored, compressed, nameless

_DERIVED = "its weight is computed, not stored"


def _convolution(names: Names, call: Call, shape: Any) -> Any:
    """Names that come in are those of weight dim 1, dim 0 names what goes out; groups give up channels alike.

    1. Depthwise (each group has one channel in): what comes in, the weight and what goes out are one.
    2. Grouped: the same channels of all groups are one, on both sides.
    """
    x, weight, bias = call.args[0], call.args[1], call.get(2, "bias")
    groups = call.get(6, "groups", 1)
    if not isinstance(weight, Stored):
        return _opaque(names, call, shape)
    seen, outputs = _rows(names, x), names.of(weight, 0)
    if groups > 1 and weight.shape[1] == 1:  # rule 1
        for column in outputs.reshape(groups, -1).T:
            names.tie(column, seen)
    else:
        inputs = names.of(weight, 1)
        for row in seen.reshape(groups, -1):
            names.tie(inputs, row)
        rows = outputs.reshape(groups, -1)
        for row in rows[1:]:  # rule 2
            names.tie(rows[0], row)
        names.readers.add((weight.name, 1))
    return _made(names, weight, 0, bias, outputs, shape)


def _transposed(names: Names, call: Call, shape: Any) -> Any:
    """As a convolution, its weight being [inputs, outputs / groups, k, k]."""
    x, weight, bias = call.args[0], call.args[1], call.get(2, "bias")
    groups = call.get(6, "groups", 1)
    if not isinstance(weight, Stored):
        return _opaque(names, call, shape)
    seen, inputs = _rows(names, x), names.of(weight, 0)
    names.tie(inputs, seen)
    if groups > 1 and weight.shape[1] == 1:
        return _made(names, weight, 0, bias, inputs, shape)
    rows = inputs.reshape(groups, -1)
    for row in rows[1:]:
        names.tie(rows[0], row)
    names.readers.add((weight.name, 0))
    return _made(names, weight, 1, bias, names.of(weight, 1).repeat(groups), shape)


def _linear(names: Names, call: Call, shape: Any) -> Any:
    x, weight, bias = call.args[0], call.args[1], call.get(2, "bias")
    if not isinstance(weight, Stored):
        return _opaque(names, call, shape)
    last = x.ids.movedim(-1, 0).flatten(1)
    last = last.expand(weight.shape[1], -1)
    for column in last.T:
        names.tie(names.of(weight, 1), column)
    names.readers.add((weight.name, 1))
    made = _made(names, weight, 0, bias, names.of(weight, 0), shape)
    return Named(made.ids.reshape(*[1] * (len(shape) - 1), -1), shape)


def _made(names: Names, weight: Stored, dim: int, bias: Any, outputs: Tensor, shape: Any) -> Named:
    names.producers.append((weight.name, dim))
    if isinstance(bias, Stored):
        names.tie(names.of(bias, 0), outputs)
    return Named(outputs.reshape(1, -1, *[1] * (len(shape) - 2)), shape)


def _rows(names: Names, x: Named) -> Tensor:
    return torch.zeros(x.shape[1], dtype=torch.int64) if not x.ids.any() else names.per_channel(x)


def _norm(names: Names, call: Call, shape: Any) -> Any:
    """Batch and instance norm: the vectors belong to the channels."""
    x = call.args[0]
    return _with_vectors(names, x, call.args[1:5], _rows(names, x), shape)


def _group_norm(names: Names, call: Call, shape: Any) -> Any:
    """As grouped convolutions: the same channels of all groups are one. Their statistics change with the width."""
    x = call.args[0]
    seen = _rows(names, x)
    rows = seen.reshape(call.args[1], -1)
    for row in rows[1:]:
        names.tie(rows[0], row)
    return _with_vectors(names, x, (call.get(2, "weight"), call.get(3, "bias")), seen, shape)


def _with_vectors(names: Names, x: Named, vectors: Any, seen: Tensor, shape: Any) -> Named:
    for vector in vectors:
        if isinstance(vector, Stored):
            names.tie(names.of(vector, 0), seen)
    return Named(seen.reshape(1, -1, *[1] * (len(shape) - 2)), shape) if x.ids.any() else nameless(shape)


def _layer_norm(names: Names, call: Call, shape: Any) -> Any:
    """Over the last dim: the vectors belong to it, and the statistics change with the width, as they must."""
    x = call.args[0]
    if len(call.args[1]) != 1 or set(x.varies()) - {len(shape) - 1}:
        return _opaque(names, call, shape)
    last = x.ids.flatten().expand(shape[-1])
    for vector in (call.get(2, "weight"), call.get(3, "bias")):
        if isinstance(vector, Stored):
            names.tie(names.of(vector, 0), last)
    return Named(x.ids, shape)


def _pointwise(names: Names, call: Call, shape: Any) -> Any:
    """Names that meet are one: a skip-add, a squeeze-excite product, a layer scale.

    1. What is broadcast along channels (a gate for each pixel) has nothing to remove, and ties nothing.
    2. A stored tensor that varies along one dim ([C], [C,1,1]) is a vector; one that varies along several is fixed.
    """
    operands = [_as_vector(names, v, len(shape)) if isinstance(v, Stored) else v for v in call.values()]
    ranks = [(v.ids.reshape(*[1] * (len(shape) - v.ids.ndim), *v.ids.shape), v.shape) for v in operands]
    varied = np.broadcast_shapes(*(tuple(ids.shape) for ids, _ in ranks))
    kept: Tensor | None = None
    for ids, real in ranks:
        real = (1,) * (len(shape) - len(real)) + tuple(real)
        if not ids.any() and all(real[dim] == 1 for dim, n in enumerate(varied) if n > 1):
            continue  # rule 1
        if kept is None:
            kept = ids.expand(varied)
        else:
            names.tie(kept, ids.expand(varied))
            kept = torch.where(kept > 0, kept, ids.expand(varied))
    return nameless(shape) if kept is None else Named(kept.clone(), shape)


def _as_vector(names: Names, stored: Stored, rank: int) -> Named:
    long = [dim for dim, n in enumerate(stored.shape) if n > 1]
    if len(long) > 1:
        names.untouchable.setdefault(stored.name, "a stored tensor that varies along several dims")
    if len(long) != 1:
        return nameless(stored.shape)
    ids = names.of(stored, long[0])
    return Named(ids.reshape([-1 if dim == long[0] else 1 for dim in range(len(stored.shape))]), stored.shape)


def _spatial(names: Names, call: Call, shape: Any) -> Any:
    """Pooling and resizing: within a channel only."""
    x = call.args[0]
    ids = _rows(names, x).reshape(1, -1, *[1] * (len(shape) - 2)) if x.ids.any() else x.ids
    return Named(ids, shape)


def _pad(names: Names, call: Call, shape: Any) -> Any:
    """Along dims without names a border belongs to the channel that it surrounds."""
    x = call.args[0]
    padded = {len(shape) - 1 - i for i in range(len(call.args[1]) // 2)}
    return Named(x.ids, shape) if not padded & set(x.varies()) else _opaque(names, call, shape)


def _reduced(names: Names, call: Call, shape: Any) -> Any:
    """A mean, sum or maximum over dims without names keeps the others; over names it would change with them."""
    x, dims = call.args[0], call.get(1, "dim")
    whole = list(range(len(x.shape)))
    dims = whole if dims in (None, []) else [d % len(whole) for d in (dims if isinstance(dims, list) else [dims])]
    if set(dims) & set(x.varies()):
        return _opaque(names, call, shape)
    ids = x.ids
    if len(shape) < len(x.shape):
        for dim in sorted(dims, reverse=True):
            ids = ids.squeeze(dim)
    return Named(ids, shape)


def _along(names: Names, call: Call, shape: Any) -> Any:
    """A softmax or cumulative sum along a dim: it must not be one of names."""
    x, dim = call.args[0], call.args[1] % len(shape)
    return Named(x.ids, shape) if dim not in x.varies() else _opaque(names, call, shape)


def _product(names: Names, call: Call, shape: Any) -> Any:
    """A matrix product with a constant matrix, over a dim without names (a resize as matrices)."""
    left, right = call.args
    if isinstance(left, Stored) or isinstance(right, Stored) or min(len(left.shape), len(right.shape)) < 2:
        return _opaque(names, call, shape)
    rank = len(shape)
    side, other, contracted = (left, right, rank - 1) if left.ids.any() else (right, left, rank - 2)
    ids = side.ids.reshape(*[1] * (rank - side.ids.ndim), *side.ids.shape)
    if other.ids.any() or ids.shape[contracted] > 1:
        return _opaque(names, call, shape)
    return Named(ids, shape)


def _moved(names: Names, call: Call, shape: Any) -> Any:
    """Data movement runs on the names. Where it cuts or merges the dim of names, sizes written in Python may stand
    behind it: such names are in doubt.
    """
    touched = [v for v in call.values() if isinstance(v, Named)]
    if len(touched) < len(call.values()):
        return _opaque(names, call, shape)
    if not any(v.ids.any() for v in touched):
        return _results(call.target(*_with(call.args, _dummy), **call.kwargs))
    moved = _results(call.target(*_with(call.args, Named.whole), **call.kwargs))
    before = sorted(v.shape[dim] for v in touched for dim in v.varies())
    results = moved if isinstance(moved, list) else [moved]
    if call.target._opname not in _SAFE and any(before != sorted(r.shape[d] for d in r.varies()) for r in results):
        for value in touched:
            names.doubt(value.ids, f"{call.target._opname} cuts or merges its channels")
    return moved


_SAFE = ("cat", "pixel_shuffle", "permute", "transpose", "unsqueeze", "squeeze")
"""Movement that takes the sizes it finds."""


def _results(value: Any) -> Any:
    return [compressed(v) for v in value] if isinstance(value, list | tuple) else compressed(value)


def _with(args: Any, how: Any) -> list[Any]:
    return [how(a) if isinstance(a, Named) else _with(a, how) if isinstance(a, list | tuple) else a for a in args]


def _dummy(value: Named) -> Tensor:
    return torch.zeros(1, dtype=torch.int64).expand(math.prod(value.shape)).reshape(value.shape)


def _opaque(names: Names, call: Call, shape: Any) -> Any:
    """What is not understood freezes what it touches."""
    why = f"{call.target._opname} mixes its channels"
    for value in call.values():
        if isinstance(value, Stored):
            names.untouchable.setdefault(value.name, _DERIVED)
        else:
            names.freeze(value.ids, why)
    return nameless(shape)


def _kept(names: Names, call: Call, shape: Any) -> Any:
    return Named(call.args[0].ids, shape) if isinstance(call.args[0], Named) else call.args[0]


def _nothing(names: Names, call: Call, shape: Any) -> Any:
    return None


def _rules() -> dict[str, Rule]:
    table: dict[Any, str] = {
        _convolution: "conv2d conv1d",
        _transposed: "conv_transpose2d",
        _linear: "linear",
        _norm: "batch_norm instance_norm",
        _group_norm: "group_norm",
        _layer_norm: "layer_norm",
        _pointwise: "add sub mul div maximum minimum pow where prelu relu relu6 hardtanh elu gelu silu hardswish "
        "hardsigmoid sigmoid tanh leaky_relu clamp clamp_min clamp_max abs neg exp log sqrt rsqrt reciprocal softplus "
        "mish selu celu rsub square",
        _spatial: "max_pool2d avg_pool2d adaptive_avg_pool2d adaptive_max_pool2d upsample_nearest2d "
        "upsample_bilinear2d upsample_bicubic2d upsample_nearest_exact2d",
        _pad: "pad constant_pad_nd reflection_pad2d replication_pad2d",
        _reduced: "mean sum amax amin var std",
        _along: "softmax log_softmax cumsum",
        _product: "matmul mm bmm",
        _moved: "view reshape flatten unflatten permute transpose t cat stack concat slice select split "
        "split_with_sizes chunk unbind narrow expand expand_as repeat squeeze unsqueeze roll flip pixel_shuffle "
        "pixel_unshuffle channel_shuffle movedim tile repeat_interleave index_select",
        _kept: "alias contiguous clone detach dropout feature_dropout to _to_copy lift_fresh_copy identity",
        _nothing: "_assert_tensor_metadata",
    }
    return {name: rule for rule, names in table.items() for name in names.split()}


RULES = _rules()
