"""What is LiteRT's own: which steps of its graph become integers, and whole frames in int8."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from support.tiny_runtime_nets import SIZE, images, small_net

from leadline.core.errors import ExportFailed
from leadline.runtime import graph
from leadline.runtime.backends import litert
from leadline.runtime.options import CompileOptions, Precision

if (command := litert.missing()) is not None:
    pytest.skip(f"litert is not installed: {command}", allow_module_level=True)

NAMES = ("CAST", "SUB", "PAD", "CONV_2D", "PAD", "DEPTHWISE_CONV_2D", "RESIZE_BILINEAR", "ADD", "CONV_2D", "RESHAPE")


def steps(names: tuple[str, ...]) -> list[litert.Step]:
    return [litert.Step(name, f"{i};", ()) for i, name in enumerate(names)]


@pytest.mark.parametrize(
    ("keep", "chosen"),
    [
        ((), [2, 3, 4, 5, 6, 7, 8]),
        ((0,), [4, 5, 6, 7, 8]),
        ((1,), [2, 3, 6, 7, 8]),
        ((2,), [2, 3, 4, 5]),
        ((0, 1, 2), []),
    ],
)
def test_a_step_goes_with_the_convolution_that_it_prepares(keep: tuple[int, ...], chosen: list[int]) -> None:
    assert litert._chosen(steps(NAMES), graph.Layers(3, frozenset(keep))) == chosen


def test_a_subgraphwith_another_number_of_convolutions_is_refused() -> None:
    with pytest.raises(ExportFailed, match=r"4 convolutions and LiteRT's graph 3"):
        litert._chosen(steps(NAMES), graph.Layers(4, frozenset()))


def test_scopes_are_matched_as_a_whole_and_literally() -> None:
    import re

    pattern = litert._exactly(["a.b;", "c;"])
    assert [bool(re.search(pattern, s)) for s in ("a.b;", "c;", "axb;", "a.b;c;", "xc;")] == [True, True, *3 * [False]]


@pytest.mark.slow
@pytest.mark.parametrize("precision", litert.PRECISIONS)
def test_constants_lie_at_multiples_of_sixteen_bytes_and_only_the_ends_have_names(
    precision: Precision, tmp_path: Path
) -> None:
    from ai_edge_litert.schema_py_generated import Model

    options = CompileOptions(precision=precision, frame=(48, 80), calibration=images(2))
    path = litert.compile(small_net(), torch.zeros(1, 3, *SIZE), tmp_path / "net.tflite", options)
    content = path.read_bytes()
    model = Model.GetRootAs(content)
    buffers = [model.Buffers(i) for i in range(model.BuffersLength())]
    assert all(buffer.Offset() == 0 for buffer in buffers)  # nothing lies behind the flatbuffer
    constants = [buffer.DataAsNumpy() for buffer in buffers if not buffer.DataIsNone()]
    start = np.frombuffer(content, np.uint8).ctypes.data
    assert constants and {(constant.ctypes.data - start) % 16 for constant in constants} == {0}
    subgraph = model.Subgraphs(0)
    named = [i for i in range(subgraph.TensorsLength()) if subgraph.Tensors(i).Name()]
    assert named == sorted([subgraph.Inputs(0), subgraph.Outputs(0)])


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_a_whole_frame_gives_the_same_as_the_net_alone(precision: str, tmp_path: Path) -> None:
    """With a frame of the net's own size, resizing does nothing; the resizing itself must have stayed float."""
    example, net = torch.zeros(1, 3, *SIZE), small_net()
    levels = np.round(images(1)[0] * 255).astype(np.uint8)
    outputs = []
    for frame in (None, SIZE):
        options = CompileOptions(precision=precision, frame=frame, calibration=images(4, seed=5))
        path = litert.compile(net, example, tmp_path / f"{frame}.tflite", options)
        run = litert.load(path, threads=1)
        image = levels.astype(np.float32) / 255 if frame is None else levels.transpose(0, 2, 3, 1)
        outputs.append(run(np.ascontiguousarray(image)))
    alone, framed = outputs
    assert np.abs(framed - alone).mean() < 0.002 * np.abs(alone).mean()
