"""A file and its manifest belong together: no other file, no damaged one, and none of another machine is opened."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.tiny_runtime_nets import SIZE, images, small_net, unbound

from leadline.core import machine
from leadline.core.errors import BadArtefact
from leadline.core.spec import Decoder, Encoder, Preprocess, Spec
from leadline.runtime import BACKENDS, backend, load, read_manifest, suffix
from leadline.runtime.manifest import Manifest, beside, dumps, files_of, loads, write_beside
from leadline.runtime.onnx_file import manifest_of, with_manifest
from leadline.runtime.options import CompileOptions

NAMES = [name for name in BACKENDS if name not in ("eager", "onnx")]  # those with a manifest beside them
SPEC = Spec("any", Encoder("none", ()), Decoder("none", ()), preprocess=Preprocess((64, 96)))


def written(folder: Path, name: str, content: bytes = b"the artefact", **facts: Any) -> Path:
    """A file that no runtime could load, with a sound manifest."""
    path = folder / f"net{suffix(name)}"
    path.write_bytes(content)
    if name in ("openvino", "ncnn"):
        weights = path.with_suffix(".bin") if name == "openvino" else path.with_name("net.param.bin")
        weights.write_bytes(b"weights of " + content)
    write_beside(path, Manifest(SPEC, name, "fp32", (64, 96), **facts))
    return path


def damaged(path: Path) -> Path:
    return path.write_bytes(b"the artefacT") and path


def cut_short(path: Path) -> Path:
    return path.write_bytes(b"the") and path


def emptied(path: Path) -> Path:
    path.write_bytes(b"")
    return path


def exchanged(path: Path) -> Path:
    other = path.parent / "other"
    other.mkdir()
    shutil.copy(beside(written(other, read_manifest(path).runtime, b"another net")), beside(path))
    return path


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("change", [damaged, cut_short, emptied, exchanged])
def test_a_file_that_is_not_the_card_s_never_reaches_the_runtime(
    name: str, change: Callable[[Path], Path], tmp_path: Path
) -> None:
    path = change(written(tmp_path, name))
    with pytest.raises(BadArtefact, match=rf"{path.name} is damaged, or its description belongs to another file"):
        backend(name).load(path, 1)


@pytest.mark.parametrize("name", ["openvino", "ncnn"])
def test_weights_are_bound_too(name: str, tmp_path: Path) -> None:
    path = written(tmp_path, name)
    weights = files_of(path)[1]
    weights.write_bytes(b"other weights")
    with pytest.raises(BadArtefact, match=rf"file: {weights.name} \(SHA-256\) is not what was exported"):
        backend(name).load(path, 1)
    weights.unlink()
    with pytest.raises(BadArtefact, match=f"lacks its weights, {weights.name}"):
        backend(name).load(path, 1)


@pytest.mark.parametrize("name", ["tvm", "inductor"])
def test_native_code_for_another_processor_is_refused_before_it_runs(name: str, tmp_path: Path) -> None:
    path = written(tmp_path, name, machine=(*machine.native(), "avx4096"))
    with pytest.raises(BadArtefact, match=r"compiled for another processor: this one \(.*\) lacks avx4096; export"):
        backend(name).load(path, 1)


@pytest.mark.parametrize("name", NAMES)
def test_the_file_of_one_runtime_under_the_name_of_another_is_refused(name: str, tmp_path: Path) -> None:
    path = written(tmp_path, name)
    write_beside(path, Manifest(SPEC, "onnx", "fp32", (64, 96)))
    for read in (read_manifest, load, lambda path: backend(name).load(path, 1)):
        with pytest.raises(BadArtefact, match=f"file for {name} by its name, and for onnx by its description"):
            read(path)


@pytest.mark.parametrize("name", list(BACKENDS)[1:])
def test_a_folder_is_no_file(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"net{suffix(name)}"
    path.mkdir()
    with pytest.raises(BadArtefact, match="there is no file"):
        load(path)


def changed(**facts: Any) -> str:
    plain = json.loads(dumps(Manifest(SPEC, "tvm", "fp32", (64, 96))))
    return json.dumps(plain | facts)


HOSTILE = {
    "a list": "[]",
    "a text": '"leadline-artefact-1"',
    "nothing": "",
    "cut short": changed()[:-40],
    "another format": changed(format="leadline-artefact-99"),
    "no versions": changed().replace('"versions"', '"verses"'),
    "a size of one number": changed(size=[64]),
    "a size of words": changed(size=["64", "96"]),
    "a size of fractions": changed(size=[64.0, 96.0]),
    "no pixels": changed(size=[0, 96]),
    "fewer pixels than none": changed(frame=[-480, 640]),
    "too many pixels": changed(frame=[10**9, 10**9]),
    "a size that is not prepared": changed(size=[32, 96]),
    "an unknown precision": changed(precision="fp4"),
    "a precision that is a list": changed(precision=["fp32"]),
    "a spec that is a list": changed(spec=[]),
    "versions that are numbers": changed(versions={"torch": 2}),
    "provenance that is a list": changed(provenance=["coco"]),
    "licences that are a number": changed(provenance={"licences": 5}),
    "a hash that is none": changed(hashes=["../../etc/passwd"]),
    "a name that moves the cursor": changed(source="\x1b[2J"),
    "a kept layer that moves the cursor": changed(kept=["a\r"]),
    "deep nesting": "[" * 100_000,
    "deep objects": '{"format":' * 100_000,
    "a key twice": changed()[:-1] + ', "runtime": "onnx"}',
    "not a number": changed(provenance={"loss": float("nan")}),
    "beyond all numbers": changed(provenance={"loss": 1}).replace('"loss": 1', '"loss": 1e999'),
    "a number with many digits": changed(provenance={"loss": 1}).replace('"loss": 1', '"loss": ' + "9" * 9999),
    "a lone surrogate": changed(source="\ud800"),
    "no text": b"\xff\xfe\x00{",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_damaged_or_hostile_card_is_one_sentence(text: str | bytes, tmp_path: Path) -> None:
    path = written(tmp_path, "tvm")
    beside(path).write_bytes(text if isinstance(text, bytes) else text.encode())
    for read in (read_manifest, load, lambda path: backend("tvm").load(path, 1)):
        with pytest.raises(BadArtefact, match=r"the description of .*net\.so is not leadline's") as caught:
            read(path)
        assert len(str(caught.value)) < 1000 and "\x1b" not in str(caught.value)


def test_a_card_that_is_a_folder_or_too_long_is_one_sentence(tmp_path: Path) -> None:
    path = written(tmp_path, "tvm")
    beside(path).write_text(" " * 2**24 + changed())
    with pytest.raises(BadArtefact, match="more than 16777216 bytes"):
        read_manifest(path)
    beside(path).unlink()
    beside(path).mkdir()
    with pytest.raises(BadArtefact, match=r"net\.so\.json, which describes net\.so, cannot be read"):
        read_manifest(path)


def test_a_byte_order_mark_that_an_editor_left_is_no_harm(tmp_path: Path) -> None:
    path = written(tmp_path, "tvm")
    expected = read_manifest(path)
    beside(path).write_text(beside(path).read_text(), "utf-8-sig")
    assert read_manifest(path) == expected


def test_a_card_of_an_older_version_has_neither_hash_nor_machine() -> None:
    plain = json.loads(changed())
    del plain["hashes"], plain["machine"]
    assert loads(json.dumps(plain), Path("net.so")) == Manifest(SPEC, "tvm", "fp32", (64, 96))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The content of an ONNX file."""
    pytest.importorskip("onnx")
    path = tmp_path_factory.mktemp("net") / "net.onnx"
    return backend("onnx").compile(small_net(), torch.zeros(1, 3, *SIZE), path, CompileOptions()).read_bytes()


