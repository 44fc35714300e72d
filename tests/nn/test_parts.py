"""Encoders and decoders that no net of the zoo has by default keep the zoo's laws too; small widths."""

from __future__ import annotations

import sys
import types
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leadline.core.errors import MissingPackage
from leadline.core.spec import Decoder, Encoder, Head, Spec
from leadline.nn import checkpoint, zoo
from leadline.nn.build import Net, build
from leadline.nn.decoders.ladder import Transposed, cropped, unpooled
from leadline.nn.encoders.resnet import DEPTHS
from leadline.nn.fold import fold
from leadline.nn.resize import resize_
from leadline.nn.widths import VGG_STAGES

MOBILE = Encoder("mobilenet_v1", (8,) * 13 + (16,))
LADDERS = [
    *(Decoder(name, (8, 8, 8, 4, 4), "none", False, 5) for name in ("nnconv5", "blconv", "deconv", "upconv", "upproj")),
    *(Decoder(name, (8,) * 5, "add", True, 3) for name in ("blconv", "deconv", "upconv")),
    Decoder("deconv", (8, 8, 8, 4, 4), "cat", True, 9),
    Decoder("upproj", (12, 8, 8, 8, 4, 4), "cat", False, 7),
    Decoder("shuffle", (256, 64, 16, 4, 1), "none", True, 3),
    Decoder("shuffle", (1024, 256, 64, 16, 4, 1), "none", False, 5),
]


def _vgg(name: str) -> Encoder:
    stages = VGG_STAGES[name]
    return Encoder(name, tuple(w for w, n in zip((4, 6, 8, 8, 8), stages, strict=True) for _ in range(n)))


def _plain(name: str, widths: tuple[int, ...]) -> Decoder:
    return Decoder(name, widths, "none", False, 3)


STREETS = [
    (_vgg("vgg16_bn"), _plain("segnet", (8, 8, 8, 8, 8, 8, 8, 6, 6, 4, 4, 4))),
    (_vgg("vgg16_bn"), _plain("fcn", (16, 16, 5))),
    (_vgg("vgg19_bn"), _plain("unet", (8, 8, 8, 6, 4))),
    (_vgg("vgg16_dilated"), _plain("front_end", (16, 16))),
    (_vgg("unet"), _plain("unet", (8, 8, 6, 4))),
    (MOBILE, _plain("fcn", (5,))),
    (Encoder("mobilenet_v1_32", MOBILE.widths), _plain("fcn", (5,))),
    (Encoder("mobilenet_v2_32", (4,) * 18 + (8,)), _plain("unet", ())),
    (Encoder("resnet20", (4, 4, 8, 9)), _plain("unet", (8, 4))),
    (Encoder("enet", (8, 12, 16)), _plain("enet", (12, 8))),
    (Encoder("fast_scnn", (4, 4, 8, 8, 12, 16, 16)), _plain("fast_scnn", (8, 8, 8))),
]


def ladder_spec(decoder: Decoder) -> Spec:
    encoder = replace(MOBILE, widths=(*MOBILE.widths[:-1], 1024)) if decoder.widths[0] == 256 else MOBILE
    return Spec("x", encoder, decoder, Head(batch_statistics=False))


SPECS = {
    **{f"{d.name}-{d.skip}-{d.kernel}{'dw' * d.depthwise}-{len(d.widths)}": ladder_spec(d) for d in LADDERS},
    **{
        name: replace(zoo.boosting_student(), encoder=Encoder(name, (8, 8, 16, 16, 32)))
        for name in (*DEPTHS, "resnet50v2")
    },
    **{f"{e.name}-{d.name}": Spec("x", e, d, Head(layer="conv", relu=False, resize="corners")) for e, d in STREETS},
}


def made(name: str) -> Net:
    net = build(SPECS[name], seed=1)
    net.head.start_at(1.0)
    for norm in net.modules():  # as after training
        if isinstance(norm, nn.BatchNorm2d):
            assert norm.running_mean is not None and norm.running_var is not None
            norm.running_mean.normal_(0, 0.1)
            norm.running_var.uniform_(0.5, 2)
    return net.eval()


every_spec = pytest.mark.parametrize("name", SPECS)


@every_spec
def test_any_size_gives_a_finite_map_of_that_size(name: str) -> None:
    net = made(name)
    with torch.no_grad():
        for size in ((33, 47), (1, 1), (64, 31)):
            out = net(torch.rand(1, 3, *size))
            assert out.shape == (1, 1, *size) and torch.isfinite(out).all()


