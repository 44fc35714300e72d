"""What a net costs: parameters, multiply-accumulates, bytes; also for widths that nobody has built yet.

A `Cost` needs only the shapes of the tensors, so that a search over widths asks it thousands of times.
"""

from __future__ import annotations

import copy
import json
import math
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from leadline.nn import checkpoint
from leadline.nn.build import Net
from leadline.nn.resize import resize_

Shapes = Mapping[str, tuple[int, ...]]
"""A tensor's name in `state_dict` -> its shape, see `shapes_of`."""

Cost = Callable[[Shapes], float]
"""What a net with such shapes costs; it knows the net that it was made for, and so everything but the widths."""


@dataclass(frozen=True)
class Layer:
    """One use of a layer with weights: a module that runs twice in a pass gives two.

    `weight` is the tensor's name in `state_dict`; `kernel` to `groups` are the module's own, for `linear` those of a
    1x1 convolution. `input` is the (height, width) of what goes in, for `linear` (rows, 1). At each of `positions`
    every weight is multiplied once: the outputs of a convolution, the inputs of a transposed one, the rows of `linear`.
    """

    weight: str
    kind: Literal["conv", "transposed", "linear"]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...] | str
    dilation: tuple[int, ...]
    groups: int
    input: tuple[int, int]
    positions: int


def parameters(net: nn.Module) -> int:
    """The number of trainable values, batch norm's included."""
    return sum(p.numel() for p in net.parameters())


def macs(net: nn.Module, size: tuple[int, int]) -> int:
    """Multiply-accumulates of the convolutions and matrix products for one image of `size` (height, width).

    Counted by torch's own counter, which counts 2 operations for each, on a copy without values.
    """
    with FlopCounterMode(display=False) as counter:
        _run(copy.deepcopy(net), size)
    return int(counter.get_total_flops()) // 2


def shapes_of(net: nn.Module) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor that a checkpoint of `net` holds."""
    stored = net.state_dict().items()
    return {name: tuple(tensor.shape) for name, tensor in stored if not name.endswith("num_batches_tracked")}


def layers(net: nn.Module, size: tuple[int, int]) -> list[Layer]:
    """The Layers that run for one image of `size` (height, width), in that order.

    `net` takes float32 [1,3,h,w]; a copy without values runs. Of what is multiplied outside of modules nothing is seen.
    """
    ghost = copy.deepcopy(net)
    found: list[Layer] = []

    def note(name: str, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        found.append(layer_use(f"{name}.weight" if name else "weight", module, inputs[0], output))

    for name, module in ghost.named_modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            module.register_forward_hook(partial(note, name))
    _run(ghost, size)
    return found


def parameter_cost(net: nn.Module) -> Cost:
    """The number of trainable values; the statistics of batch norms, which a checkpoint holds too, are none."""
    names = [name for name, _ in net.named_parameters()]
    return lambda shapes: sum(math.prod(shapes[name]) for name in names)


def macs_cost(net: nn.Module, size: tuple[int, int]) -> Cost:
    """Multiply-accumulates for one image of `size` (height, width), as `macs` counts them.

    Products without weights count as in `net`, whatever the widths: the matrices with which `nn.blocks.upsample`
    enlarges where the sizes have no whole ratio. No net of the zoo has any at the size of its Spec.
    """
    found = [(layer.weight, layer.positions) for layer in layers(net, size)]

    def weighted(shapes: Shapes) -> int:
        return sum(n * math.prod(shapes[name]) for name, n in found)

    others = macs(net, size) - weighted(shapes_of(net))
    return lambda shapes: weighted(shapes) + others


def byte_cost(net: Net) -> Cost:
    """Bytes of the checkpoint in half precision, header included, as `checkpoint.save` writes it without provenance.

    The Spec in the header is that of `net`: what is said there of a pruned one adds its letters.
    """
    tiny = {name: (1,) * len(shape) for name, shape in shapes_of(net).items()}
    ghost = copy.deepcopy(net).to("meta")
    resize_(ghost, tiny)
    ghost.to_empty(device="cpu")
    with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        for tensor in ghost.state_dict().values():
            tensor.zero_()
        content = checkpoint.save(ghost, Path(folder) / "tiny", dtype=torch.float16).read_bytes()
    header = content[8 : 8 + int.from_bytes(content[:8], "little")].rstrip()
    others = len(header) - _described(tiny)

    def cost(shapes: Shapes) -> int:
        length = others + _described({name: shapes[name] for name in tiny})
        return 8 + math.ceil(length / 8) * 8 + 2 * sum(math.prod(shapes[name]) for name in tiny)

    return cost


def _described(shapes: Shapes) -> int:
    """The length of what a safetensors header says of half-precision tensors; offsets grow in the order of names."""
    entries, end = {}, 0
    for name in sorted(shapes):
        start, end = end, end + 2 * math.prod(shapes[name])
        entries[name] = {"dtype": "F16", "shape": shapes[name], "data_offsets": [start, end]}
    return len(json.dumps(entries, separators=(",", ":")))


def _run(net: nn.Module, size: tuple[int, int]) -> None:
    """One pass of `net` without values; the net is lost."""
    with torch.no_grad():
        net.to("meta").eval()(torch.zeros(1, 3, *size, device="meta"))


def layer_use(weight: str, module: nn.Module, x: Tensor, output: Tensor) -> Layer:
    """The Layer that `module`, whose weight is called so, is when it makes `output` of `x`."""
    if isinstance(module, nn.Linear):
        rows = x.numel() // module.in_features
        return Layer(weight, "linear", (1, 1), (1, 1), (0, 0), (1, 1), 1, (rows, 1), rows)
    assert isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
    transposed = isinstance(module, nn.ConvTranspose2d)
    places = x if transposed else output
    return Layer(
        weight,
        "transposed" if transposed else "conv",
        module.kernel_size,
        module.stride,
        module.padding,
        module.dilation,
        module.groups,
        (x.shape[-2], x.shape[-1]),
        places.shape[-2] * places.shape[-1],
    )
