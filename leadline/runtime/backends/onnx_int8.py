"""8 bits for ONNX: quantised by onnxruntime's own tools, so that its integer kernels run."""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from leadline.runtime.graph import Layers

# Operations with integer kernels. Normalisation stays float: its input has 8 bits, and rounding again would lose some.
_TYPES = ("Conv", "Clip", "Relu", "Resize", "Transpose", "Gather", "Add", "Concat")


def quantized(model: Any, images: Sequence[np.ndarray], layers: Layers) -> Any:
    """An ONNX model with 8-bit activations and 8-bit weights, a scale for each output channel.

    Ranges are learned from `images`, network inputs float32 [1,3,h,w]. The convolutions that `layers` keeps stay in
    floating point.
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder:
        made, ready, done = (Path(folder, f"{name}.onnx") for name in ("made", "ready", "done"))
        onnx.save(model, made)
        quant_pre_process(made, ready, skip_symbolic_shape=True)
        prepared = _without_nearest(onnx.load(ready))
        onnx.save(prepared, ready)
        nodes = list(prepared.graph.node)
        quantize_static(
            ready,
            done,
            _Reader(images, model.graph.input[0].name),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(_TYPES),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            reduce_range=_overflows(),
            nodes_to_exclude=_left_alone(nodes, layers),
            calibrate_method=CalibrationMethod.MinMax,
        )
        return onnx.load(done)


def _left_alone(nodes: Sequence[Any], layers: Layers) -> list[str]:
    """The names of the kept convolutions and of the steps whose results only such convolutions read."""
    names = [node.name for node in nodes if node.op_type == "Conv"]
    layers.check(len(names), "ONNX's graph")
    alone = {names[i] for i in layers.kept}
    for node in reversed(nodes):
        readers = {other.name for other in nodes if set(other.input) & set(node.output)}
        if node.op_type != "Conv" and readers and readers <= alone:
            alone.add(node.name)
    return sorted(alone)


def _without_nearest(model: Any) -> Any:
    """The model with Gathers in place of each Resize to the nearest neighbour: columns, then rows, by their index.

    It is the same copy. But onnxruntime 1.31 resizes 8 bits pixel by pixel, which takes half of FastDepth's time. The
    channels go last, as its convolutions of 8 bits want them, and the transpositions cancel out.
    """
    from onnx import helper, numpy_helper

    graph = model.graph
    values = (*graph.input, *graph.value_info, *graph.output)
    shapes = {value.name: [size.dim_value for size in value.type.tensor_type.shape.dim] for value in values}
    nodes = []
    for node in graph.node:
        how = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        kind = how.get("mode"), how.get("nearest_mode"), how.get("coordinate_transformation_mode")
        if node.op_type != "Resize" or kind != (b"nearest", b"floor", b"asymmetric"):
            nodes.append(node)
            continue
        steps: list[tuple[str, list[str], dict[str, Any]]] = [("Transpose", [], {"perm": (0, 2, 3, 1)})]
        for axis in (3, 2):
            n, n_out = shapes[node.input[0]][axis], shapes[node.output[0]][axis]
            indices = numpy_helper.from_array(np.arange(n_out) * n // n_out, f"{node.name}_{axis}")
            graph.initializer.append(indices)
            steps.append(("Gather", [indices.name], {"axis": axis - 1}))
        steps.append(("Transpose", [], {"perm": (0, 3, 1, 2)}))
        given = node.input[0]
        for i, (kind_of_step, others, settings) in enumerate(steps):
            result = f"{node.name}_step{i}" if i < len(steps) - 1 else node.output[0]
            name = f"{node.name}_step{i}"
            nodes.append(helper.make_node(kind_of_step, [given, *others], [result], name=name, **settings))
            given = result
    del graph.node[:]
    graph.node.extend(nodes)
    return model


def _overflows() -> bool:
    """Whether this processor adds two products of 8 bits in only 16: then weights must make do with 7 bits."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    try:
        return "vnni" not in Path("/proc/cpuinfo").read_text("utf-8", "replace")
    except OSError:
        return True


class _Reader:
    """The images one after the other, as onnxruntime's calibration asks for them."""

    def __init__(self, images: Sequence[np.ndarray], name: str) -> None:
        self.left: Iterator[np.ndarray] = iter(images)
        self.name = name

    def get_next(self) -> dict[str, np.ndarray] | None:
        image = next(self.left, None)
        return None if image is None else {self.name: image}
