"""The OpenVINO backend: an .xml with its weights in the .bin beside it, quantised by nncf.

fp16 and bf16 are the arithmetic of the whole net, and what a processor lacks becomes float32. int8 files have 8-bit
activations and 8-bit weights with a scale for each output channel. All else in them runs in bfloat16 where the
processor multiplies in it, which is faster and costs nothing beside the 8 bits; but in float32 as soon as layers are
kept, which is done for their accuracy.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from leadline.core.errors import BadArtefact
from leadline.core.machine import check_threads, lacking
from leadline.core.preprocess import Runner
from leadline.runtime.manifest import opened, write_beside
from leadline.runtime.options import CompileOptions, Precision
from leadline.runtime.runner import runner

if TYPE_CHECKING:
    import torch
    from torch import nn

    from leadline.nn.build import Net
    from leadline.runtime.graph import Layers

# OpenVINO's converter and nncf send telemetry from forked processes; without this module they cannot
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

PRECISIONS: Sequence[Precision] = ("fp32", "fp16", "bf16", "int8")

_PACKAGES = ("torch", "openvino", "nncf")
_ARITHMETIC: dict[Precision, str] = {"fp32": "f32", "fp16": "f16", "bf16": "bf16"}


_FIRST = threading.Lock()  # of two threads that load at once one makes the core


@cache
def _core() -> Any:
    """One for the process, never closed: a core makes its own stack for signals and, when it goes, brings back the one
    before it. Of two that go in the order in which they came the last brings back one that is gone, and the next signal
    with a handler (Ctrl-C, a child's end) is a crash. Seen with OpenVINO 2026.4.
    """
    import openvino

    return openvino.Core()


def missing() -> str | None:
    """None if OpenVINO is installed, otherwise the command that installs it."""
    return lacking(("openvino",), "openvino")


def compile(net: Net, example: torch.Tensor, out: Path, options: CompileOptions) -> Path:
    """The network at `out`, which ends in .xml, its weights and its manifest beside it."""
    from leadline.runtime.graph import compiling

    packages = _PACKAGES if options.precision == "int8" else _PACKAGES[:2]
    with compiling("openvino", net, example, options, PRECISIONS, packages) as source:
        import openvino

        if options.precision == "int8":
            model = _integers(source.net, example, options.calibration, source.layers)
            if source.frame_parts is not None:
                shrink, grow = source.frame_parts
                before, after = _converted(shrink, source.inputs), _converted(grow, example[:, :1])
                model = _chained(_chained(before, model), after)
        else:
            model = _converted(source.module, source.inputs)
        model.inputs[0].set_names({"image" if options.frame is None else "frame"})
        model.outputs[0].set_names({"depth"})
        openvino.save_model(model, out, compress_to_fp16=options.precision == "fp16")
    write_beside(out, source.manifest)
    return out


def devices() -> tuple[str, ...]:
    """Where OpenVINO can compute here, such as cpu, gpu, npu."""
    with _FIRST:
        found = [name.lower() for name in _core().available_devices]
    return tuple(sorted(found, key=lambda name: (name != "cpu", name)))


def load(path: Path, threads: int | None = None, device: str = "cpu") -> Runner:
    """The network at `path` as a Runner with as many `threads`, each on a core of its own; or on another device."""
    manifest, n_threads = opened(path, "openvino"), check_threads(threads)
    import openvino

    with _FIRST:
        core = _core()
    core.set_property({"ENABLE_MMAP": False})  # mapped weights crash the process when the file is overwritten
    has_bf16 = device == "cpu" and "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    beside_int8 = "bf16" if has_bf16 and not manifest.kept else "f32"
    of_cpu = {"INFERENCE_NUM_THREADS": n_threads, "ENABLE_CPU_PINNING": True} if device == "cpu" else {}
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        **of_cpu,
        # OpenVINO's default is the fastest
        "INFERENCE_PRECISION_HINT": _ARITHMETIC.get(manifest.precision, beside_int8),
    }
    try:
        request = core.compile_model(path, device.upper(), settings).create_infer_request()
    except RuntimeError as error:
        raise BadArtefact(
            f"{path}, or {path.with_suffix('.bin').name} beside it, is missing or damaged; export it anew"
        ) from error

    shape = tuple(request.model_outputs[0].shape)

    def call(images: np.ndarray) -> np.ndarray:
        depth = np.empty(shape, np.float32)
        request.set_input_tensor(openvino.Tensor(images, shared_memory=True))
        request.set_output_tensor(openvino.Tensor(depth, shared_memory=True))
        try:
            request.start_async()  # faster than `infer`, which checks its arguments
        finally:
            request.wait()  # also after Ctrl-C: the request writes into `depth` until it is done
        return depth

    return runner(manifest, call)


def _converted(module: nn.Module, example: torch.Tensor) -> Any:
    """The module as OpenVINO's, for inputs of the shape of `example` alone: it is faster than for any shape."""
    import openvino

    from leadline.runtime import graph

    model = openvino.convert_model(graph.exported(module, example))
    model.reshape(list(example.shape))
    return model


def _integers(module: nn.Module, example: torch.Tensor, images: Sequence[np.ndarray], layers: Layers) -> Any:
    """The net quantised, its ranges learned from `images`, without the convolutions that are kept."""
    import nncf

    from leadline.nn.dead_channels import silenced

    model = _converted(silenced(module, images), example)
    kinds = ("Convolution", "GroupConvolution")
    names = [step.get_friendly_name() for step in model.get_ordered_ops() if step.get_type_name() in kinds]
    layers.check(len(names), "OpenVINO's graph")
    return nncf.quantize(
        model,
        nncf.Dataset(images),
        subset_size=len(images),
        preset=nncf.QuantizationPreset.MIXED,
        target_device=nncf.TargetDevice.CPU,
        ignored_scope=nncf.IgnoredScope(names=[names[i] for i in sorted(layers.kept)]),
    )


def _chained(first: Any, second: Any) -> Any:
    """One network from two, the second fed by the first."""
    import openvino

    second.inputs[0].replace(first.outputs[0].get_node().input_value(0))
    return openvino.Model(second.outputs, first.get_parameters())
