"""Files that are whole and say what cannot be, or are damaged: a BadCheckpoint, before any memory is taken."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fuzz.nets import joined, read_parts
from safetensors.torch import load_file, save_file
from support.tiny_training import TINY, tiny

from leadline.cli.main import main
from leadline.core.errors import BadCheckpoint
from leadline.core.spec import to_json
from leadline.nn import checkpoint, zoo
from leadline.nn.build import build, outline
from leadline.nn.checkpoint import load, origin, read_provenance, save

Change = Callable[[dict[str, Any]], None]


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    return save(tiny(), tmp_path / "net.safetensors", provenance={"licences": ["CC-BY"]})


def rewritten(path: Path, **metadata: str) -> Path:
    """The file with other entries in its metadata."""
    header, body = read_parts(path)
    header["__metadata__"].update(metadata)
    path.write_bytes(joined(header, body))
    return path


def told(path: Path, where: str, value: Any) -> Path:
    """The file with another value in its Spec."""
    spec = json.loads(read_parts(path)[0]["__metadata__"]["spec"])
    *above, key = where.split(".")
    place = spec
    for name in above:
        place = place[name]
    place[key] = value
    return rewritten(path, spec=json.dumps(spec))


HOSTILE = [
    ("preprocess.size", [0, 0]), ("preprocess.size", [-5, 7]), ("preprocess.size", [10**9, 10**9]),
    ("preprocess.view", [5, 5]),
    ("preprocess.std", [0, 0, 0]), ("preprocess.std", [float("nan"), 1, 1]), ("preprocess.mean", [float("nan"), 0, 0]),
    ("decoder.kernel", 0), ("decoder.kernel", 10**9), ("decoder.kernel", 3), ("head.kernel", -1),
    ("head.focal_times_baseline", float("inf")),
    ("encoder.widths", [10**9] * 14), ("encoder.widths", [10**400] * 14), ("encoder.widths", []),
    ("encoder.widths", [8] * 10**6), ("skipped", ["blocks.3"]), ("gates", ["x"]), ("name", "../x"),
    ("name", "a\x1b[2J"),
    ("encoder.name", "mobilenet_v9"),
    ("decoder.name", "x" * 10**6), ("encoder", [[[]]]), ("head.unit", "feet"),
]  # fmt: skip


@pytest.mark.parametrize(("where", "value"), HOSTILE, ids=lambda value: str(value)[:20])
def test_a_spec_that_cannot_be_is_refused_with_the_files_name_and_in_few_words(
    where: str, value: Any, whole: Path
) -> None:
    with pytest.raises(BadCheckpoint, match=r"net\.safetensors does not describe a net") as error:
        load(told(whole, where, value))
    assert len(str(error.value)) < 700


def test_widths_take_memory_only_where_the_file_has_tensors_of_them(whole: Path) -> None:
    """14 blocks of 16384 channels would be 14 GB: the file's own tensors decide, which are smaller."""
    told(whole, "encoder.widths", [1 << 14] * 14)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    net = load(told(whole, "decoder.widths", [1 << 14] * 5))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # kB
    with torch.no_grad():
        assert torch.equal(net(torch.ones(1, 3, 32, 32)), tiny().eval()(torch.ones(1, 3, 32, 32)))
    assert {p.device.type for p in net.parameters()} == {"cpu"} and net.encoder.blocks[0][0].out_channels == 8


@pytest.mark.parametrize("name", zoo.names())
def test_an_outline_has_all_tensors_of_the_net_and_the_two_that_its_spec_gives(name: str) -> None:
    """What is neither stored nor said by the Spec would come back from a file as noise."""
    spec = zoo.spec(name)
    net = outline(spec)
    assert all(tensor.is_meta for tensor in [*net.parameters(), *net.buffers()])
    assert {n for n, _ in net.named_buffers()} - set(net.state_dict()) == {"mean", "std"}


@pytest.mark.parametrize("name", ["litedepth", "boosting_student", "fastdepth_pruned"])
def test_a_net_comes_back_with_its_normalisation_and_its_counts(name: str, tmp_path: Path) -> None:
    net = build(zoo.spec(name), seed=3).eval()
    again = load(save(net, tmp_path / "x.safetensors"))
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(again(image), net(image))
    assert torch.equal(again.mean, net.mean) and torch.equal(again.std, net.std) and not again.training
    counts = [value for key, value in again.state_dict().items() if key.endswith("num_batches_tracked")]
    assert not any(counts)


def test_a_net_that_comes_from_a_file_can_be_trained(whole: Path) -> None:
    net = load(whole).train()
    net(torch.rand(2, 3, 32, 32)).sum().backward()
    assert all(p.grad is not None and p.requires_grad for p in net.parameters())


NESTED = "[" * 10_000 + "]" * 10_000


