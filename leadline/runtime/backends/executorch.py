"""ExecuTorch: made by `torch.export` and XNNPACK's partitioner, quantised by PT2E, run by its Python runtime.

What XNNPACK lacks (nearest-neighbour upsampling, the whole frame's matrix products) runs in ExecuTorch's own kernels,
on one thread. int8 files have 8-bit activations and 8-bit weights with a scale for each output channel, from the first
convolution to the last; normalisation, the whole-frame part and layers that are kept are float32.

The runtime has one pool of threads for the whole process: `load` sets its size, and a Runner that was loaded earlier
goes on with the new one, for which its next call loads the program again. So all its Runners take turns.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from leadline.core.errors import BadArtefact, ExportFailed
from leadline.core.machine import check_threads, lacking
from leadline.core.preprocess import Runner
from leadline.core.quiet import quiet
from leadline.runtime.manifest import opened, write_beside
from leadline.runtime.options import CompileOptions, Precision
from leadline.runtime.runner import runner

if TYPE_CHECKING:
    import torch

    from leadline.nn.build import Net
    from leadline.runtime.graph import Layers

PRECISIONS: tuple[Precision, ...] = ("fp32", "int8")

_PACKAGES = ("torch", "executorch", "torchao")
_MAGIC = slice(4, 8), b"ET12"
_POOLS: list[int] = []
"""The sizes that the process's pool of threads has had. A program points into the pool that it was loaded with."""

_TURN = threading.Lock()
"""Held by whoever uses that pool: a Runner that runs, or `load`, which replaces it."""


def missing() -> str | None:
    """None if ExecuTorch is installed, otherwise the command that installs it."""
    return lacking(("torch", "executorch"), "executorch")


def compile(net: Net, example: torch.Tensor, out: Path, options: CompileOptions) -> Path:
    """The program at `out`, its manifest beside it."""
    from leadline.runtime.graph import compiling, exported

    with compiling("executorch", net, example, options, PRECISIONS, _PACKAGES) as source:
        module = source.module
        if options.precision == "int8":
            module = source.with_net(_integers(source.net, example, options.calibration, source.layers))
        content = _program(exported(module, source.inputs))
    out.write_bytes(content)
    write_beside(out, source.manifest)
    return out


def load(path: Path, threads: int | None = None) -> Runner:
    """The program at `path` as a Runner. `threads` sets the pool of the whole process."""
    from torch import from_numpy

    manifest, n_threads = opened(path, "executorch"), check_threads(threads)
    content = path.read_bytes()
    where, magic = _MAGIC
    if content[where] != magic:
        raise BadArtefact(f"{path} is not an ExecuTorch file, or of another version, or its start is damaged")
    with _TURN:
        program, n_pools = _opened(path, content, n_threads), len(_POOLS)

    def call(image: np.ndarray) -> np.ndarray:
        nonlocal program, n_pools
        if n_pools != len(_POOLS):
            program, n_pools = _opened(path, content, _POOLS[-1]), len(_POOLS)
        method = program.load_method("forward")  # a local: the method is valid only as long as the program
        (output,) = method.execute((from_numpy(image if image.flags.writeable else image.copy()),))
        return cast(np.ndarray, output.numpy())  # the runtime hands out copies

    return runner(manifest, call, _TURN)


def _opened(path: Path, content: bytes, threads: int) -> Any:
    """The program in `content`, which was read from `path`, bound to a pool of as many threads."""
    with quiet():  # it prints a report on the processor
        from executorch.extension.pybindings import portable_lib
        from executorch.runtime import Runtime

        if [threads] != _POOLS[-1:]:
            portable_lib._unsafe_reset_threadpool(threads)
            _POOLS.append(threads)
        try:
            program = Runtime.get().load_program(content)
            program.load_method("forward")
        except (RuntimeError, ValueError) as error:
            raise BadArtefact(f"{path} is damaged or cut short, or too new for the installed ExecuTorch") from error
    return program


