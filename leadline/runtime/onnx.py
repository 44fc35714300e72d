"""The ONNX backend: one .onnx file, its weights and its card inside, run by onnxruntime.

Any other program that reads ONNX runs it too: the input is named `image` or `frame`, the output `depth`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from leadline.errors import BadArtefact, NoRuntime
from leadline.options import CompileOptions, Precision
from leadline.preprocess import Runner
from leadline.runtime.calls import check_threads, lacking, runner
from leadline.runtime.card import Card, dumps, loads
from leadline.runtime.converter import check, converting

if TYPE_CHECKING:
    import torch
    from torch import nn

    from leadline.nn.build import Net

PRECISIONS: Sequence[Precision] = ("fp32", "int8")

_OPSET = 20
_KEY = "leadline"  # of the metadata that holds the card
_PACKAGES = ("torch", "onnx", "onnxscript", "onnxruntime")


def missing() -> str | None:
    """None if onnxruntime is installed, otherwise the command that installs it."""
    return lacking(("onnxruntime",), "onnx")


def compile(net: Net, example: torch.Tensor, out: Path, options: CompileOptions) -> Path:
    """The network at `out`, its card in its metadata."""
    from leadline.runtime import graph

    check("onnx", options, PRECISIONS)
    layers = graph.layers(net, example, options.keep)
    module, inputs = graph.prepared(net, example, options)
    with converting("onnx"):
        if options.precision == "int8":
            from leadline.runtime.onnx_int8 import quantized

            bare = graph.bare(net, example, options)
            model = quantized(_converted(bare, example, "image", "depth"), options.calibration, layers)
            if isinstance(module, graph.Framed):
                before = _converted(module.shrink, inputs, "frame", "image")
                model = _chained(before, model, _converted(module.grow, example[:, :1], "small", "depth"))
        else:
            model = _converted(module, inputs, "image" if options.frame is None else "frame", "depth")
        card = graph.card(net, example, "onnx", options, _PACKAGES)
        model.metadata_props.add(key=_KEY, value=dumps(card))
        content = model.SerializeToString()
    out.write_bytes(content)
    return out


def load(path: Path, threads: int | None = None) -> Runner:
    """The network at `path` as a Runner with its own `threads`."""
    n_threads = check_threads(threads)
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

    return runner(_card(session, path), call)


def read_card(path: Path) -> Card:
    """What the file says of itself. It takes onnxruntime, but neither onnx nor torch."""
    if (needed := missing()) is not None:
        raise NoRuntime(f"to read {path}, onnxruntime is needed: {needed}")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    return _card(_session(path, options), path)


def _card(session: Any, path: Path) -> Card:
    text = session.get_modelmeta().custom_metadata_map.get(_KEY)
    if text is None:
        raise BadArtefact(f"{path} was not written by leadline: nothing in it says what goes in and what comes out")
    return loads(text, path)


def _session(path: Path, options: Any) -> Any:
    import onnxruntime

    if not path.is_file():
        raise BadArtefact(f"there is no file {path}")
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
