"""The rules for layers that own tensors: what convolutions, linear layers and norms do to the names of channels."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from leadline.compress.pruning.symbolic import Call, ChannelIds, Named, Stored, nameless, opaque


def convolution(names: ChannelIds, call: Call, shape: Any) -> Any:
    """Names that come in are those of weight dim 1, dim 0 names what goes out; groups give up channels alike.

    1. Depthwise (each group has one channel in): what comes in, the weight and what goes out are one.
    2. Grouped: the same channels of all groups are one, on both sides.
    """
    x, weight, bias = call.args[0], call.args[1], call.get(2, "bias")
    groups = call.get(6, "groups", 1)
    if not isinstance(weight, Stored) or len(x.shape) < len(weight.shape):
        return opaque(names, call, shape)
    seen, outputs = names.per_channel(x), names.of(weight, 0)
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


def transposed(names: ChannelIds, call: Call, shape: Any) -> Any:
    """As a convolution, its weight being [inputs, outputs / groups, k, k]."""
    x, weight, bias = call.args[0], call.args[1], call.get(2, "bias")
    groups = call.get(6, "groups", 1)
    if not isinstance(weight, Stored) or len(x.shape) < len(weight.shape):
        return opaque(names, call, shape)
    seen, inputs = names.per_channel(x), names.of(weight, 0)
    names.tie(inputs, seen)
    if groups == weight.shape[0] > 1:
        return _made(names, weight, 0, bias, inputs.repeat_interleave(weight.shape[1]), shape)
    rows = inputs.reshape(groups, -1)
    for row in rows[1:]:
        names.tie(rows[0], row)
    names.readers.add((weight.name, 0))
    return _made(names, weight, 1, bias, names.of(weight, 1).repeat(groups), shape)


def linear(names: ChannelIds, call: Call, shape: Any) -> Any:
    """A weight of (outputs, inputs) on the last dim: ties what it reads, makes new names."""
    x, weight, bias = call.args[0], call.args[1], call.get(2, "bias")
    if not isinstance(weight, Stored) or set(x.varies()) - {len(shape) - 1}:
        return opaque(names, call, shape)
    names.tie(names.of(weight, 1), x.ids.flatten().expand(weight.shape[1]))
    names.readers.add((weight.name, 1))
    made = _made(names, weight, 0, bias, names.of(weight, 0), shape)
    return Named(made.ids.reshape(*[1] * (len(shape) - 1), -1), shape)


def _made(names: ChannelIds, weight: Stored, dim: int, bias: Any, outputs: Tensor, shape: Any) -> Named:
    names.producers.append((weight.name, dim))
    if isinstance(bias, Stored):
        names.tie(names.of(bias, 0), outputs)
    return Named(outputs.reshape(1, -1, *[1] * (len(shape) - 2)), shape)


def norm(names: ChannelIds, call: Call, shape: Any) -> Any:
    """Batch and instance norm: the vectors belong to the channels."""
    x = call.args[0]
    return _with_vectors(names, x, call.args[1:5], names.per_channel(x), shape)


def group_norm(names: ChannelIds, call: Call, shape: Any) -> Any:
    """As grouped convolutions: the same channels of all groups are one. Their statistics change with the width."""
    x = call.args[0]
    seen = names.per_channel(x)
    rows = seen.reshape(call.args[1], -1)
    for row in rows[1:]:
        names.tie(rows[0], row)
    return _with_vectors(names, x, (call.get(2, "weight"), call.get(3, "bias")), seen, shape)


def _with_vectors(names: ChannelIds, x: Named, vectors: Any, seen: Tensor, shape: Any) -> Named:
    for vector in vectors:
        if isinstance(vector, Stored):
            names.tie(names.of(vector, 0), seen)
    return Named(seen.reshape(1, -1, *[1] * (len(shape) - 2)), shape) if x.ids.any() else nameless(shape)


def layer_norm(names: ChannelIds, call: Call, shape: Any) -> Any:
    """Over the last dim: the vectors belong to it, and the statistics change with the width, as they must."""
    x = call.args[0]
    if len(call.args[1]) != 1 or set(x.varies()) - {len(shape) - 1}:
        return opaque(names, call, shape)
    last = x.ids.flatten().expand(shape[-1])
    for vector in (call.get(2, "weight"), call.get(3, "bias")):
        if isinstance(vector, Stored):
            names.tie(names.of(vector, 0), last)
    return Named(x.ids, shape)


def prelu(names: ChannelIds, call: Call, shape: Any) -> Any:
    """A slope for each channel, or one for all."""
    x, weight = call.args
    if not isinstance(weight, Stored):
        return opaque(names, call, shape)
    if weight.shape != (1,):
        names.tie(names.of(weight, 0), names.per_channel(x))
    return Named(x.ids, shape)
