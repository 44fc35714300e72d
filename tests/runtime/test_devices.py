"""Where a runtime computes: the processor everywhere, other devices where the runtime has them, a clear line else."""

from __future__ import annotations

import pickle
import types
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.fake_backend import StandIn, stand_in
from support.tiny_runtime_nets import small_net

from leadline.core.errors import NoRuntime
from leadline.core.preprocess import Runner
from leadline.nn.checkpoint import save
from leadline.predict.predictor import load_predictor
from leadline.runtime import BACKENDS, backend, check_device, devices
from leadline.runtime.options import CompileOptions

IMAGE = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The backend `standin` has a device "gpu", too; gives what it was asked to compute on."""
    module, seen = stand_in(monkeypatch), list[str]()

    def load(self: StandIn, path: Path, threads: int | None, device: str = "cpu") -> Runner:
        seen.append(device)
        return StandIn.load(self, path, threads)

    monkeypatch.setattr(module, "devices", lambda: ("cpu", "gpu"), raising=False)
    monkeypatch.setattr(module, "load", types.MethodType(load, module))
    yield seen


@pytest.mark.parametrize("name", sorted(BACKENDS))
def test_every_runtime_has_the_processor_first(name: str) -> None:
    if backend(name).missing() is not None:
        pytest.skip(f"{name} is not installed")
    assert devices(name)[0] == "cpu"
    check_device(name, "cpu")
    with pytest.raises(ValueError, match=f"device is 'abacus'; on this machine {name} computes on cpu"):
        check_device(name, "abacus")


def test_a_file_is_loaded_on_the_device_and_again_where_it_is_sent(gpu: list[str], tmp_path: Path) -> None:
    net = small_net()
    save(net, checkpoint := tmp_path / "net.safetensors")
    from leadline.runtime.export import export

    path = export(checkpoint, "standin", tmp_path / "net.standin", CompileOptions())
    gpu.clear()
    predictor = load_predictor(path, device="GPU")
    expected = load_predictor(path)(IMAGE).values
    assert gpu == ["gpu", "cpu"]
    assert np.array_equal(pickle.loads(pickle.dumps(predictor))(IMAGE).values, expected)
    assert gpu[2:] == ["gpu"]
    assert load_predictor(checkpoint, runtime="standin", device="gpu").runtime == "standin"


def test_a_device_that_is_not_here_is_refused_before_anything_is_exported(gpu: list[str], tmp_path: Path) -> None:
    save(small_net(), checkpoint := tmp_path / "net.safetensors")
    with pytest.raises(ValueError, match="standin computes on cpu, gpu"):
        load_predictor(checkpoint, runtime="standin", device="npu")
    assert not gpu
    with pytest.raises(ValueError, match="eager computes on cpu"):
        load_predictor(checkpoint, device="abacus")


def test_a_name_whose_onnx_file_cannot_compute_there_goes_to_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    asked = []
    monkeypatch.setattr("leadline.predict.predictor.check_device", lambda name, device: asked.append((name, device)))
    assert load_predictor("litedepth", device="cpu:0").runtime == "eager"
    assert asked == [("eager", "cpu:0")]
    with pytest.raises(ValueError, match="onnx computes on cpu"):
        load_predictor("litedepth", runtime="onnx", device="cpu:0")


def test_without_torch_a_device_that_is_not_here_is_the_fault_that_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr("leadline.predict.predictor.is_installed", lambda name: False)
    with pytest.raises(ValueError, match="device is 'abacus'; on this machine onnx computes on cpu"):
        load_predictor("litedepth", device="abacus")


def test_onnxruntime_that_falls_back_in_silence_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    from leadline.nn.files import shipped_onnx
    from leadline.runtime.backends import onnx

    whole = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime, "InferenceSession", lambda path, options, providers: whole(path, options, providers=providers[1:])
    )
    monkeypatch.setattr(onnx, "devices", lambda: ("cpu", "coreml"))
    with pytest.raises(NoRuntime, match="CoreMLExecutionProvider does not start"):
        load_predictor(shipped_onnx()["litedepth"], device="coreml")


@pytest.mark.gpu
def test_pytorch_gives_the_same_depth_on_a_gpu() -> None:
    found = load_predictor("litedepth", runtime="eager", device="cuda")(IMAGE).values
    assert found == pytest.approx(load_predictor("litedepth", runtime="eager")(IMAGE).values, rel=1e-2)
