"""Small ONNX files as other programs write them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest


def model(
    path: Path, given: Sequence[Any], dtype: str = "FLOAT", axis: int = 1, keep: int = 1, outputs: int = 1
) -> Path:
    """An ONNX file that gives the mean of its input's colours, 1 higher: written by another program than leadline."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    kind = getattr(TensorProto, dtype)
    nodes = [
        helper.make_node("Cast", ["picture"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["x", "axes"], ["mean"], keepdims=keep),
        *(helper.make_node("Add", ["mean", "one"], [f"depth{i}"]) for i in range(outputs)),
    ]
    start = [helper.make_tensor("axes", TensorProto.INT64, [1], [axis]), helper.make_tensor("one", 1, [], [1.0])]
    rank = len(given) - (not keep)
    shape = [f"d{i}" for i in range(rank)]
    results = [helper.make_tensor_value_info(f"depth{i}", TensorProto.FLOAT, shape) for i in range(outputs)]
    entry = [helper.make_tensor_value_info("picture", kind, list(given))]
    graph = helper.make_graph(nodes, "g", entry, results, start)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(made)
    onnx.save(made, path)
    return path
