"""MXNet's ImageNet weights arrive layer for layer; what their file lacks is estimated, and how well is a number here.

The other side of each comparison is written with torch's functions straight from the file's tensors and names.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from leadline.core.errors import BadCheckpoint
from leadline.core.spec import Encoder
from leadline.nn import widths
from leadline.nn.encoders.mobilenet_v1 import MobileNetV1
from leadline.nn.encoders.mobilenet_v2 import MobileNetV2
from leadline.nn.encoders.resnet import ResNetV2
from leadline.nn.pretrained.estimate import imitate_, match_
from leadline.nn.pretrained.tflite import give_from_file_

MEAN, STD = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


def photographs(folder: Path, every: int, side: int) -> Tensor:
    files = sorted((folder / "photos").glob("*.jpg"))[::every]
    images = [np.array(Image.open(f).convert("RGB").resize((side, side))) for f in files]
    return torch.stack([(torch.from_numpy(i).permute(2, 0, 1).float() / 255 - MEAN) / STD for i in images])


def norm(x: Tensor, t: dict[str, Tensor], name: str) -> Tensor:
    mean, variance = t[f"{name}_running_mean"], t[f"{name}_running_var"]
    return F.batch_norm(x, mean, variance, t[f"{name}_gamma"], t[f"{name}_beta"], eps=1e-5)


def bottleneck(x: Tensor, t: dict[str, Tensor], i: int, stride: int) -> Tensor:
    """Gluon's linear bottleneck i, after its first convolution, norm and ReLU6."""
    name = f"mobilenetv20_features_linearbottleneck{i}_"
    depthwise = t[f"{name}conv1_weight"]
    x = F.conv2d(x, depthwise, stride=stride, padding=1, groups=len(depthwise))
    x = F.relu6(norm(x, t, f"{name}batchnorm1"))
    return norm(F.conv2d(x, t[f"{name}conv2_weight"]), t, f"{name}batchnorm2")


def expansion(x: Tensor, t: dict[str, Tensor], i: int) -> Tensor:
    name = f"mobilenetv20_features_linearbottleneck{i}_"
    return F.relu6(norm(F.conv2d(x, t[f"{name}conv0_weight"]), t, f"{name}batchnorm0"))


def beginning(x: Tensor, t: dict[str, Tensor]) -> Tensor:
    """What our first convolution imitates: theirs, and the 1x1 of their first bottleneck."""
    x = F.conv2d(x, t["mobilenetv20_features_conv0_weight"], stride=2, padding=1)
    return expansion(F.relu6(norm(x, t, "mobilenetv20_features_batchnorm0")), t, 0)


def test_mobilenet_v2_is_the_files_function_block_by_block(shared_data: Path) -> None:
    path = shared_data / "init" / "mobilenetv2_imagenet.safetensors"
    t = {name: tensor.float() for name, tensor in load_file(path).items()}
    encoder = MobileNetV2(Encoder("mobilenet_v2", widths.MOBILENET_V2)).eval()
    give_from_file_(encoder, path, photographs(shared_data, 100, 96))
    image = photographs(shared_data, 200, 160)
    with torch.no_grad():
        theirs, ours = beginning(image, t), encoder.blocks[0](image)
        explained = 1 - (theirs - ours).square().mean() / theirs.var()
        assert explained > 0.95  # one layer for two
        strides = {1: 2, 3: 2, 6: 2, 13: 2}  # by bottleneck
        x = theirs
        for i in range(16):
            given = x
            x = bottleneck(x if i == 0 else expansion(x, t, i), t, i, strides.get(i, 1))
            if i not in (0, *strides) and x.shape == given.shape:
                x = x + given
            torch.testing.assert_close(encoder.blocks[i + 1](given), x, rtol=1e-4, atol=1e-4)
        features = encoder(image)[-1]  # the whole of it, from our first convolution on
        assert 1 - (x - features).square().mean() / x.var() > 0.8
    assert features.shape == (3, 160, 5, 5)


