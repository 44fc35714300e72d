"""The authors' checkpoint is a pickle of a whole model: it is read, and nothing in it runs."""

from __future__ import annotations

import collections
import json
import sys
import types
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from leadline.cli.main import main
from leadline.core.errors import BadCheckpoint
from leadline.nn import zoo
from leadline.nn.build import Net, build
from leadline.nn.checkpoint import load, stored_as
from leadline.nn.pretrained.fastdepth_authors import import_fastdepth


def authors_model(net: Net) -> nn.Module:
    """A module with the attribute names of the authors' `models.py`, holding the weights of `net`."""
    model = nn.Module()
    for i, block in enumerate(net.encoder.blocks):
        setattr(model, f"conv{i}", nn.Sequential(*block))
    for i, block in enumerate(net.decoder.blocks):
        pair = nn.Sequential(nn.Sequential(*block[:3]), nn.Sequential(*block[3:]))
        setattr(model, f"decode_conv{i + 1}", pair)
    model.decode_conv6 = nn.Sequential(net.head.conv, net.head.norm, nn.ReLU())
    # a class of a module that is not installed here, as in the authors' file
    module = types.ModuleType("models")
    module.MobileNetSkipAdd = type("MobileNetSkipAdd", (nn.Module,), {"__module__": "models"})  # type: ignore[attr-defined]
    sys.modules["models"] = module
    model.__class__ = module.MobileNetSkipAdd
    return model


@pytest.fixture(params=["whole", "pruned"])
def net(request: pytest.FixtureRequest) -> Net:
    made = build(zoo.fastdepth() if request.param == "whole" else zoo.fastdepth_pruned(), seed=4)
    made.head.start_at(1.5)
    return made.eval()


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
def test_a_pickled_whole_model_gives_the_same_net(net: Net, zipped: bool, tmp_path: Path) -> None:
    path = tmp_path / "mobilenet-nnconv5dw-skipadd.pth.tar"
    content = {"epoch": 19, "model": authors_model(net), "best_result": collections.OrderedDict(rmse=0.6)}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    del sys.modules["models"]
    again = import_fastdepth(path)
    assert "models" not in sys.modules
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():  # theirs takes the image in 0..1, ours centred
        torch.testing.assert_close(again(image), net((image - again.mean) * net.std + net.mean))
    assert again.spec.preprocess.view == (228 / 250, 304 / 333)
    assert again.spec.encoder.widths == net.spec.encoder.widths


def test_a_state_dict_of_a_data_parallel_model_is_read_too(net: Net, tmp_path: Path) -> None:
    state = {f"module.{k}": v for k, v in authors_model(net).state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "x.pth.tar")
    image = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(import_fastdepth(tmp_path / "x.pth.tar")(image), net(image * net.std + net.mean))


class Boom:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, ("open('boom', 'w').write('ran')",)


def test_code_in_a_pickle_never_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for zipped in (True, False):
        torch.save({"model": Boom()}, tmp_path / "x.pth.tar", _use_new_zipfile_serialization=zipped)
        with pytest.raises(BadCheckpoint):
            import_fastdepth(tmp_path / "x.pth.tar")
    assert not (tmp_path / "boom").exists()