def _program(exported: torch.export.ExportedProgram) -> bytes:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    edge = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()])
    program = edge.to_executorch()
    _check_kernels(program.exported_program().graph)
    return bytes(program.buffer)


def _check_kernels(graph: torch.fx.Graph) -> None:
    """An ExportFailed if the Python runtime has no kernel for an operation that XNNPACK has left."""
    from executorch.runtime import Runtime
    from torch._ops import OpOverload

    known = set(Runtime.get().operator_registry.operator_names)
    for node in graph.nodes:
        if not isinstance(node.target, OpOverload):
            continue
        name = cast(str, node.target.name())  # type: ignore[no-untyped-call]
        if name not in known:
            stack = node.meta.get("nn_module_stack") or {"": ("",)}
            layer = list(stack.values())[-1][0] or "the net itself"
            raise ExportFailed(f"ExecuTorch has no kernel for {name} (layer {layer}); take another runtime")


def _integers(
    module: torch.nn.Module,
    example: torch.Tensor,
    calibration: Sequence[np.ndarray],
    layers: Layers,
) -> torch.nn.Module:
    """The module in int8, with ranges learned from `calibration`."""
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    from leadline.runtime import graph

    plain: Any = graph.exported(module, example).module()
    learning = prepare_pt2e(plain, _quantizer(_floating(plain.graph, layers)))
    return cast("torch.nn.Module", convert_pt2e(graph.calibrated(learning, calibration)))


def _quantizer(floating: Collection[str]) -> Any:
    """XNNPACK's quantiser for PT2E, which leaves the nodes named in `floating` alone."""
    import torch
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e.observer import MinMaxObserver, PerChannelMinMaxObserver
    from torchao.quantization.pt2e.quantizer import QuantizationAnnotation

    class Clamping(XNNPACKQuantizer):  # type: ignore[misc]
        """Learns the range behind a ReLU6, as it does behind a ReLU: in front of it most of the range is cut off."""

        def annotate(self, model: torch.fx.GraphModule) -> torch.fx.GraphModule:
            model = super().annotate(model)
            for node in model.graph.nodes:
                if node.target not in (torch.ops.aten.hardtanh.default, torch.ops.aten.hardtanh_.default):
                    continue
                before = node.args[0].meta.get("quantization_annotation")
                if before is not None and before.output_qspec is not None and len(node.args[0].users) == 1:
                    behind = QuantizationAnnotation(output_qspec=before.output_qspec, _annotated=True)
                    node.meta["quantization_annotation"] = behind
                    before.output_qspec = None
            return model

    config = get_symmetric_quantization_config(is_per_channel=True)
    # The config's own observers let no scale be smaller than 2^-12, too coarse for channels with small weights.
    values = dataclasses.replace(config.input_activation, observer_or_fake_quant_ctr=MinMaxObserver)
    weights = dataclasses.replace(config.weight, observer_or_fake_quant_ctr=PerChannelMinMaxObserver)
    config = dataclasses.replace(config, input_activation=values, output_activation=values, weight=weights)
    return Clamping().set_global(config).set_filter_function(lambda node: node.name not in floating)


def _floating(graph: torch.fx.Graph, layers: Layers) -> set[str]:
    """The names of the nodes that stay float.

    A step between two convolutions goes with the next one, for which it prepares the input; an activation with what
    precedes it. What comes before the first convolution and after the last stays float.
    """
    from torch import ops

    aten = ops.aten
    activations = {aten.relu.default, aten.relu_.default, aten.hardtanh.default, aten.hardtanh_.default}
    floating: set[str] = set()
    waiting: list[str] = []
    n = 0
    for node in graph.nodes:
        if node.target is aten.conv2d.default:
            floating |= {node.name} if n in layers.kept else set()
            floating |= set(waiting) if n in layers.kept or n == 0 else set()
            waiting, n = [], n + 1
        elif node.op == "call_function" and node.target not in activations:
            waiting.append(node.name)
    layers.check(n, "its exported graph")
    return floating | set(waiting)
