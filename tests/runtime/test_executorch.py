"""What is ExecuTorch's own: one pool of threads for a whole process, whole frames in int8, ranges behind a ReLU6."""

from __future__ import annotations

import importlib
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from support.tiny_runtime_nets import SIZE, images, small_net

from leadline.runtime import graph
from leadline.runtime.backends import executorch
from leadline.runtime.options import CompileOptions

if (command := executorch.missing()) is not None:
    pytest.skip(f"executorch is not installed: {command}", allow_module_level=True)


@pytest.fixture(autouse=True, scope="module")
def imported() -> None:
    """Its packages warn while they are imported, which is an error in a test and leaves half of them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        importlib.import_module("executorch.backends.xnnpack.quantizer.xnnpack_quantizer")


@pytest.mark.slow
def test_runners_survive_that_another_one_resizes_the_pool_of_threads(tmp_path: Path) -> None:
    path = executorch.compile(small_net(), torch.zeros(1, 3, *SIZE), tmp_path / "net.pte", CompileOptions())
    image = images(1)[0]
    first = executorch.load(path, threads=2)
    expected = first(image)
    for threads in (1, 3, 2):
        second = executorch.load(path, threads=threads)
        for run in (first, second, first):
            assert (run(image) == expected).all()


@pytest.mark.slow
def test_a_whole_frame_in_int8_gives_the_same_as_the_net_in_int8(tmp_path: Path) -> None:
    """With a frame of the net's own size, resizing does nothing; the resizing itself must have stayed float."""
    example, net = torch.zeros(1, 3, *SIZE), small_net()
    levels = np.round(images(1)[0] * 255).astype(np.uint8)
    outputs = []
    for frame in (None, SIZE):
        options = CompileOptions(precision="int8", frame=frame, calibration=images(4, seed=5))
        path = executorch.compile(net, example, tmp_path / f"{frame}.pte", options)
        image = levels.astype(np.float32) / 255 if frame is None else levels.transpose(0, 2, 3, 1)
        outputs.append(executorch.load(path, threads=1)(np.ascontiguousarray(image)))
    alone, framed = outputs
    assert np.abs(framed - alone).mean() < 0.002 * np.abs(alone).mean()


@pytest.mark.slow
def test_the_range_is_learned_behind_a_relu6() -> None:
    module, example = graph.prepared(small_net(), torch.zeros(1, 3, *SIZE), CompileOptions())
    large = [100 * image for image in images(2)]  # far beyond 6 in front of it
    found = executorch._integers(module, example, large, graph.Layers(38, frozenset()))
    steps = [node for node in found.graph.nodes if "hardtanh" in str(node.target)]
    assert len(steps) == 27
    for node in steps:
        assert "conv2d" in str(node.args[0].target)
        (quantize,) = node.users
        assert quantize.args[1] <= 6 / 255 + 1e-6