@every_spec
def test_every_parameter_has_a_gradient(name: str) -> None:
    net = made(name).train()
    net(torch.rand(2, 3, 45, 64)).square().mean().backward()
    assert [n for n, p in net.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()] == []


@every_spec
def test_a_folded_net_equals_the_net(name: str) -> None:
    net, image = made(name), torch.rand(2, 3, 37, 64)
    with torch.no_grad():
        torch.testing.assert_close(fold(net)(image), net(image), rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@every_spec
def test_an_exported_net_equals_the_net(name: str) -> None:
    net, image = made(name), torch.rand(2, 3, 37, 64)
    with torch.no_grad():
        torch.testing.assert_close(torch.export.export(net, (image,)).module()(image), net(image), rtol=1e-4, atol=1e-5)


@every_spec
def test_a_file_gives_the_same_net(name: str, tmp_path: Path) -> None:
    net, image = made(name), torch.rand(1, 3, 40, 33)
    again = checkpoint.load(checkpoint.save(net, tmp_path / "x.safetensors"))
    with torch.no_grad():
        assert torch.equal(again(image), net(image))


@pytest.mark.parametrize("depthwise", [True, False])
def test_a_narrower_transposed_convolution_is_rebuilt_from_its_shapes(depthwise: bool) -> None:
    widths = Decoder("deconv", (8,) * 5, "none", depthwise), Decoder("deconv", (6, 5, 4, 3, 2), "none", depthwise)
    wide, thin = (build(ladder_spec(decoder), seed=0).eval() for decoder in widths)
    kept = {name: tuple(t.shape) for name, t in thin.state_dict().items() if not name.endswith("tracked")}
    resize_(wide, kept)
    wide.load_state_dict(thin.state_dict())
    image = torch.rand(1, 3, 33, 64)
    with torch.no_grad():
        assert torch.equal(wide(image), thin(image))
    layers = [m for m in wide.modules() if isinstance(m, nn.ConvTranspose2d)]
    given = [(m.in_channels, m.out_channels, m.groups) for m in layers]
    inputs = (16, 6, 5, 4, 3)
    assert given == [(i, i, i) if depthwise else (i, o, 1) for i, o in zip(inputs, (6, 5, 4, 3, 2), strict=True)]


def test_unpooling_puts_zeros_to_the_right_and_below() -> None:
    x = torch.arange(1.0, 7.0).view(1, 1, 2, 3)
    assert unpooled(x, (4, 5)).tolist() == [[[[1, 0, 2, 0, 3], [0] * 5, [4, 0, 5, 0, 6], [0] * 5]]]
    twin = F.conv_transpose2d(x, torch.tensor([[[[1.0, 0], [0, 0]]]]), stride=2)
    assert torch.equal(unpooled(x, (4, 6)), twin)


def test_a_map_that_is_too_small_is_enlarged() -> None:
    x = torch.arange(4.0).view(1, 1, 2, 2)
    assert cropped(x, (1, 2)).tolist() == [[[[0, 1]]]]
    assert cropped(x, (3, 2)).tolist() == [[[[0, 1], [0, 1], [2, 3]]]]


@pytest.mark.parametrize(("kernel", "groups"), [(3, 1), (5, 4), (9, 1)])
def test_a_step_of_deconv_is_torchs_with_padding(kernel: int, groups: int) -> None:
    ours = Transposed(4, 4, kernel, groups)
    twin = nn.ConvTranspose2d(4, 4, kernel, 2, kernel // 2, output_padding=1, groups=groups, bias=False)
    twin.load_state_dict(ours.state_dict())
    x = torch.rand(1, 4, 3, 5)
    torch.testing.assert_close(ours(x), twin(x))


def test_an_upconv_is_a_transposed_convolution_with_its_kernel_turned() -> None:
    kernel, x = torch.randn(2, 3, 5, 5), torch.rand(1, 3, 4, 6)
    theirs = F.conv_transpose2d(x, kernel.transpose(0, 1).flip(-1, -2), stride=2, padding=2, output_padding=1)
    torch.testing.assert_close(F.conv2d(unpooled(x, (8, 12)), kernel, padding=2), theirs)


def test_what_cannot_be_built_is_refused() -> None:
    with pytest.raises(ValueError, match="upproj has no depthwise form"):
        build(ladder_spec(Decoder("upproj", (8,) * 5, "none", True)))
    with pytest.raises(ValueError, match=r"each with a quarter.*given 16 channels"):
        build(ladder_spec(Decoder("shuffle", (4, 1, 1, 1, 1), "none")))
    with pytest.raises(ValueError, match="multiscale takes 3 widths"):
        build(ladder_spec(Decoder("multiscale", (8, 8), "cat")))
    with pytest.raises(ValueError, match="resnet18 has a stem and 4 stages, 4 widths"):
        build(replace(zoo.boosting_teacher(), encoder=Encoder("resnet18", (8,) * 4)))
    with pytest.raises(ValueError, match="mobilenet_v2 has 17 blocks, 3 widths"):
        build(replace(zoo.boosting_student(), encoder=Encoder("mobilenet_v2", (8,) * 3)))


class FeatureInfo:
    """What timm tells of a net's maps."""

    def channels(self) -> list[int]:
        return [4, 6, 8, 10, 12]

    def reduction(self) -> list[int]:
        return [2, 4, 8, 16, 32]


class NormAct(nn.BatchNorm2d):
    """A batch norm that holds the activation too, as timm's BatchNormAct2d does."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(super().forward(x))


class StandIn(nn.Module):
    """A net as `timm.create_model(..., features_only=True)` makes them; has a layer that only its own start sets."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, *FeatureInfo().channels())
        self.stages = nn.ModuleList(nn.Sequential(nn.Conv2d(a, b, 3, 2), NormAct(b)) for a, b in pairwise(widths))
        self.scale = nn.Linear(12, 12)
        self.feature_info = FeatureInfo()

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = []
        for stage in self.stages:
            x = stage(F.pad(x, (1, 1, 1, 1)))
            maps.append(x)
        maps[-1] = self.scale(maps[-1].permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return maps


@pytest.fixture
def timm(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """A module named timm; the calls that made nets."""
    calls: list[dict[str, Any]] = []

    def create_model(name: str, **options: Any) -> StandIn:
        calls.append({"name": name, **options})
        return StandIn()

    module = types.ModuleType("timm")
    module.__dict__.update(__version__="1.0", create_model=create_model, list_models=lambda: ["tiny_net", "tiny_vit"])
    monkeypatch.setitem(sys.modules, "timm", module)
    return calls


TIMM = Spec("x", Encoder("timm:tiny_net", ()), Decoder("multiscale", (4, 8, 8), "cat", False), Head(layer="conv"))


def test_a_net_of_timm_is_an_encoder(timm: list[dict[str, Any]], tmp_path: Path) -> None:
    net, image = build(TIMM, seed=3).eval(), torch.rand(1, 3, 61, 45)
    assert timm == [{"name": "tiny_net", "pretrained": False, "features_only": True}]
    assert (net.encoder.channels, net.encoder.strides) == ((4, 6, 8, 10, 12), (2, 4, 8, 16, 32))
    with torch.no_grad():
        assert net(image).shape == (1, 1, 61, 45)
        again = checkpoint.load(checkpoint.save(net, tmp_path / "x.safetensors"))
        assert torch.equal(net(image), again(image))
    twin = build(TIMM, seed=3)
    assert all(torch.equal(p, q) for p, q in zip(net.parameters(), twin.parameters(), strict=True))


@pytest.mark.usefixtures("timm")
def test_a_norm_that_holds_the_activation_keeps_it_when_the_rest_is_folded() -> None:
    net, image = build(TIMM, seed=3).eval(), torch.rand(1, 3, 61, 45)
    folded = fold(net)
    left = [type(m) for m in folded.modules() if isinstance(m, nn.BatchNorm2d)]
    assert left == [NormAct] * 5
    with torch.no_grad():
        torch.testing.assert_close(folded(image), net(image), rtol=1e-3, atol=1e-4)


def test_timms_names_and_widths_are_checked(timm: list[dict[str, Any]]) -> None:
    with pytest.raises(ValueError, match=r"'tiny_ned' is unknown to timm 1\.0; nearest: tiny_net"):
        build(replace(TIMM, encoder=Encoder("timm:tiny_ned", ())))
    with pytest.raises(ValueError, match=r"maps of \(4, 6, 8, 10, 12\) channels, widths \(4, 6\) were given"):
        build(replace(TIMM, encoder=Encoder("timm:tiny_net", (4, 6))))


def test_without_timm_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingPackage, match=r"encoder 'timm:tiny_net'.*leadline\[timm\]"):
        build(TIMM)