@pytest.mark.slow
def test_resnet50_v2_is_the_files_function_block_by_block(shared_data: Path) -> None:
    path = shared_data / "init" / "resnet50v2_imagenet_stages123.safetensors"
    t = {name: tensor.float() for name, tensor in load_file(path).items()}
    encoder = ResNetV2(Encoder("resnet50v2", widths.RESNET["resnet50v2"])).eval()
    fresh = {name: value.clone() for name, value in encoder.stages[3].state_dict().items()}
    give_from_file_(encoder, path, photographs(shared_data, 32, 96))
    image, agree = photographs(shared_data, 37, 96), []
    with torch.no_grad():
        x = F.conv2d(norm(image, t, "resnetv24_batchnorm0"), t["resnetv24_conv0_weight"], stride=2, padding=3)
        x = F.relu(norm(x, t, "resnetv24_batchnorm1"))
        torch.testing.assert_close(encoder.stem(image), x, rtol=1e-4, atol=1e-4)
        x = F.max_pool2d(x, 3, 2, 1)
        for stage in (1, 2, 3):
            norms = convs = 0
            for k, block in enumerate(encoder.stages[stage - 1]):  # type: ignore[arg-type]
                name, stride = f"resnetv24_stage{stage}_", 2 if k == 0 and stage > 1 else 1
                ready = F.relu(norm(x, t, f"{name}batchnorm{norms}"))
                y = F.conv2d(ready, t[f"{name}conv{convs}_weight"])
                y = F.relu(norm(y, t, f"{name}batchnorm{norms + 1}"))
                y = F.conv2d(y, t[f"{name}conv{convs + 1}_weight"], stride=stride, padding=1)
                last = norm(y, t, f"{name}batchnorm{norms + 2}") if k else block.norm3(y)  # the file lacks the first
                y = F.relu(last)
                y = F.conv2d(y, t[f"{name}conv{convs + 2}_weight"])
                rest = F.conv2d(ready, t[f"{name}conv{convs + 3}_weight"], stride=stride) if k == 0 else x
                torch.testing.assert_close(block(x), y + rest, rtol=1e-3, atol=1e-3)
                x, norms, convs = y + rest, norms + 3, convs + (3 if k else 4)
                if k and f"{name}batchnorm{norms}_gamma" in t:  # what no estimate has looked at
                    agree.append(np.corrcoef(x.mean((0, 2, 3)), t[f"{name}batchnorm{norms}_running_mean"])[0, 1])
    assert min(agree) > 0.9, agree  # 14 images stand for ImageNet; with fresh norms it is 0.62
    assert all(torch.equal(fresh[name], value) for name, value in encoder.stages[3].state_dict().items())


