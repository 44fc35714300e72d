"""One safetensors file holds a net; nothing else is accepted, and nothing in it is ever run."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from leadline.core.errors import BadCheckpoint
from leadline.nn import checkpoint, zoo
from leadline.nn.build import Net, build


@pytest.fixture(scope="module")
def net() -> Net:
    made = build(zoo.fastdepth_pruned(), seed=1)
    made.head.start_at(2.0)
    return made.eval()


def test_shapes_decide_the_architecture(net: Net, tmp_path: Path) -> None:
    """A net cut by hand loads through the Spec of its parent: the widths are those of the tensors."""
    path = checkpoint.save(net, tmp_path / "whole.safetensors")
    tensors = load_file(path)
    block = "encoder.blocks.7"  # 408 -> 376 channels; its output is read by block 8 only
    for name in ("3.weight", *(f"4.{n}" for n in ("weight", "bias", "running_mean", "running_var"))):
        tensors[f"{block}.{name}"] = tensors[f"{block}.{name}"][:360].clone()
    for name in ("0.weight", *(f"1.{n}" for n in ("weight", "bias", "running_mean", "running_var"))):
        tensors[f"encoder.blocks.8.{name}"] = tensors[f"encoder.blocks.8.{name}"][:360].clone()
    tensors["encoder.blocks.8.3.weight"] = tensors["encoder.blocks.8.3.weight"][:, :360].clone()
    metadata = {"format": checkpoint.FORMAT, "spec": _metadata(path)["spec"]}
    save_file(tensors, tmp_path / "cut.safetensors", metadata)
    cut = checkpoint.load(tmp_path / "cut.safetensors")
    assert cut.encoder.blocks[7][3].out_channels == 360
    assert cut.encoder.blocks[8][0].groups == 360
    again = checkpoint.load(checkpoint.save(cut, tmp_path / "again.safetensors"))
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert cut(image).shape == (1, 1, 64, 64)
        assert torch.equal(cut(image), again(image))


def test_provenance_comes_back(net: Net, tmp_path: Path) -> None:
    said = {"data": ["nyu"], "metrics": {"delta1": 0.7}}
    path = checkpoint.save(net, tmp_path / "net.safetensors", provenance=said)
    assert checkpoint.read_provenance(path) == said


def test_half_precision_halves_the_file_and_keeps_the_function(net: Net, tmp_path: Path) -> None:
    whole = checkpoint.save(net, tmp_path / "whole.safetensors")
    half = checkpoint.save(net, tmp_path / "half.safetensors", dtype=torch.float16)
    assert half.stat().st_size < 0.51 * whole.stat().st_size + 20000
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(checkpoint.load(half)(image), net(image), rtol=0.02, atol=0.05)
    assert next(checkpoint.load(half).parameters()).dtype == torch.float32


def test_values_that_half_precision_cannot_hold_are_refused(tmp_path: Path) -> None:
    net = build(zoo.fastdepth_pruned(), seed=0)
    net.encoder.blocks[0][1].running_var.fill_(1e9)
    with pytest.raises(ValueError, match="running_var"):
        checkpoint.save(net, tmp_path / "net.safetensors", dtype=torch.float16)
    assert list(tmp_path.iterdir()) == []


class Boom:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("boom"),)


def _cut_short(net: Net, path: Path) -> None:
    content = checkpoint.save(net, path).read_bytes()
    path.write_bytes(content[: len(content) // 2])


def _of_another_program(net: Net, path: Path) -> None:
    save_file({"weight": torch.zeros(3)}, path)


def _of_another_net(net: Net, path: Path) -> None:
    metadata = _metadata(checkpoint.save(net, path))
    save_file({"weight": torch.zeros(3)}, path, metadata)


def _unknown_spec(net: Net, path: Path) -> None:
    metadata = _metadata(checkpoint.save(net, path))
    spec = json.loads(metadata["spec"]) | {"surprise": 1}
    save_file(load_file(path), path, {**metadata, "spec": json.dumps(spec)})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_cut_short, "not a whole safetensors file"),
        (_of_another_program, "another program"),
        (_of_another_net, "belongs to another one"),
        (_unknown_spec, "surprise"),
        (lambda net, path: path.write_bytes(b""), "is empty"),
        (lambda net, path: path.write_bytes(b"GIF89a" * 9), "not a whole safetensors file"),
        (lambda net, path: path.write_bytes(pickle.dumps(Boom())), "is a pickle"),
        (lambda net, path: torch.save(net.state_dict(), path), "is a pickle"),
        (lambda net, path: path.mkdir(), "is a folder"),
        (lambda net, path: None, "neither a file nor a net that ships"),
    ],
    ids=["cut", "program", "net", "spec", "empty", "gif", "pickle", "torch", "folder", "missing"],
)
def test_a_file_that_is_no_checkpoint_gets_one_clear_error(
    make: object, message: str, net: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "net.safetensors"
    make(net, path)  # type: ignore[operator]
    with pytest.raises(BadCheckpoint, match=message) as error:
        checkpoint.load(path)
    assert "net.safetensors" in str(error.value)
    assert not (tmp_path / "boom").exists()


def test_a_file_for_a_runtime_is_told_to_be_no_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(bytes(range(64)))
    with pytest.raises(BadCheckpoint, match=r"net\.onnx is no checkpoint: a \.safetensors file is needed"):
        checkpoint.load(path)


def test_a_crash_while_writing_leaves_the_old_file(net: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = checkpoint.save(net, tmp_path / "net.safetensors")
    before = path.read_bytes()

    def crash(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", crash)
    with pytest.raises(OSError, match="disk full"):
        checkpoint.save(net, path, provenance={"new": True})
    assert path.read_bytes() == before


def _metadata(path: Path) -> dict[str, str]:
    from safetensors import safe_open

    with safe_open(str(path), framework="pt") as file:
        return dict(file.metadata())


def test_shapes_that_contradict_each_other_are_refused(net: Net, tmp_path: Path) -> None:
    path = checkpoint.save(net, tmp_path / "net.safetensors")
    tensors = load_file(path)
    tensors["encoder.blocks.8.3.weight"] = tensors["encoder.blocks.8.3.weight"][:, :360].clone()
    save_file(tensors, path, _metadata(checkpoint.save(net, tmp_path / "same.safetensors")))
    with pytest.raises(BadCheckpoint, match="does not describe a net"):
        checkpoint.load(path)


def test_weights_of_a_training_that_went_wrong_are_refused(net: Net, tmp_path: Path) -> None:
    path = checkpoint.save(net, tmp_path / "net.safetensors")
    tensors = load_file(path)
    tensors["head.norm.bias"] = torch.full_like(tensors["head.norm.bias"], torch.nan)
    save_file(tensors, path, _metadata(checkpoint.save(net, tmp_path / "same.safetensors")))
    with pytest.raises(BadCheckpoint, match=r"not finite, first in 'head\.norm\.bias'"):
        checkpoint.load(path)


def test_a_net_without_shipped_weights_says_how_to_get_some() -> None:
    with pytest.raises(BadCheckpoint, match="leadline train --model fastdepth_pruned"):
        checkpoint.load("fastdepth_pruned")
