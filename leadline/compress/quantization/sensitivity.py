"""What 8 bits do to each layer, simulated in PyTorch: a ranking of the convolutions, and biases that make up for it.

The simulation is what all our runtimes do, up to details of rounding: int8 weights, symmetric, a scale for each output
channel; uint8 inputs, one scale and zero point for each layer, from the smallest to the largest value of calibration.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from leadline.evaluation.metrics import rmse
from leadline.nn.fold import convolutions

N = TypeVar("N", bound=nn.Module)


def quantized_weight(weight: Tensor) -> Tensor:
    """`weight` [out,in,k,k] after a round trip through int8, symmetric, a scale for each output channel."""
    largest = weight.abs().amax(dim=(1, 2, 3), keepdim=True)
    scale = torch.where(largest > 0, largest / 127, torch.ones_like(largest))
    return (weight / scale).round().clamp(-127, 127) * scale


def quantized_input(x: Tensor, low: float, high: float) -> Tensor:
    """`x` after a round trip through uint8 over the range `low` to `high`, widened to hold 0 exactly."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / 255 or 1.0
    zero = round(-low / scale)
    return ((x / scale).round().add(zero).clamp(0, 255) - zero) * scale


def ranges(net: nn.Module, images: Sequence[np.ndarray]) -> dict[str, tuple[float, float]]:
    """The smallest and largest input of each convolution over `images`, network inputs float32 [1,3,h,w]."""
    found: dict[str, tuple[float, float]] = {}
    names = set(convolutions(net, torch.tensor(images[0])))

    def note(name: str, x: Tensor) -> None:
        low, high = found.get(name, (0.0, 0.0))
        found[name] = min(low, float(x.min())), max(high, float(x.max()))

    hooks = [
        module.register_forward_pre_hook(lambda _m, x, name=name: note(name, x[0]))
        for name, module in net.named_modules()
        if name in names
    ]
    with _undone(hooks), torch.no_grad():
        for image in images:
            net(torch.tensor(image))
    return found


def sensitivity(
    net: nn.Module, images: Sequence[np.ndarray], seen: Mapping[str, tuple[float, float]] | None = None
) -> dict[str, float]:
    """Each convolution's harm when it alone is in 8 bits, the most harmful first: RMSE in the output's unit (metres).

    The error is against the same net in floating point, on `images`, network inputs float32 [1,3,h,w]. `net` is in eval
    mode with its batch norms folded; `seen` are the ranges of its inputs, by default those on `images`.
    """
    seen = seen or ranges(net, images)
    expected = [_output(net, image) for image in images]
    harm = {}
    for name in seen:
        with simulated(net, {name: seen[name]}):
            harm[name] = float(np.mean([rmse(_output(net, i), e) for i, e in zip(images, expected, strict=True)]))
    return dict(sorted(harm.items(), key=lambda item: -item[1]))


@contextlib.contextmanager
def simulated(net: nn.Module, seen: Mapping[str, tuple[float, float]]) -> Iterator[None]:
    """Meanwhile the convolutions named in `seen` run with 8-bit weights, and 8-bit inputs over those ranges."""
    modules = {name: net.get_submodule(name) for name in seen}
    before = {name: module.weight.data for name, module in modules.items()}
    hooks = [
        module.register_forward_pre_hook(lambda _m, x, span=seen[name]: (quantized_input(x[0], *span),))
        for name, module in modules.items()
    ]
    try:
        for module in modules.values():
            assert isinstance(module, nn.Conv2d)
            module.weight.data = quantized_weight(module.weight.data)
        with _undone(hooks):
            yield
    finally:
        for name, module in modules.items():
            module.weight.data = before[name]


def with_corrected_biases(net: N, images: Sequence[np.ndarray]) -> N:
    """A copy of `net` whose biases take back the mean shift that rounding the weights to 8 bits brings.

    Nagel et al. 2019, arXiv 1906.04721, section 4.2, measured on `images` as in their appendix D rather than derived
    from batch norms. Layer by layer, each after those before it are corrected. `net` is folded and in eval mode.
    """
    corrected = copy.deepcopy(net).eval()
    for name in convolutions(net, torch.tensor(images[0])):
        conv = corrected.get_submodule(name)
        assert isinstance(conv, nn.Conv2d)
        error = quantized_weight(conv.weight.data) - conv.weight.data
        shift = torch.zeros(conv.out_channels)

        def note(module: nn.Module, inputs: tuple[Tensor, ...], shift: Tensor = shift, error: Tensor = error) -> None:
            assert isinstance(module, nn.Conv2d)
            # the convolution without its bias: the error is linear in the input
            wrong = module._conv_forward(inputs[0], error, None)
            shift.add_(wrong.mean(dim=(0, 2, 3)))

        with _undone([conv.register_forward_pre_hook(note)]), torch.no_grad():
            for image in images:
                corrected(torch.tensor(image))
        bias = torch.zeros(conv.out_channels) if conv.bias is None else conv.bias.data
        conv.bias = nn.Parameter(bias - shift / len(images))
    return corrected


@contextlib.contextmanager
def _undone(hooks: Sequence[torch.utils.hooks.RemovableHandle]) -> Iterator[None]:
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _output(net: nn.Module, image: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return np.asarray(net(torch.tensor(image)).numpy())