def test_another_file_is_refused_with_its_name(tmp_path: Path) -> None:
    torch.save({"state_dict": {"fc.weight": torch.zeros(2)}}, tmp_path / "other.pth")
    with pytest.raises(BadCheckpoint, match=r"other\.pth is not FastDepth.*fc\.weight"):
        import_fastdepth(tmp_path / "other.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "other.pth").read_bytes()[:100])
    with pytest.raises(BadCheckpoint, match=r"cut\.pth cannot be read"):
        import_fastdepth(tmp_path / "cut.pth")
    with pytest.raises(BadCheckpoint, match="there is no file"):
        import_fastdepth(tmp_path / "none.pth")


def test_import_is_a_verb(net: Net, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = authors_model(net).state_dict()
    torch.save({"state_dict": state}, tmp_path / "x.pth.tar")
    assert main(["import", str(tmp_path / "x.pth.tar"), "--out", str(tmp_path / "x.safetensors"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["widths"] == list(net.spec.encoder.widths)
    assert load(tmp_path / "x.safetensors").spec.preprocess.resize == "nearest"


def test_a_torchscript_program_is_not_run(tmp_path: Path) -> None:
    path = tmp_path / "program.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("program/constants.pkl", b"")
        archive.writestr("program/data.pkl", b"")
    with pytest.raises(BadCheckpoint, match="TorchScript program"):
        import_fastdepth(path)


def _pickled(content: object, path: Path, zipped: bool = True) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


def test_a_view_of_one_number_cannot_claim_a_net_of_any_size(tmp_path: Path) -> None:
    """Strides of 0 make a tensor of 4 TB from four bytes: the file's size tells."""
    state = dict(authors_model(build(zoo.fastdepth_pruned(), seed=0)).state_dict())
    state["conv3.3.weight"] = torch.zeros(1).expand(1 << 20, 1 << 20, 1, 1)
    with pytest.raises(BadCheckpoint, match="more than it can hold"):
        import_fastdepth(_pickled({"state_dict": state}, tmp_path / "x.pth.tar"))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (torch.full((16,), torch.nan), "no finite numbers"),
        (torch.zeros(16, dtype=torch.int64), "no finite numbers"),
        (torch.zeros(16, 1), "is not FastDepth's"),
        (torch.zeros(0), "is not FastDepth's"),
        (torch.zeros(10**5), "is not FastDepth's"),
    ],
)
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_tensors_that_are_not_those_of_a_net_are_refused(
    value: torch.Tensor, said: str, zipped: bool, tmp_path: Path
) -> None:
    state = dict(authors_model(build(zoo.fastdepth_pruned(), seed=0)).state_dict())
    state["conv0.1.bias"] = value
    with pytest.raises(BadCheckpoint, match=said):
        import_fastdepth(_pickled({"state_dict": state}, tmp_path / "x.pth.tar", zipped))


LONG_READ = b"\x80\x02\x8b\xff\xff\xff\x7f"  # LONG4 of 2 GB
MEMO = b"\x80\x02K\x01r\xff\xff\xff\xff."  # LONG_BINPUT to place 4 294 967 295
BYTES = b"\x80\x04\x8e" + (1 << 40).to_bytes(8, "little")  # BINBYTES8 of 1 TB


@pytest.mark.parametrize(
    "content", [LONG_READ, MEMO, BYTES, b"\x80\x02" + b"(" * 10**6, b"\x80\x02" + b"]" * 10**5 + b"."]
)
@pytest.mark.slow
def test_a_pickle_takes_no_more_memory_than_its_file_is_long(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.pth.tar"
    path.write_bytes(content)
    with pytest.raises(BadCheckpoint, match="cannot be read as a torch checkpoint") as error:
        import_fastdepth(path)
    assert "MemoryError" not in str(error.value) and len(str(error.value)) < 500


@pytest.mark.parametrize(
    "content", [5, None, [1], "text", {"model": 5}, {"model": {"a": 1}}, {"state_dict": []}, {5: torch.zeros(1)}]
)
def test_what_is_pickled_and_no_net_is_told_so(content: object, tmp_path: Path) -> None:
    with pytest.raises(BadCheckpoint, match=r"x\.pth\.tar"):
        import_fastdepth(_pickled(content, tmp_path / "x.pth.tar"))


def test_an_archive_that_unpacks_to_many_times_its_size_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.pth.tar", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(1 << 22))
    with pytest.raises(BadCheckpoint, match="once unpacked"):
        import_fastdepth(tmp_path / "x.pth.tar")


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_a_checkpoint_keeps_the_numbers_of_the_file(dtype: torch.dtype, tmp_path: Path) -> None:
    net = build(zoo.fastdepth_pruned(), seed=4)
    state = authors_model(net).to(dtype).state_dict()
    del sys.modules["models"]
    torch.save({"state_dict": state}, tmp_path / "x.pth.tar")
    assert main(["import", str(tmp_path / "x.pth.tar"), "-o", str(tmp_path / "x.safetensors")]) == 0
    assert stored_as(tmp_path / "x.safetensors") == dtype
