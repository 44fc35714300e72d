"""Batch norms folded into the convolutions before them: the same function, with fewer steps, for inference."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_conv_bn_weights

from leadline.nn.wrap import Wrapped

N = TypeVar("N", bound=nn.Module)


def fold(net: N) -> N:
    """A copy of `net` in eval mode whose batch norms have gone into the convolutions that feed them.

    Seen are the pairs that stand next to each other among a module's children, in the order in which they run: all
    that `nn/blocks.py` and `nn/heads.py` make. A batch norm elsewhere stays as it is, and so does one of a class of its
    own, which may compute more (timm's hold the activation). Results differ by rounding. The children of a wrapped
    module may run in another order: it is folded if that does not change its map, else returned as it is.
    """
    if not isinstance(net, Wrapped):
        return _folded(net)
    plain = copy.deepcopy(net).eval()
    image = torch.rand(1, 3, *net.spec.preprocess.size, generator=torch.Generator().manual_seed(0)).to(net.mean.device)
    with torch.no_grad():
        expected = plain(image)
        try:
            folded = _folded(net)
            found = folded(image)
        except Exception:  # a norm that belongs to another convolution: any layer may refuse, each in its own way
            return plain
    return folded if bool((found - expected).abs().max() <= 1e-4 * expected.abs().max()) else plain


def _folded(net: N) -> N:
    folded = copy.deepcopy(net).eval()
    for module in list(folded.modules()):
        children = list(module.named_children())
        for (name, conv), (after, norm) in pairwise(children):
            if type(norm) is not nn.BatchNorm2d:
                continue
            if isinstance(conv, nn.Conv2d):
                setattr(module, name, fuse_conv_bn_eval(conv, norm))
                setattr(module, after, nn.Identity())
            elif isinstance(conv, nn.ConvTranspose2d):
                _into_transposed_(conv, norm)
                setattr(module, after, nn.Identity())
    return folded


def _into_transposed_(conv: nn.ConvTranspose2d, norm: nn.BatchNorm2d) -> None:
    # a kernel [inputs, outputs / groups, k, k] has no dim of all outputs, which torch's own fusion overlooks: here it
    # is brought to [outputs, inputs / groups, k, k], fused as that of a plain convolution, and brought back
    assert norm.running_mean is not None and norm.running_var is not None
    statistics = norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    plain = nn.Parameter(_exchanged(conv.weight, conv.groups), conv.weight.requires_grad)
    fused, conv.bias = fuse_conv_bn_weights(plain, conv.bias, *statistics)
    conv.weight = nn.Parameter(_exchanged(fused, conv.groups), conv.weight.requires_grad)


def _exchanged(kernel: Tensor, groups: int) -> Tensor:
    """The kernel [a, b / groups, k, k] as [b, a / groups, k, k]: inputs and outputs change places in each group."""
    first, second, *size = kernel.shape
    parts = kernel.detach().reshape(groups, first // groups, second, *size)
    return parts.transpose(1, 2).reshape(groups * second, first // groups, *size)


def convolutions(net: nn.Module, example: Tensor) -> list[str]:
    """The names of the convolutions of `net` in the order in which they run on `example`, each once.

    This order is how a layer is found again in an exported graph, where it has another name.
    """
    order: list[str] = []
    hooks = [
        module.register_forward_pre_hook(lambda _m, _x, name=name: order.append(name))
        for name, module in net.named_modules()
        if isinstance(module, nn.Conv2d)
    ]
    was_training = net.training
    try:
        with torch.no_grad():
            net.eval()(example)
    finally:
        net.train(was_training)
        for hook in hooks:
            hook.remove()
    return list(dict.fromkeys(order))
