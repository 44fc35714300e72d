"""Files that leadline has not made, as teachers: what they must be like, and what is said where they are not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.external_onnx import model

from leadline.core.errors import BadArtefact
from leadline.data.batch import Batch
from leadline.distill.options import ExternalModel, TeacherOptions
from leadline.distill.teachers import build_teacher, open_teacher
from leadline.runtime.export import export

RELATIVE = ExternalModel(kind="relative_depth")


def pictures(height: int = 40, width: int = 60) -> Batch:
    rng = np.random.default_rng(0)
    image = torch.from_numpy(np.rint(rng.random((2, 3, height, width)) * 255).astype(np.float32) / 255)
    depth = torch.rand(2, 1, height, width) + 1
    return Batch(image, depth, depth > 0, ("a", "b"))


@pytest.mark.parametrize(
    ("given", "dtype", "axis", "keep"),
    [
        ((1, 3, 40, 60), "FLOAT", 1, 1),
        ((1, 3, 40, 60), "FLOAT", 1, 0),
        (("batch", 3, "height", "width"), "FLOAT", 1, 1),
        ((1, 40, 60, 3), "FLOAT", 3, 1),
        ((1, 40, 60, 3), "UINT8", 3, 1),
        ((1, 3, 40, 60), "FLOAT16", 1, 1),
    ],
)
def test_pictures_go_in_as_the_file_wants_them(
    tmp_path: Path, given: Sequence[Any], dtype: str, axis: int, keep: int
) -> None:
    path, seen = model(tmp_path / "net.onnx", given, dtype, axis, keep), pictures()
    said = ExternalModel(kind="relative_depth", size=(40, 60), mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    teacher = open_teacher(path, said)
    assert ("mean" in teacher.facts) == (dtype != "UINT8")
    depth = teacher(seen).depth
    scaled = seen.image * 255 if dtype == "UINT8" else (seen.image - 0.5) / 0.25
    wanted = 1 + scaled.mean(1, keepdim=True)
    known = torch.isfinite(depth)
    assert torch.equal(known, wanted > 0)
    assert torch.allclose(depth[known], wanted[known], atol=0.02)


def test_pictures_of_another_size_are_brought_to_the_files_and_back(tmp_path: Path) -> None:
    path = model(tmp_path / "net.onnx", (1, 3, 20, 30))
    depth = open_teacher(path, RELATIVE)(pictures(80, 90)).depth
    assert depth.shape == (2, 1, 80, 90) and torch.isfinite(depth).all()


@pytest.mark.parametrize(
    ("given", "dtype", "found"),
    [
        ((1, 1, 40, 60), "FLOAT", r"picture float32 \[1, 1, 40, 60\]"),
        ((3, 40, 60), "FLOAT", r"picture float32 \[3, 40, 60\]"),
        ((4, 3, 40, 60), "FLOAT", r"picture float32 \[4, 3, 40, 60\]"),
        ((1, 3, 40, 3), "FLOAT", r"picture float32 \[1, 3, 40, 3\]"),
        ((1, 3, 40, 60), "INT64", r"picture int64 \[1, 3, 40, 60\]"),
    ],
)
def test_an_unknown_layout_says_what_was_expected_and_found(
    tmp_path: Path, given: Sequence[Any], dtype: str, found: str
) -> None:
    path = model(tmp_path / "net.onnx", given, dtype)
    with pytest.raises(BadArtefact, match=r"\[1,3,H,W\] or \[1,H,W,3\].* is expected; found: " + found):
        open_teacher(path, RELATIVE)


def test_what_a_file_does_not_say_has_to_be_said(tmp_path: Path) -> None:
    path = model(tmp_path / "net.onnx", (1, 3, "h", "w"), outputs=2)
    with pytest.raises(ValueError, match=r"does not say what its numbers are: give its kind"):
        open_teacher(path)
    with pytest.raises(ValueError, match=r"several outputs: depth0 .*, depth1 .*; say which is depth"):
        open_teacher(path, RELATIVE)
    with pytest.raises(ValueError, match=r"has no output 'disp'"):
        open_teacher(path, ExternalModel(kind="relative_depth", output="disp"))
    with pytest.raises(ValueError, match=r"takes pictures of any size"):
        open_teacher(path, ExternalModel(kind="relative_depth", output="depth1"))


def test_a_file_that_gives_no_map_is_refused(tmp_path: Path) -> None:
    path = model(tmp_path / "net.onnx", (1, 3, 40, 60), axis=0)  # the mean over the batch leaves three colours
    with pytest.raises(BadArtefact, match=r"its output 'depth0' is \(1, 3, 40, 60\); one map is needed"):
        open_teacher(path, RELATIVE)


@pytest.mark.parametrize(("name", "reader"), [("net.onnx", "onnxruntime"), ("net.tflite", "ai_edge_litert")])
def test_a_damaged_file_is_named(tmp_path: Path, name: str, reader: str) -> None:
    pytest.importorskip(reader)
    path = tmp_path / name
    path.write_bytes(b"not a net" * 9)
    with pytest.raises(BadArtefact, match=rf"{name} is damaged"):
        open_teacher(path, RELATIVE)


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_an_exported_net_teaches_as_its_checkpoint_does(tmp_path: Path, runtime: str) -> None:
    pytest.importorskip({"onnx": "onnxruntime", "openvino": "openvino"}[runtime])
    path = export("litedepth", runtime, out=tmp_path / f"net.{'onnx' if runtime == 'onnx' else 'xml'}")
    seen = pictures(96, 128)
    a, b = (open_teacher(source)(seen).depth for source in ("litedepth", path))
    assert torch.allclose(a, b, rtol=1e-3)
    assert open_teacher(path).facts["licences"] == open_teacher("litedepth").facts["licences"]


class Quantised:
    """A TFLite file that gives the mean of its colours: both sides in integers that stand for real numbers."""

    def __init__(self, **_: Any) -> None:
        given, out = {"quantization": (1 / 255, 0), "dtype": np.uint8}, {"quantization": (0.02, -30), "dtype": np.int8}
        self.given = {"index": 0, "name": "picture", "shape": np.array([1, 40, 60, 3]), **given}
        self.out = {"index": 1, "name": "depth", "shape": np.array([1, 40, 60, 1]), **out}

    def allocate_tensors(self) -> None: ...

    def get_input_details(self) -> list[Any]:
        return [self.given]

    def get_output_details(self) -> list[Any]:
        return [self.out]

    def get_tensor_details(self) -> list[Any]:
        return [self.given, self.out]

    def set_tensor(self, _: int, image: np.ndarray) -> None:
        assert image.dtype == np.uint8
        self.image = image

    def invoke(self) -> None: ...

    def get_tensor(self, _: int) -> np.ndarray:
        return np.rint(self.image.mean(3, keepdims=True) / 255 / 0.02 - 30).astype(np.int8)


def test_integers_that_stand_for_real_numbers_are_read_as_those(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interpreter = pytest.importorskip("ai_edge_litert.interpreter")
    monkeypatch.setattr(interpreter, "Interpreter", Quantised)
    path, seen = tmp_path / "net.tflite", pictures()
    path.write_bytes(b"stands for a file")
    depth = open_teacher(path, ExternalModel(kind="metric"))(seen).depth
    assert torch.allclose(depth, seen.image.mean(1, keepdim=True), atol=0.011)


def test_a_metric_reference_may_be_anybodys_file(tmp_path: Path) -> None:
    teacher = model(tmp_path / "a.onnx", (1, 3, 40, 60))
    reference = model(tmp_path / "b.onnx", (1, 3, 40, 60))
    made = build_teacher(TeacherOptions(teacher=(str(teacher),), external=RELATIVE, metric=str(reference)))
    depth = made(pictures()).depth
    assert made.kind == "metric" and torch.allclose(depth, pictures().image.mean(1, keepdim=True) + 1, atol=1e-3)


def test_somebody_elses_net_with_a_metric_reference(shared_data: Path) -> None:
    """PyDNet, a TFLite file with three outputs, larger = farther, unscaled."""
    pytest.importorskip("ai_edge_litert")
    path = shared_data / "init" / "pydnet_matterport.tflite"
    with pytest.raises(ValueError, match=r"has several outputs: PSD/resize_images/ResizeBilinear"):
        open_teacher(path, RELATIVE)
    said = ExternalModel(kind="relative_depth", output="PSD/resize_images/ResizeBilinear")
    seen = pictures(96, 128)
    made = build_teacher(TeacherOptions(teacher=(str(path),), external=said, metric="litedepth"))
    assert made.kind == "metric" and made.facts["to_metric"]["name"] == "litedepth"
    depth, reference = made(seen).depth, open_teacher("litedepth")(seen).depth
    known = torch.isfinite(depth)
    assert known.any() and 0.3 < float(depth[known].median() / reference.median()) < 3
