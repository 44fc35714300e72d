"""What is special about ONNX: one file for everybody, and which of its steps are integers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.tiny_runtime_nets import SIZE, images, small_net

from leadline.core.errors import BadArtefact
from leadline.runtime.backends import onnx as backend
from leadline.runtime.options import CompileOptions

onnx = pytest.importorskip("onnx")
EXAMPLE = torch.zeros(1, 3, *SIZE)


def made(folder: Path, **options: Any) -> Any:
    """The graph of the exported small net."""
    backend.compile(small_net(), EXAMPLE, folder / "net.onnx", CompileOptions(**options))
    return onnx.load(folder / "net.onnx").graph


def fed_by_integers(graph: Any, kind: str) -> list[bool]:
    """For each step of this kind whether its second input (a weight) was 8 bits."""
    from_integers = {name for node in graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    return [node.input[1] in from_integers for node in graph.node if node.op_type == kind]


@pytest.mark.parametrize(("frame", "given"), [(None, "image"), ((90, 120), "frame")])
@pytest.mark.slow
def test_it_is_one_file_with_speaking_names(frame: tuple[int, int] | None, given: str, tmp_path: Path) -> None:
    graph = made(tmp_path, frame=frame)
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]
    assert [value.name for value in graph.input] == [given]
    assert [value.name for value in graph.output] == ["depth"]


def test_all_convolutions_are_integers_but_for_the_kept_ones(tmp_path: Path) -> None:
    net = small_net()
    names = [name for name, module in net.named_modules() if isinstance(module, torch.nn.Conv2d)]
    graph = made(tmp_path, precision="int8", calibration=images(2), keep=(names[0], names[5]))
    assert fed_by_integers(graph, "Conv") == [i not in (0, 5) for i in range(len(names))]


@pytest.mark.slow
def test_the_resize_of_a_whole_frame_is_never_quantised(tmp_path: Path) -> None:
    graph = made(tmp_path, precision="int8", calibration=images(2), frame=(90, 120))
    assert [value.name for value in graph.input] == ["frame"]
    assert [value.name for value in graph.output] == ["depth"]
    assert all(fed_by_integers(graph, "Conv"))
    assert not any(fed_by_integers(graph, "MatMul"))
    resizing = {name for node in graph.node if node.op_type == "MatMul" for name in (*node.input, *node.output)}
    assert not any(set(node.input) & resizing for node in graph.node if node.op_type == "QuantizeLinear")


def test_a_file_of_another_program_is_told_apart(tmp_path: Path) -> None:
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    result = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "other", [value], [result])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9)
    path = tmp_path / "other.onnx"
    onnx.save(model, path)
    for read in (backend.read_manifest, backend.load):
        with pytest.raises(BadArtefact, match=r"other\.onnx was not written by leadline"):
            read(path)


def test_integers_cost_the_small_net_little(tmp_path: Path) -> None:
    made(tmp_path, precision="int8", calibration=images(8, seed=3))
    run, image = backend.load(tmp_path / "net.onnx", 1), images(1)[0]
    with torch.no_grad():
        expected = small_net()(torch.tensor(image)).numpy()
    assert 0 < np.abs(run(image) - expected).mean() < 0.02 * expected.mean()
