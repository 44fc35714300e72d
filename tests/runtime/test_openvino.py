"""What is special about OpenVINO: two files, nncf's quantiser, memory-mapped weights."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.tiny_runtime_nets import SIZE, images, small_net

from leadline.core.errors import BadArtefact
from leadline.nn.build import Net
from leadline.nn.dead_channels import silenced
from leadline.runtime.backends import openvino as backend
from leadline.runtime.options import CompileOptions

openvino = pytest.importorskip("openvino")
EXAMPLE = torch.zeros(1, 3, *SIZE)


def made(folder: Path, net: Net | None = None, **options: Any) -> Path:
    return backend.compile(net or small_net(), EXAMPLE, folder / "net.xml", CompileOptions(**options))


def convolutions_in_integers(path: Path) -> list[bool]:
    """For each convolution, in order, whether its weights are stored as 8 bits."""
    found = []
    for step in openvino.Core().read_model(path).get_ordered_ops():
        if step.get_type_name() in ("Convolution", "GroupConvolution"):
            node = step.input_value(1).get_node()
            while node.get_type_name() != "Constant":
                node = node.input_value(0).get_node()
            found.append(node.get_element_type() == openvino.Type.i8)
    return found


def with_a_dead_channel() -> Net:
    """A net whose second convolution sees only zeros in channel 0, where its folded weights are enormous."""
    net = small_net()
    first, second = net.encoder.blocks[0], net.encoder.blocks[1]
    with torch.no_grad():
        first[1].weight[0], first[1].bias[0] = 0.0, -1.0
        second[0].weight[0] *= 1000.0  # as training leaves it: nothing ever pulled it back
        second[1].running_mean[0], second[1].running_var[0] = 0.0, 0.0
    return net.eval()


def expected(net: Net, image: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return net(torch.tensor(image)).numpy()


def test_it_is_two_files_and_a_card(tmp_path: Path) -> None:
    path = made(tmp_path, frame=(90, 120))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.bin", "net.xml", "net.xml.json"]
    model = openvino.Core().read_model(path)
    assert model.inputs[0].get_names() == {"frame"} and "depth" in model.outputs[0].get_names()
    assert list(model.inputs[0].get_shape()) == [1, 90, 120, 3]


def test_nobody_is_told_that_it_was_used(tmp_path: Path) -> None:
    forked = []
    os.register_at_fork(before=lambda: forked.append(1))
    made(tmp_path, precision="int8", calibration=images(2))
    assert not forked
    from openvino.tools.ovc import convert_impl

    assert convert_impl.tm.__name__.endswith("telemetry_stub")


def test_without_its_weights_it_is_named(tmp_path: Path) -> None:
    path = made(tmp_path)
    path.with_suffix(".bin").unlink()
    with pytest.raises(BadArtefact, match=r"net\.xml lacks its weights, net\.bin"):
        backend.load(path, 1)


def test_a_file_may_be_written_anew_while_it_runs(tmp_path: Path) -> None:
    net, image = small_net(), images(1)[0]
    run = backend.load(made(tmp_path, net), 1)
    path = tmp_path / "net.bin"
    path.write_bytes(b"\0")
    assert np.abs(run(image) - expected(net, image)).max() < 1e-3


def test_all_convolutions_are_integers_but_for_the_kept_ones(tmp_path: Path) -> None:
    names = [name for name, module in small_net().named_modules() if isinstance(module, torch.nn.Conv2d)]
    path = made(tmp_path, precision="int8", calibration=images(2), keep=(names[0], names[5]), frame=(90, 120))
    integers = [i not in (0, 5) for i in range(len(names))]
    assert convolutions_in_integers(path) == integers
    constants = [
        step for step in openvino.Core().read_model(path).get_ordered_ops() if step.get_type_name() == "Constant"
    ]
    assert sum(c.get_element_type() == openvino.Type.i8 for c in constants) == sum(integers)  # no resize among them


def test_a_dead_channel_does_not_spoil_the_others(tmp_path: Path) -> None:
    net, image = with_a_dead_channel(), images(1)[0]
    run = backend.load(made(tmp_path, net, precision="int8", calibration=images(8, seed=3)), 1)
    assert np.abs(run(image) - expected(net, image)).mean() < 0.02 * expected(net, image).mean()


def test_silencing_changes_weights_but_no_result() -> None:
    net, seen = with_a_dead_channel(), images(4)
    quiet = silenced(net, seen)
    assert (quiet.encoder.blocks[1][0].weight[0] == 0).all()
    assert (quiet.encoder.blocks[1][0].weight[1:] == net.encoder.blocks[1][0].weight[1:]).all()
    assert (net.encoder.blocks[1][0].weight[0] != 0).any()
    assert all((expected(quiet, image) == expected(net, image)).all() for image in seen)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals")
def test_signals_are_heard_after_two_networks_have_gone_in_the_order_in_which_they_came(tmp_path: Path) -> None:
    code = (
        "import gc, os, signal; import numpy as np; from pathlib import Path; from leadline.runtime import load\n"
        f"runs = [load(Path({str(made(tmp_path))!r}), 1)[0] for _ in range(2)]\n"
        f"for run in runs: run(np.zeros((1, 3, *{SIZE}), np.float32))\n"
        "del run, runs[0]; gc.collect(); runs.clear(); gc.collect()\n"
        "signal.signal(signal.SIGUSR1, lambda *_: print('heard')); os.kill(os.getpid(), signal.SIGUSR1)"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "heard"), done.stderr
