"""Files of other programs as Runners: what is known of them, what is refused, and how they travel."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from support.external_onnx import model

from leadline.core.errors import BadArtefact
from leadline.predict.predictor import load_predictor
from leadline.runtime.external import is_external, kind_of, open_external
from leadline.runtime.onnx_file import second_files, weights_precision
from leadline.runtime.options import ExternalModel

pytest.importorskip("onnxruntime")

METRIC = ExternalModel(kind="metric", mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))


def frame(height: int = 48, width: int = 64, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(140, 256, (height, width, 3), dtype=np.uint8)


def test_a_runner_takes_rgb_and_normalises_itself(tmp_path: Path) -> None:
    run, found = open_external(model(tmp_path / "net.onnx", (1, 3, 40, 60)), METRIC)
    image = np.random.default_rng(0).random((2, 3, 40, 60), np.float32)
    out = run(image)
    assert out.shape == (2, 1, 40, 60) and out.dtype == np.float32
    assert np.allclose(out[:, 0], 1 + (image.mean(1) - 0.5) / 0.25, atol=1e-5)
    assert (found.name, found.runtime, found.precision, found.size) == ("net", "onnx", "fp32", (40, 60))
    assert (found.head.kind, found.head.unit, found.frame) == ("metric", "m", None)


def test_a_runner_refuses_what_does_not_fit(tmp_path: Path) -> None:
    run, _ = open_external(model(tmp_path / "net.onnx", (1, 3, 40, 60)), METRIC)
    with pytest.raises(ValueError, match=r"the input is float32 \[1, 3, 40, 61\]; float32 \['N', 3, 40, 60\]"):
        run(np.zeros((1, 3, 40, 61), np.float32))


def test_a_runner_travels_as_its_path_and_notices_another_file(tmp_path: Path) -> None:
    path = model(tmp_path / "net.onnx", (1, 3, 40, 60))
    run, _ = open_external(path, METRIC)
    image, sent = np.full((1, 3, 40, 60), 0.7, np.float32), pickle.dumps(run)
    assert np.array_equal(pickle.loads(sent)(image), run(image))
    model(path, (1, 3, 40, 60), outputs=2)
    with pytest.raises(ValueError, match="several outputs"):
        pickle.loads(sent)


@pytest.mark.parametrize("kind", ["metric", "relative_depth", "relative_disparity"])
def test_a_predictor_gives_its_kind_at_the_pictures_size(tmp_path: Path, kind: str) -> None:
    path = model(tmp_path / "net.onnx", (1, 3, "h", "w"))
    predictor = load_predictor(path, external=ExternalModel(kind=kind, size=(20, 30)))  # type: ignore[arg-type]
    depth = predictor(frame(37, 53))
    assert depth.kind == kind and depth.values.shape == (37, 53) and depth.valid is not None and depth.valid.all()
    assert (predictor.runtime, predictor.precision, predictor.frame) == ("onnx", "fp32", None)
    assert depth.unit == ("m" if kind == "metric" else kind)


def test_units_become_metres_and_impossible_depths_do_not_count(tmp_path: Path) -> None:
    path = model(tmp_path / "net.onnx", (1, 3, 40, 60))
    said = ExternalModel(kind="metric", unit_m=0.5, mean=(2.0, 2.0, 2.0))
    depth = load_predictor(path, external=said)(np.zeros((40, 60, 3), np.uint8))
    assert np.allclose(depth.values, -0.5) and depth.valid is not None and not depth.valid.any()  # (0 - 2 + 1) / 2
    said = ExternalModel(kind="relative_disparity", mean=(2.0, 2.0, 2.0))
    depth = load_predictor(path, external=said)(np.zeros((40, 60, 3), np.uint8))
    assert depth.valid is not None and depth.valid.all()  # a disparity may be below 0


def test_what_is_said_without_use_is_refused(tmp_path: Path) -> None:
    path = model(tmp_path / "net.onnx", (1, 3, 40, 60))
    for said, why in (
        (ExternalModel(kind="metric", depth_scale=1000), r"depth-scale is for folders"),
        (ExternalModel(kind="metric", size=(20, 30)), r"takes pictures of \(40, 60\)"),
        (ExternalModel(kind="relative_depth", unit_m=0.1), r"relative_depth has no unit"),
        (ExternalModel(), r"give its kind \(--external.kind\)"),
    ):
        with pytest.raises(ValueError, match=why):
            load_predictor(path, external=said)
    with pytest.raises(ValueError, match="takes uint8 pictures"):
        load_predictor(model(tmp_path / "u.onnx", (1, 40, 60, 3), "UINT8", 3), external=METRIC)
    with pytest.raises(ValueError, match="which onnx runs; leave --runtime openvino out"):
        load_predictor(path, runtime="openvino", external=METRIC)
    with pytest.raises(ValueError, match=r"fastdepth says itself what it is; --external"):
        load_predictor("fastdepth", external=METRIC)
    with pytest.raises(BadArtefact, match="there is no file"):
        load_predictor(tmp_path / "other.onnx", external=METRIC)


def test_the_precision_and_the_second_files_are_those_of_the_weights(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    for dtype, wanted in ((np.float16, "fp16"), (np.int8, "int8"), (np.float32, "fp32")):
        big = numpy_helper.from_array(np.ones((8, 8), dtype), "big")
        small = numpy_helper.from_array(np.ones(3, np.float32), "small")
        entry = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
        node = helper.make_node("Identity", ["x"], ["y"])
        graph = helper.make_graph([node], "g", [entry], [helper.make_tensor_value_info("y", 1, [1])], [big, small])
        path = tmp_path / f"{wanted}.onnx"
        beside = {"save_as_external_data": True, "location": "weights.bin", "size_threshold": 0}
        onnx.save(helper.make_model(graph), path, **(beside if wanted == "int8" else {}))
        assert weights_precision(path) == wanted
        assert second_files(path) == (["weights.bin"] if wanted == "int8" else [])


def test_only_onnx_and_tflite_files_of_others_are_external(tmp_path: Path) -> None:
    assert is_external(model(tmp_path / "net.onnx", (1, 3, 40, 60)))
    (tmp_path / "net.tflite").write_bytes(b"any")
    assert is_external(tmp_path / "net.tflite")
    (tmp_path / "net.tflite.json").write_text('{"format": "leadline-artefact-1"}')
    assert not is_external(tmp_path / "net.tflite") and not is_external("fastdepth") and not is_external("net.pt2")


def test_a_tflite_file_without_its_description_is_asked_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "net.tflite").write_bytes(b"any")
    with pytest.raises(ValueError, match=r"--external.kind.*if leadline exported it, put net\.tflite\.json beside it"):
        load_predictor(tmp_path / "net.tflite")


def test_pydnet_gives_depth_through_litert(shared_data: Path) -> None:
    """A TFLite file of other people, with three outputs."""
    pytest.importorskip("ai_edge_litert")
    path = shared_data / "init" / "pydnet_matterport.tflite"
    with pytest.raises(ValueError, match=r"several outputs: PSD/resize_images/ResizeBilinear"):
        load_predictor(path, external=ExternalModel(kind="relative_depth"))
    said = ExternalModel(kind="relative_depth", output="PSD/resize_images/ResizeBilinear")
    depth = load_predictor(path, external=said)(frame(96, 128))
    assert depth.kind == "relative_depth" and depth.values.shape == (96, 128)


def test_a_file_whose_weights_are_not_beside_it_says_which(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    path = tmp_path / "net.onnx"
    plain = onnx.load(model(path, (1, 3, 40, 60)))
    one = plain.graph.initializer[1]
    one.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(one), one.name))  # as bytes, which may go out
    onnx.save(plain, path, save_as_external_data=True, location="net.weights", size_threshold=0)
    assert np.isfinite(open_external(path, METRIC)[0](np.zeros((1, 3, 40, 60), np.float32))).all()
    (tmp_path / "net.weights").unlink()
    with pytest.raises(BadArtefact, match=r"net\.onnx lacks net\.weights, which holds weights of it"):
        open_external(path, METRIC)


@pytest.mark.parametrize("content", [b'{"format": "leadl', b"1" * 300, b"\xff\xfe"])
def test_a_damaged_manifest_beside_a_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "net.tflite").write_bytes(b"TFL3")
    (tmp_path / "net.tflite.json").write_bytes(content)
    with pytest.raises(BadArtefact, match=r"net\.tflite\.json beside .* is damaged or another program's"):
        kind_of(tmp_path / "net.tflite", ExternalModel())
    assert kind_of(tmp_path / "net.tflite", ExternalModel(kind="metric")) == "metric"
