"""Blocks that a net can do without: found by their shapes, replaced by identity, named in `Spec.skipped`.

LayerPrune (Elkerdawy et al. 2020, arXiv 2007.05667) takes such blocks away: a net with fewer layers is faster on every
machine, where one with narrower layers may not be.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from leadline.nn.modes import evaluating

_LAYERS = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


def removable(net: Any) -> tuple[str, ...]:
    """The names of the blocks whose output has the shape of their input, in the order in which they run.

    A block is a module with layers of its own that stands in a list of modules (`nn.Sequential`, `nn.ModuleList`) and
    runs once in a pass. Of blocks inside each other the innermost count. `net` is a Net; its size decides the shapes.
    """
    return _innermost([name for name, (x, out) in _shapes(net).items() if x == out])


def widening(net: Any) -> tuple[str, ...]:
    """As `removable`, the blocks whose output has their input's size and other channels."""
    shapes = _shapes(net).items()
    return _innermost([name for name, (x, out) in shapes if x != out and (x[0], *x[2:]) == (out[0], *out[2:])])


def _shapes(net: Any) -> dict[str, tuple[tuple[int, ...], tuple[int, ...]]]:
    """The shapes of what goes in and what comes out, of each block that runs once and takes and gives one tensor."""
    runs: dict[str, list[Any]] = {}

    def note(name: str, inputs: tuple[Any, ...], out: Any) -> None:
        plain = len(inputs) == 1 and isinstance(inputs[0], Tensor) and isinstance(out, Tensor)
        runs.setdefault(name, []).append((tuple(inputs[0].shape), tuple(out.shape)) if plain else None)

    hooks = [
        net.get_submodule(name).register_forward_hook(lambda _m, x, out, name=name: note(name, x, out))
        for name, _ in _candidates(net)
    ]
    try:
        with evaluating(net), torch.no_grad():
            net(torch.zeros(1, 3, *net.spec.preprocess.size, device=net.mean.device))
    finally:
        for hook in hooks:
            hook.remove()
    return {name: shapes[0] for name, shapes in runs.items() if len(shapes) == 1 and shapes[0] is not None}


def _innermost(names: list[str]) -> tuple[str, ...]:
    return tuple(name for name in names if not any(other.startswith(f"{name}.") for other in names))


def skip_(net: Any, names: Sequence[str]) -> None:
    """Leave the blocks `names` out of `net`, in place, with their gates; its Spec names them. An unknown one is a
    ValueError.
    """
    leave_out_(net, names)
    gone = tuple(f"{name}." for name in names)
    gates = tuple(gate for gate in net.spec.gates if not gate.startswith(gone))
    net.spec = replace(net.spec, skipped=(*net.spec.skipped, *names), gates=gates)


def leave_out_(net: nn.Module, names: Sequence[str]) -> None:
    """Put identities in place of the blocks `names`; the Spec stays as it is. An unknown name is a ValueError."""
    known = {name for name, _ in _candidates(net)} if names else set()
    for name in names:
        if name not in known:
            raise ValueError(
                f"the net has no block {name!r} to leave out; it has: {', '.join(sorted(known)) or 'none'}"
            )
    for name in names:
        above, _, own = name.rpartition(".")
        setattr(net.get_submodule(above), own, nn.Identity())


def _candidates(net: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Modules in a list of modules that have layers of their own and are none."""
    for above, module in net.named_modules():
        if isinstance(module, nn.Sequential | nn.ModuleList):
            for own, block in module.named_children():
                has_layers = any(isinstance(part, _LAYERS) for part in block.modules())
                if has_layers and not isinstance(block, _LAYERS):
                    yield f"{above}.{own}" if above else own, block