@pytest.mark.parametrize(
    "text",
    ["", "[1, 2]", "7", "null", '"x"', "{", NESTED, '{"a":' * 10_000 + "1" + "}" * 10_000, "NaN", "9" * 5000,
     '{"licences": 5}', '{"licences": "none"}', '{"licences": null}', '{"licences": [[1]]}'],
    ids=lambda text: text[:20],
)  # fmt: skip
def test_an_origin_that_is_no_object_or_names_no_licences_is_refused_by_every_reader(
    text: str, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = rewritten(whole, provenance=text)
    for read in (read_provenance, origin):
        with pytest.raises(BadCheckpoint, match=r"net\.safetensors"):
            read(path)
    assert main(["info", str(path)]) == 1
    assert "fault of leadline" not in capsys.readouterr().err
    if text:
        with pytest.raises(BadCheckpoint, match=r"net\.safetensors"):
            load(rewritten(whole, spec=text))


def test_a_file_without_a_word_of_its_origin_has_none(whole: Path) -> None:
    header, body = read_parts(whole)
    del header["__metadata__"]["provenance"]
    whole.write_bytes(joined(header, body))
    assert read_provenance(whole) == {} and origin(whole)["licences"] == []


def _more(tensors: dict[str, torch.Tensor]) -> None:
    tensors["encoder.blocks.0.0.extra" * 9999] = torch.zeros(1)


def _fewer(tensors: dict[str, torch.Tensor]) -> None:
    del tensors["head.conv.weight"]


def _empty(tensors: dict[str, torch.Tensor]) -> None:
    tensors["head.norm.bias"] = torch.zeros(0)


def _flat(tensors: dict[str, torch.Tensor]) -> None:
    tensors["head.conv.weight"] = tensors["head.conv.weight"].flatten()


def _kernel(tensors: dict[str, torch.Tensor]) -> None:
    tensors["encoder.blocks.0.0.weight"] = torch.zeros(8, 3, 5, 5)


def _whole_numbers(tensors: dict[str, torch.Tensor]) -> None:
    tensors["head.norm.bias"] = torch.zeros(1, dtype=torch.int64)


def _true_or_false(tensors: dict[str, torch.Tensor]) -> None:
    tensors["head.norm.bias"] = torch.zeros(1, dtype=torch.bool)


def _beyond(tensors: dict[str, torch.Tensor]) -> None:
    tensors["head.norm.bias"] = torch.full((1,), 1e300, dtype=torch.float64)


def _below(tensors: dict[str, torch.Tensor]) -> None:
    tensors["encoder.blocks.0.1.running_var"] = torch.full((8,), -1.0)


@pytest.mark.parametrize(
    "change",
    [_more, _fewer, _empty, _flat, _kernel, _whole_numbers, _true_or_false, _beyond, _below],
    ids=lambda change: change.__name__.strip("_"),
)
def test_tensors_that_are_not_those_of_a_net_are_refused(
    change: Callable[[dict[str, torch.Tensor]], None], whole: Path
) -> None:
    metadata, tensors = read_parts(whole)[0]["__metadata__"], load_file(whole)
    change(tensors)
    save_file(tensors, whole, metadata)
    with pytest.raises(BadCheckpoint, match=r"net\.safetensors") as error:
        load(whole)
    assert len(str(error.value)) < 700


@pytest.mark.parametrize("missing", ["spec", "format"])
def test_metadata_that_lack_an_entry_are_refused(missing: str, whole: Path) -> None:
    header, body = read_parts(whole)
    del header["__metadata__"][missing]
    whole.write_bytes(joined(header, body))
    with pytest.raises(BadCheckpoint, match=f"lacks its {missing}|another program"):
        load(whole)


def test_what_is_no_file_is_told_so_and_never_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe.safetensors")
    Path("loop.safetensors").symlink_to("loop.safetensors")
    said_of = {
        "pipe.safetensors": "is a pipe",
        "x" * 5000: "cannot be read",
        "loop.safetensors": "no model",
        "a\0b": "no model",
    }
    for name, said in said_of.items():
        with pytest.raises(BadCheckpoint, match=said) as error:
            load(name)
        assert len(str(error.value)) < 500


def test_every_verb_refuses_such_a_file_in_one_line(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from support.tiny_scenes import render, write_folder

    data = str(write_folder(tmp_path / "rooms", [render(seed, size=(32, 32)) for seed in range(3)]))
    bad, photo = str(told(whole, "decoder.kernel", 0)), f"{data}/images/000.png"
    out = str(tmp_path / "out.safetensors")
    for words in (
        ["info", bad],
        ["predict", photo, "--model", bad, "--out", str(tmp_path / "p")],
        ["val", "--data", data, "--model", bad],
        ["train", "--data", data, "--model", bad, "--out", str(tmp_path / "t"), "--workers", "0"],
        ["distill", "--data", data, "--model", "litedepth", "--teacher", bad, "--out", str(tmp_path / "d")],
        ["label", data, "--teacher", bad, "--out", str(tmp_path / "l")],
        ["prune", bad, "--method", "l1", "--budget", "macs=0.9x", "--data", data, "--out", out],
        ["quantize", bad, "--runtime", "eager", "--data", data, "--out", out, "--images", "1"],
        ["export", bad, "--runtime", "eager", "--out", out],
        ["import", bad, "--out", out],
    ):
        assert main(words) == 1, words
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and "fault of leadline" not in said and whole.name in said, said
    assert not Path(out).exists()


def test_a_spec_made_by_code_never_reaches_a_file(tmp_path: Path) -> None:
    assert checkpoint.load(save(build(TINY, seed=0), tmp_path / "a.safetensors")).spec == TINY
    assert to_json(TINY)["gates"] == to_json(TINY)["skipped"] == []
