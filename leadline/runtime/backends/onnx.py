"""The ONNX backend: one .onnx file, its weights and its manifest inside, run by onnxruntime.

Any other program that reads ONNX runs it too: the input is named `image` or `frame`, the output `depth`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from leadline.core.errors import BadArtefact, NoRuntime
from leadline.core.machine import check_threads, lacking
from leadline.core.preprocess import Runner
from leadline.runtime.manifest import Manifest, check_runtime, dumps
from leadline.runtime.onnx_file import check_content, manifest_of, with_manifest
from leadline.runtime.options import CompileOptions, Precision
from leadline.runtime.runner import runner

if TYPE_CHECKING:
    import torch
    from torch import nn

    from leadline.nn.build import Net

PRECISIONS: Sequence[Precision] = ("fp32", "int8")

PROVIDERS: dict[str, str] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "rocm": "ROCMExecutionProvider",
    "directml": "DmlExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}
"""What people call a device -> onnxruntime's name for what computes there."""
_OPSET = 20
_PACKAGES = ("torch", "onnx", "onnxscript", "onnxruntime")


def missing() -> str | None:
    """None if onnxruntime is installed, otherwise the command that installs it."""
    return lacking(("onnxruntime",), "onnx")


def compile(net: Net, example: torch.Tensor, out: Path, options: CompileOptions) -> Path:
    """The network at `out`, its manifest in its metadata."""
    from leadline.runtime.graph import compiling

    with compiling("onnx", net, example, options, PRECISIONS, _PACKAGES) as source:
        if options.precision == "int8":
            from leadline.runtime.backends.onnx_int8 import quantized

            model = _converted(source.net, example, "image", "depth")
            model = quantized(model, options.calibration, source.layers)
            if source.frame_parts is not None:
                shrink, grow = source.frame_parts
                before = _converted(shrink, source.inputs, "frame", "image")
                model = _chained(before, model, _converted(grow, example[:, :1], "small", "depth"))
        else:
            model = _converted(source.module, source.inputs, "image" if options.frame is None else "frame", "depth")
        content = model.SerializeToString()
    manifest = replace(source.manifest, hashes=(hashlib.sha256(content).hexdigest(),))
    out.write_bytes(with_manifest(content, dumps(manifest)))
    return out


def devices() -> tuple[str, ...]:
    """Where the installed onnxruntime can compute: its builds differ (`onnxruntime-gpu` has cuda)."""
    import onnxruntime

    here = onnxruntime.get_available_providers()
    return tuple(device for device, provider in PROVIDERS.items() if provider in here)


def load(path: Path, threads: int | None = None, device: str = "cpu") -> Runner:
    """The network at `path` as a Runner with its own `threads`."""
    n_threads = check_threads(threads)
    manifest = read_manifest(path)
    check_runtime(path, manifest, "onnx")
    check_content(path, manifest)
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = n_threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    # threads spin while they wait inside a call (a tenth faster), and stop after it: the cores are free for the rest
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = session_of(path, options, device)
    name = session.get_inputs()[0].name

    def call(images: np.ndarray) -> np.ndarray:
        return session.run(["depth"], {name: images})[0]  # type: ignore[no-any-return]

    return runner(manifest, call, nullcontext())  # a session may run in several threads at once


def read_manifest(path: Path) -> Manifest:
    """The manifest in the file; no package is needed to read it."""
    manifest = manifest_of(path)
    if manifest is None:
        raise BadArtefact(
            f"{path} was not written by leadline: nothing in it says what goes in and what comes out; "
            "--external.kind says what its numbers are, where a verb has it"
        )
    return manifest


def session_of(path: Path, options: Any, device: str = "cpu") -> Any:
    """A session on the file; BadArtefact if onnxruntime cannot open it, NoRuntime if not on `device`.

    What the device has no kernel for is computed on the processor.
    """
    import onnxruntime

    options.log_severity_level = 4  # errors are raised anyway
    wanted = PROVIDERS[device]
    try:
        session = onnxruntime.InferenceSession(path, options, providers=list(dict.fromkeys([wanted, PROVIDERS["cpu"]])))
    except Exception as error:  # onnxruntime's exceptions have no common class, and long messages
        raise BadArtefact(f"{path} is damaged, or no ONNX file for this onnxruntime; export it anew") from error
    if wanted not in session.get_providers():  # a library that it needs is lacking: onnxruntime falls back in silence
        raise NoRuntime(f"onnxruntime cannot compute on {device} here: its {wanted} does not start")
    return session


def _converted(module: nn.Module, example: torch.Tensor, given: str, result: str) -> Any:
    """The module as an ONNX model with one input and one output of these names."""
    import torch

    from leadline.runtime import graph

    program = torch.onnx.export(
        graph.exported(module, example),
        input_names=[given],
        output_names=[result],
        opset_version=_OPSET,
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    assert program is not None
    model = program.model_proto
    for node in model.graph.node:  # the exporter writes each line of code that made it, with the path on this machine
        node.ClearField("metadata_props")
    return model


def _chained(before: Any, net: Any, after: Any) -> Any:
    """One model from three, `frame` -> `image` -> `small` -> `depth`."""
    from onnx import compose

    before = compose.add_prefix(before, "before/", rename_inputs=False)
    after = compose.add_prefix(after, "after/", rename_outputs=False)
    net = compose.add_prefix(net, "net/")
    joined = compose.merge_models(before, net, [("before/image", "net/image")])
    return compose.merge_models(joined, after, [("net/depth", "after/small")])
