"""Give a net's layers the shapes of stored tensors: the tensors' shapes are the architecture."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from leadline.core.text import short_repr


def resize_(net: nn.Module, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Replace, in place, every parameter and buffer of `net` whose shape differs from `shapes`; contents are undefined.

    Widths of the layers that own them follow (`out_channels`, `num_features`, `normalized_shape`, `groups` of a
    depthwise convolution, plain or transposed; other groups keep their number).
    A name that the net lacks, or one that is missing, is a ValueError.
    """
    stored = set(shapes)
    wanted = {name for name in net.state_dict() if not name.endswith("num_batches_tracked")}
    if stored != wanted:
        odd = sorted(stored ^ wanted)[0]
        state = "has no place in" if odd in stored else "is missing for"
        raise ValueError(f"the tensor {short_repr(odd)} {state} this net; the file belongs to another one")
    for prefix, module in net.named_modules():
        for name, tensor in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
            shape = shapes.get(f"{prefix}.{name}" if prefix else name)
            if shape is None or shape == tuple(tensor.shape):
                continue
            if len(shape) != tensor.ndim or 0 in shape:
                said = f"{tensor.ndim} dimensions above 0 are needed"
                raise ValueError(f"the tensor '{prefix}.{name}' has shape {shape}; {said}")
            fresh = torch.empty(shape, dtype=tensor.dtype, device=tensor.device)
            setattr(module, name, nn.Parameter(fresh, tensor.requires_grad) if name in module._parameters else fresh)
            _follow(module, shape, tuple(tensor.shape))


def check_kernels(net: nn.Module, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """A ValueError if a stored convolution has another kernel than `net`, whose padding would not follow."""
    for name, tensor in net.state_dict().items():
        shape = shapes.get(name, ())
        if len(shape) == 4 == tensor.ndim and shape[2:] != tuple(tensor.shape[2:]):
            raise ValueError(f"the tensor '{name}' has shape {shape}; a kernel of {tuple(tensor.shape[2:])} is needed")


def _follow(module: nn.Module, shape: tuple[int, ...], was: tuple[int, ...]) -> None:
    """Set what `module` says of its widths, after a tensor of shape `was` has become one of `shape`."""
    if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d | nn.InstanceNorm2d):
        module.num_features = shape[0]
    elif isinstance(module, nn.LayerNorm):
        module.normalized_shape = shape
    elif isinstance(module, nn.GroupNorm):
        module.num_channels = shape[0]
    elif isinstance(module, nn.PReLU):
        module.num_parameters = shape[0]
    elif isinstance(module, nn.Linear) and len(shape) == 2:
        module.out_features, module.in_features = shape
    elif isinstance(module, nn.Conv1d | nn.Conv2d) and len(shape) > 2:
        if module.groups > 1 and was[1] == 1:  # depthwise, perhaps with several outputs for each input
            module.groups = shape[0] * module.in_channels // was[0]
        module.out_channels = shape[0]
        module.in_channels = shape[1] * module.groups
    elif isinstance(module, nn.ConvTranspose2d) and len(shape) == 4:  # [inputs, outputs / groups, k, k]
        if module.groups == was[0] > 1:
            module.groups = shape[0]
        module.in_channels = shape[0]
        module.out_channels = shape[1] * module.groups