def test_an_onnx_file_is_bound_to_the_card_inside(exported: bytes, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    for place in (9, len(exported) // 3, len(exported) // 2):
        path.write_bytes(exported[:place] + bytes([exported[place] ^ 1]) + exported[place + 1 :])
        with pytest.raises(BadArtefact, match=r"net\.onnx is damaged"):
            load(path)
    for part in (0, 1, 100, len(exported) // 2, len(exported) - 1):
        path.write_bytes(exported[:part])
        with pytest.raises(BadArtefact, match=r"net\.onnx (is damaged|is empty|was not written by leadline)"):
            load(path)


def test_an_onnx_file_of_an_older_version_runs_unbound(exported: bytes, tmp_path: Path) -> None:
    import onnx

    path = tmp_path / "net.onnx"
    path.write_bytes(exported)
    run, found = load(path, 1)
    model = onnx.load(path)
    (entry,) = [entry for entry in model.metadata_props if entry.key == "leadline"]
    entry.value = dumps(replace(found, hashes=()))
    model.metadata_props.add(key="another program's", value="[]")
    onnx.save(model, path)
    assert manifest_of(path) == replace(found, hashes=())
    assert np.array_equal(load(path, 1)[0](images(1)[0]), run(images(1)[0]))


def test_onnx_programs_see_the_card_in_the_metadata(exported: bytes) -> None:
    import onnx

    (entry,) = onnx.load_from_string(exported).metadata_props
    assert entry.key == "leadline" and loads(entry.value, Path("net.onnx")).size == SIZE


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_card_inside_an_onnx_file_is_one_sentence(text: str | bytes, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(with_manifest(b"", text) if isinstance(text, str) else with_manifest(b"", text.decode("latin-1")))
    with pytest.raises(BadArtefact, match=r"the description of .*net\.onnx is not leadline's"):
        read_manifest(path)


@pytest.mark.parametrize("content", [b"\xff" * 40, b"\x08" * 41, b"\x0a\xff\xff\xff\xff\x0f", b"\x0b\x0b", b"\x00\x00"])
def test_what_is_no_message_is_no_onnx_file(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(content)
    with pytest.raises(BadArtefact, match=r"net\.onnx is damaged or cut short, or no ONNX file"):
        read_manifest(tmp_path / "net.onnx")


def test_an_onnx_file_of_no_bytes_is_said_to_be_empty(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"")
    with pytest.raises(BadArtefact, match=r"net\.onnx is empty \(0 bytes\); export it anew"):
        read_manifest(tmp_path / "net.onnx")


def test_one_session_is_made_for_a_load_however_it_is_asked_for(
    exported: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    from leadline.distill.teachers.open import open_teacher
    from leadline.predict.predictor import load_predictor

    made: list[str] = []
    session = onnxruntime.InferenceSession

    def counted(path: Any, *args: Any, **options: Any) -> Any:
        made.append(str(path))
        return session(path, *args, **options)

    monkeypatch.setattr(onnxruntime, "InferenceSession", counted)
    path = tmp_path / "net.onnx"
    path.write_bytes(exported)
    read_manifest(path)
    assert made == []
    load_predictor(path, threads=1)
    open_teacher(path, threads=1)
    assert made == [str(path)] * 2


@pytest.mark.parametrize("name", ["openvino", pytest.param("tvm", marks=pytest.mark.slow)])
def test_all_files_together_may_be_renamed(name: str, tmp_path: Path) -> None:
    if (command := backend(name).missing()) is not None:
        pytest.skip(f"{name} is not installed: {command}")
    path = tmp_path / f"net{suffix(name)}"
    backend(name).compile(small_net(), torch.zeros(1, 3, *SIZE), path, CompileOptions())
    expected = load(path, 1)[0](images(1)[0])
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for file in files_of(path):
        file.rename(moved / file.name.replace("net.", "other."))
    other = moved / f"other{suffix(name)}"
    assert np.array_equal(load(other, 1)[0](images(1)[0]), expected)
    assert np.array_equal(load(unbound(other), 1)[0](images(1)[0]), expected)
