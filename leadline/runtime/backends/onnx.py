"""The ONNX backend: one .onnx file, its weights and its card inside, run by onnxruntime.

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

from leadline.core.errors import BadArtefact
from leadline.core.machine import check_threads, lacking
from leadline.core.preprocess import Runner
from leadline.runtime.conversion import check, converting
from leadline.runtime.manifest import Card, check_runtime, dumps
from leadline.runtime.onnx_file import card_of, check_content, with_card
from leadline.runtime.options import CompileOptions, Precision
from leadline.runtime.runner import runner

if TYPE_CHECKING:
    import torch
    from torch import nn

    from leadline.nn.build import Net

PRECISIONS: Sequence[Precision] = ("fp32", "int8")

_OPSET = 20
_PACKAGES = ("torch", "onnx", "onnxscript", "onnxruntime")


def missing() -> str | None:
    """None if onnxruntime is installed, otherwise the command that installs it."""
    return lacking(("onnxruntime",), "onnx")


def compile(net: Net, example: torch.Tensor, out: Path, options: CompileOptions) -> Path:
    """The network at `out`, its card in its metadata."""
    from leadline.runtime import graph, whole_frame

    check("onnx", options, PRECISIONS)
    layers = graph.layers(net, example, options.keep)
    module, inputs = graph.prepared(net, example, options)
    with converting("onnx"):
        if options.precision == "int8":
            from leadline.runtime.backends.onnx_int8 import quantized

            bare = graph.bare(net, example, options)
            model = quantized(_converted(bare, example, "image", "depth"), options.calibration, layers)
            if isinstance(module, whole_frame.Framed):
                before = _converted(module.shrink, inputs, "frame", "image")
                model = _chained(before, model, _converted(module.grow, example[:, :1], "small", "depth"))
        else:
            model = _converted(module, inputs, "image" if options.frame is None else "frame", "depth")
        content = model.SerializeToString()
    card = graph.card(net, example, "onnx", options, _PACKAGES)
    card = replace(card, hashes=(hashlib.sha256(content).hexdigest(),))
    out.write_bytes(with_card(content, dumps(card)))
    return out


def load(path: Path, threads: int | None = None) -> Runner:
    """The network at `path` as a Runner with its own `threads`."""
    n_threads = check_threads(threads)
    card = read_card(path)
    check_runtime(path, card, "onnx")
    check_content(path, card)
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = n_threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    # waiting threads spin, which is faster by a tenth, but only during a call: else they slow down all that comes after
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = _session(path, options)
    name = session.get_inputs()[0].name

    def call(images: np.ndarray) -> np.ndarray:
        return session.run(["depth"], {name: images})[0]  # type: ignore[no-any-return]

    return runner(card, call, nullcontext())  # a session may run in several threads at once


def read_card(path: Path) -> Card:
    """What the file says of itself. It takes no package."""
    card = card_of(path)
    if card is None:
        raise BadArtefact(
            f"{path} was not written by leadline: nothing in it says what goes in and what comes out; it can be a"
            " teacher of `leadline label` and `leadline distill`, which take that from flags"
        )
    return card


def _session(path: Path, options: Any) -> Any:
    import onnxruntime

    options.log_severity_level = 4  # errors are raised anyway
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its classes have no common parent, and their messages no end
        raise BadArtefact(f"{path} is damaged, or no ONNX file for this onnxruntime; export it anew") from error


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
    return program.model_proto


def _chained(before: Any, net: Any, after: Any) -> Any:
    """One model from three, `frame` -> `image` -> `small` -> `depth`."""
    from onnx import compose

    before = compose.add_prefix(before, "before/", rename_inputs=False)
    after = compose.add_prefix(after, "after/", rename_outputs=False)
    net = compose.add_prefix(net, "net/")
    joined = compose.merge_models(before, net, [("before/image", "net/image")])
    return compose.merge_models(joined, after, [("net/depth", "after/small")])