def test_a_layer_that_is_linear_is_imitated_exactly() -> None:
    stem = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1, bias=False), nn.BatchNorm2d(6), nn.ReLU6()).eval()
    with torch.no_grad():
        stem[0].weight.mul_(0.2)
        stem[1].bias.fill_(3)  # far from both bounds of ReLU6
    layers = nn.Sequential(nn.Conv2d(6, 6, 1, bias=False), nn.BatchNorm2d(6)).eval()
    images = torch.randn(3, 3, 21, 20)
    with torch.no_grad():
        wanted = F.relu6(layers(stem(images)))
        imitate_(stem, layers, images)
        torch.testing.assert_close(stem(images), wanted, rtol=1e-3, atol=1e-4)
        values = stem[0](images)
    torch.testing.assert_close(stem[1].running_mean, values.mean((0, 2, 3)), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(stem[1].running_var, values.var((0, 2, 3), correction=0), rtol=1e-3, atol=1e-3)


def test_a_lost_norm_is_found_again_by_the_statistics_behind_it() -> None:
    lost, conv, after = nn.BatchNorm2d(6), nn.Conv2d(6, 24, 1, bias=False), nn.BatchNorm2d(24)
    inputs, rest = torch.randn(4, 6, 8, 8) + 0.5, torch.randn(4, 24, 8, 8) * 0.1
    gain, shift = torch.tensor([0.5, 1.5, 1.0, 0.8, 1.2, 0.6]), torch.tensor([0.3, -0.2, 0.5, -0.4, 0.0, 0.2])
    with torch.no_grad():
        normal = (inputs - inputs.mean((0, 2, 3), True)) / inputs.std((0, 2, 3), keepdim=True)
        out = conv(torch.relu(normal * gain.view(-1, 1, 1) + shift.view(-1, 1, 1))) + rest
        after.running_mean, after.running_var = out.mean((0, 2, 3)), out.var((0, 2, 3))
    match_(lost, conv, inputs, rest, after, steps=200)
    with torch.no_grad():
        found = conv(torch.relu(lost.eval()(inputs))) + rest
    assert (out - found).square().mean() < 0.01 * out.var()


def small_file(path: Path, **changes: Tensor | None) -> Path:
    """A MobileNetV2 with Gluon's names and four channels everywhere; a change to None takes a tensor out."""
    t: dict[str, Tensor] = {}

    def layer(name: str, shape: tuple[int, ...], number: int) -> None:
        t[f"{name}conv{number}_weight"] = torch.randn(shape, dtype=torch.float16)
        for part in ("beta", "running_mean", "gamma", "running_var"):
            t[f"{name}batchnorm{number}_{part}"] = torch.rand(shape[0]) + 0.5

    layer("", (4, 3, 3, 3), 0)
    for i in range(17):
        hidden = 24 if i else 4
        layer(f"linearbottleneck{i}_", (hidden, 4, 1, 1), 0)
        layer(f"linearbottleneck{i}_", (hidden, 1, 3, 3), 1)
        layer(f"linearbottleneck{i}_", (4, hidden, 1, 1), 2)
    layer("", (8, 4, 1, 1), 1)
    t.update({name: value for name, value in changes.items() if value is not None})
    prefix = "mobilenetv20_features_"
    save_file({prefix + name: value for name, value in t.items() if changes.get(name, value) is not None}, path)
    return path


def small() -> MobileNetV2:
    return MobileNetV2(Encoder("mobilenet_v2", (4,) * 17))


def test_a_file_of_the_same_widths_is_taken_whole(tmp_path: Path) -> None:
    encoder, path = small(), small_file(tmp_path / "x.safetensors")
    give_from_file_(encoder, path, torch.randn(2, 3, 32, 32))
    theirs = load_file(path)["mobilenetv20_features_linearbottleneck15_conv2_weight"].float()
    assert torch.equal(encoder.blocks[16].layers[-2].weight, theirs)
    assert encoder.training  # as it was


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"linearbottleneck5_batchnorm1_gamma": None}, "'linearbottleneck5_batchnorm1_gamma' is missing"),
        ({"linearbottleneck0_conv0_weight": None}, "'linearbottleneck0_conv0_weight' is missing"),
        ({"conv0_weight": torch.zeros(4, 3, 5, 5)}, r"'conv0_weight' has shape \(4, 3, 5, 5\)"),
        ({"batchnorm0_beta": torch.full((4,), torch.nan)}, "'batchnorm0_beta' has values that are not finite"),
        ({"linearbottleneck5_conv7_weight": torch.zeros(1)}, "'linearbottleneck5_conv7_weight' has no place"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_by_the_tensors_name(
    tmp_path: Path, changes: dict[str, Tensor | None], message: str
) -> None:
    path = small_file(tmp_path / "x.safetensors", **changes)
    with pytest.raises(BadCheckpoint, match=message):
        give_from_file_(small(), path, torch.randn(1, 3, 32, 32))


def test_other_files_and_other_encoders_are_refused(tmp_path: Path) -> None:
    path, image = small_file(tmp_path / "x.safetensors"), torch.randn(1, 3, 32, 32)
    with pytest.raises(ValueError, match="mobilenet_v2 and resnet50v2, not for MobileNetV1"):
        give_from_file_(MobileNetV1(Encoder("mobilenet_v1", (8,) * 14)), path, image)
    save_file({"fc.weight": torch.zeros(2)}, tmp_path / "y.safetensors")
    with pytest.raises(BadCheckpoint, match=r"no tensor of MXNet's.*fc\.weight"):
        give_from_file_(small(), tmp_path / "y.safetensors", image)
    (tmp_path / "z.safetensors").write_bytes(path.read_bytes()[:100])
    with pytest.raises(BadCheckpoint, match="not a whole safetensors file"):
        give_from_file_(small(), tmp_path / "z.safetensors", image)
    with pytest.raises(ValueError, match=r"ends in '\.pth'"):
        give_from_file_(small(), tmp_path / "z.pth", image)
