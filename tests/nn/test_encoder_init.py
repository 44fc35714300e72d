"""The ImageNet encoder arrives whole, and batch norm is re-created around it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from leadline.core.errors import BadCheckpoint
from leadline.core.spec import Encoder
from leadline.nn import zoo
from leadline.nn.build import build
from leadline.nn.encoders.mobilenet_v1 import MobileNetV1
from leadline.nn.pretrained.tflite import Folded, give_, read_tflite, recreate_batch_norm_

pytest.importorskip("ai_edge_litert")


@pytest.fixture
def classifier(shared_data: Path) -> Path:
    return shared_data / "init" / "mobilenet_v1_1.0_224_quant_embedding_extractor.tflite"


@pytest.fixture
def photographs(shared_data: Path) -> np.ndarray:
    files = sorted((shared_data / "photos").glob("*.jpg"))[::60]
    return np.stack([np.asarray(Image.open(f).convert("RGB").resize((224, 224))) for f in files])


def as_input(images: np.ndarray) -> torch.Tensor:
    return (torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5


def test_the_features_are_those_of_the_tflite_interpreter(classifier: Path, photographs: np.ndarray) -> None:
    """Kernels and image turned by 180 degrees: there our padding is TensorFlow's. What remains is 8-bit rounding."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(classifier))
    interpreter.allocate_tensors()
    output = interpreter.get_output_details()[0]
    turned = build(zoo.fastdepth(), seed=0).encoder.eval()
    give_(turned, [Folded(layer.weight[:, :, ::-1, ::-1], layer.bias) for layer in read_tflite(classifier)])
    for image in photographs[:3]:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image[None])
        interpreter.invoke()
        theirs = interpreter.get_tensor(output["index"])[0, 0, 0].astype(np.float64) * output["quantization"][0]
        with torch.no_grad():
            ours = turned(as_input(image[None]).flip(-1, -2))[-1].mean((2, 3))[0].numpy()
        assert np.corrcoef(theirs, ours)[0, 1] > 0.99
        assert np.abs(theirs - ours).mean() < 0.08 * theirs.mean()


def test_recreated_batch_norm_keeps_the_function_on_photographs(classifier: Path, photographs: np.ndarray) -> None:
    encoder, images = build(zoo.fastdepth(), seed=0).encoder.eval(), as_input(photographs)
    give_(encoder, read_tflite(classifier))
    with torch.no_grad():
        before = encoder(images)
        recreate_batch_norm_(encoder, images)
        after, trained = encoder(images), encoder.train()(images)
    for a, b, c in zip(before, after, trained, strict=True):
        assert (a - b).abs().max() < 1e-4 * a.abs().max()
        assert (a - c).abs().mean() < 1e-2 * a.abs().mean()  # train mode: the same batch was measured


def test_recreated_batch_norm_keeps_any_function() -> None:
    torch.manual_seed(0)
    encoder = MobileNetV1(Encoder("mobilenet_v1", (8,) * 14)).eval()
    for norm in encoder.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(norm.bias)
            norm.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    encoder.blocks[3][0].weight.data[2] = 0  # a dead channel has no variance to divide by
    image = torch.randn(4, 3, 64, 64)
    with torch.no_grad():
        before = encoder(image)
        recreate_batch_norm_(encoder, image)
        for a, b in zip(before, encoder(image), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


def test_an_encoder_of_another_shape_is_refused(classifier: Path) -> None:
    layers = read_tflite(classifier)
    with pytest.raises(ValueError, match="27 convolutions, the encoder 1"):
        give_(MobileNetV1(zoo.fastdepth().encoder).blocks[0], layers)
    with pytest.raises(ValueError, match="kernel"):
        give_(MobileNetV1(Encoder("mobilenet_v1", (16,) * 14)), layers)


@pytest.mark.parametrize(
    ("layers", "where"),
    [
        ([nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1)], "0"),
        ([nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1)], "2"),
        ([nn.BatchNorm2d(3), nn.Conv2d(3, 4, 1)], "0"),
        ([nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, affine=False)], "0"),
    ],
)
def test_an_encoder_without_a_norm_after_each_convolution_is_refused(layers: list[nn.Module], where: str) -> None:
    encoder = nn.Sequential(*layers)
    for refused in (lambda: give_(encoder, []), lambda: recreate_batch_norm_(encoder, torch.rand(1, 3, 4, 4))):
        with pytest.raises(ValueError, match=rf"followed by a batch norm .* at its layer {where}: start it"):
            refused()


def test_a_file_that_is_no_tflite_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.tflite").write_bytes(b"something else entirely")
    with pytest.raises(BadCheckpoint, match=r"not a \.tflite file"):
        read_tflite(tmp_path / "x.tflite")
