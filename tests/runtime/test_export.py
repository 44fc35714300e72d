"""From a checkpoint to an artefact: what lies there afterwards, what never does, and what is made only once."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.fake_backend import StandIn, stand_in
from support.tiny_runtime_nets import SIZE, images, small_net

from leadline.core.errors import BadCheckpoint, BadImage, ExportFailed, NoRuntime
from leadline.core.preprocess import prepare, read_image
from leadline.core.storage import cache, sha256
from leadline.nn.checkpoint import load as load_net
from leadline.nn.checkpoint import read_provenance, save
from leadline.runtime import BACKENDS, SUFFIXES, load, read_manifest
from leadline.runtime.export import calibration, difference, export, picture, relative_error, twin
from leadline.runtime.options import CompileOptions


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> StandIn:
    """A backend that counts, and a cache of its own."""
    monkeypatch.setenv("LEADLINE_CACHE", str(tmp_path / "cache"))
    return stand_in(monkeypatch)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(small_net(), tmp_path_factory.mktemp("net") / "small.safetensors", provenance={"data": "rooms"})


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_the_file_and_what_belongs_to_it_lie_where_they_were_asked_for(
    backend: StandIn, checkpoint: Path, tmp_path: Path
) -> None:
    out = tmp_path / "deep" / "net.standin"
    assert export(checkpoint, "standin", out) == out
    assert names(tmp_path) == ["net.bin", "net.standin", "net.standin.json"]
    run, _ = load(out)
    assert relative_error(run(images(1)[0]), twin(load_net(checkpoint))(images(1)[0])) < 1e-6


def test_a_name_without_a_folder_means_the_current_one(
    backend: StandIn, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    export(checkpoint, "standin", Path("net.standin"))
    assert names(tmp_path) == ["net.bin", "net.standin", "net.standin.json"]


def test_the_card_tells_where_the_weights_come_from(backend: StandIn, checkpoint: Path, tmp_path: Path) -> None:
    found = read_manifest(export(checkpoint, "standin", tmp_path / "net.standin"))
    assert (found.source, found.provenance) == (sha256(checkpoint), {"data": "rooms"})
    assert found.spec.preprocess.size == found.size == SIZE


def test_another_size_is_the_size_of_the_file(backend: StandIn, checkpoint: Path, tmp_path: Path) -> None:
    out = export(checkpoint, "standin", tmp_path / "net.standin", size=(32, 64))
    run, found = load(out)
    assert found.size == found.spec.preprocess.size == (32, 64)
    assert run(np.zeros((1, 3, 32, 64), np.float32)).shape == (1, 1, 32, 64)
    assert difference(out, checkpoint) < 1e-6


@pytest.mark.parametrize(
    ("fault", "message"),
    [("differs", "differs from PyTorch's by 0.0"), ("not finite", "by nan"), ("refuses", "no kernel for Conv")],
)
def test_a_file_that_is_not_what_it_should_be_is_not_kept(
    backend: StandIn, checkpoint: Path, tmp_path: Path, fault: str, message: str
) -> None:
    backend.fault = fault
    with pytest.raises(ExportFailed, match=message):
        export(checkpoint, "standin", tmp_path / "net.standin")
    with pytest.raises(ExportFailed):
        export(checkpoint, "standin")
    assert names(tmp_path) == []


def test_after_a_failure_the_older_file_is_still_there(backend: StandIn, checkpoint: Path, tmp_path: Path) -> None:
    out = export(checkpoint, "standin", tmp_path / "net.standin")
    before = out.read_bytes(), names(tmp_path)
    backend.fault = "differs"
    with pytest.raises(ExportFailed):
        export(checkpoint, "standin", out, size=(32, 64))
    assert (out.read_bytes(), names(tmp_path)) == before
    assert difference(out, checkpoint) < 1e-6


def test_an_older_file_is_replaced_with_all_that_belongs_to_it(
    backend: StandIn, checkpoint: Path, tmp_path: Path
) -> None:
    out = export(checkpoint, "standin", tmp_path / "net.standin")
    export(checkpoint, "standin", out, size=(32, 64))
    assert read_manifest(out).size == (32, 64)
    assert names(tmp_path) == ["net.bin", "net.standin", "net.standin.json"]


def test_int8_may_differ_but_must_be_finite(backend: StandIn, checkpoint: Path, tmp_path: Path) -> None:
    options = CompileOptions(precision="int8", calibration=images(2))
    backend.fault = "differs"
    assert export(checkpoint, "standin", tmp_path / "net.standin", options).is_file()
    backend.fault = "not finite"
    with pytest.raises(ExportFailed, match="nan"):
        export(checkpoint, "standin", tmp_path / "other.standin", options)


def test_without_a_place_it_is_made_once_and_kept(backend: StandIn, checkpoint: Path) -> None:
    first = export(checkpoint, "standin")
    assert first.is_relative_to(cache())
    assert export(checkpoint, "standin") == first
    assert len(backend.compiled) == 1


def test_whatever_changes_the_file_changes_its_place(backend: StandIn, checkpoint: Path, tmp_path: Path) -> None:
    net = load_net(checkpoint)
    with torch.no_grad():
        next(net.parameters()).mul_(1.01)
    other = save(net, tmp_path / checkpoint.name)
    made = {
        export(checkpoint, "standin"),
        export(other, "standin"),
        export(checkpoint, "eager"),
        export(checkpoint, "standin", size=(32, 64)),
        export(checkpoint, "standin", options=CompileOptions(frame=(60, 80))),
        export(checkpoint, "standin", options=CompileOptions(precision="int8", calibration=images(1))),
        export(checkpoint, "standin", options=CompileOptions(precision="int8", calibration=images(2))),
        export(
            checkpoint, "standin", options=CompileOptions(precision="int8", calibration=images(2), keep=("head.conv",))
        ),
    }
    assert len(made) == 8


def test_a_tuner_that_has_learned_makes_another_file(
    backend: StandIn, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BACKENDS, "tvm", backend.__name__)
    monkeypatch.setitem(SUFFIXES, ".so", "tvm")
    (tmp_path / "db").mkdir()
    options = CompileOptions(tuning=tmp_path / "db")
    first = export(checkpoint, "tvm", options=options)
    assert export(checkpoint, "tvm", options=options) == first
    (tmp_path / "db" / "records.json").write_text("1")
    assert export(checkpoint, "tvm", options=options) != first


def test_a_kept_file_that_is_damaged_is_made_again(backend: StandIn, checkpoint: Path) -> None:
    path = export(checkpoint, "standin")
    path.write_bytes(path.read_bytes()[:100])
    assert difference(export(checkpoint, "standin"), checkpoint) < 1e-6
    path.with_name(path.name + ".json").unlink()
    export(checkpoint, "standin")
    assert len(backend.compiled) == 3


def test_a_kept_file_of_other_package_versions_is_made_again(
    backend: StandIn, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(checkpoint, "standin")
    version = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "99" if name == "numpy" else version(name))
    export(checkpoint, "standin")
    export(checkpoint, "standin")
    assert len(backend.compiled) == 2


def test_pytorch_s_own_file_is_a_checkpoint_with_the_same_origin(checkpoint: Path, tmp_path: Path) -> None:
    out = export(checkpoint, "eager", tmp_path / "copy.safetensors", size=(32, 64))
    assert load_net(out).spec.preprocess.size == (32, 64)
    assert read_provenance(out) == {"data": "rooms"}
    assert difference(out, checkpoint) < 1e-6


def test_what_cannot_be_is_refused_before_any_work(backend: StandIn, checkpoint: Path, tmp_path: Path) -> None:
    def refused(message: str, runtime: str = "standin", out: str = "net.standin", **options: object) -> None:
        with pytest.raises(ValueError, match=message):
            export(checkpoint, runtime, tmp_path / out, CompileOptions(**options))

    refused("nearest: standin", runtime="standinn")
    refused(r"end in \.standin", out="net.onnx")
    refused("calibration is for int8", calibration=images(1))
    refused("keep is for int8", keep=("head.conv",))
    refused("for the runtime tvm", trials=3)
    refused("frame is", frame=(0, 3))
    (tmp_path / "folder.standin").mkdir()
    refused("a folder", out="folder.standin")
    with pytest.raises(ValueError, match="over a file that is read"):
        export(checkpoint, "eager", checkpoint)
    with pytest.raises(BadCheckpoint, match="no model"):
        export(tmp_path / "none.safetensors", "standin")
    backend.fault = "missing"
    with pytest.raises(NoRuntime, match="pip install stand-in"):
        export(checkpoint, "standin")
    assert not backend.compiled and not names(tmp_path)


def test_exporting_leaves_pytorch_s_threads_alone(backend: StandIn, checkpoint: Path) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        export(checkpoint, "eager")
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_calibration_takes_images_from_the_whole_source(tmp_path: Path) -> None:
    for i in range(10):
        Image.fromarray(np.full((20, 30, 3), i, np.uint8)).save(tmp_path / f"{i}.png")
    how = small_net().spec.preprocess
    found = calibration(tmp_path, how, 4)
    assert [round(float(x.mean() * 255)) for x in found] == [0, 3, 6, 9]
    assert (found[1] == prepare(read_image(tmp_path / "3.png"), how)).all()
    assert len(calibration(str(tmp_path), how, 99)) == 10
    with pytest.raises(ValueError, match="at least one"):
        calibration(tmp_path, how, 0)


def test_a_calibration_folder_without_images_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(BadImage, match="holds no image"):
        calibration(tmp_path, small_net().spec.preprocess, 4)


def test_the_cache_can_be_put_anywhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LEADLINE_CACHE", str(tmp_path))
    assert cache() == tmp_path
    monkeypatch.delenv("LEADLINE_CACHE")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert cache() == tmp_path / "x" / "leadline"


def test_the_fixed_picture_is_always_the_same_and_full_of_contrast() -> None:
    first = picture((48, 64))
    assert (picture((48, 64)) == first).all() and (picture((48, 64), seed=1) != first).any()
    assert first.shape == (48, 64, 3) and first.std() > 30


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_a_whole_frame_file_of_a_real_runtime_is_confirmed_by_pytorch(
    runtime: str, checkpoint: Path, tmp_path: Path
) -> None:
    from leadline.runtime import backend, suffix

    if (command := backend(runtime).missing()) is not None:
        pytest.skip(command)
    out = export(checkpoint, runtime, tmp_path / f"net{suffix(runtime)}", CompileOptions(frame=(60, 80)))
    found = read_manifest(out)
    assert (found.frame, found.source, found.provenance) == ((60, 80), sha256(checkpoint), {"data": "rooms"})
    assert difference(out, checkpoint) < 1e-4
