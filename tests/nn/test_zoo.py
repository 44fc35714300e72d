"""Laws that every net of the zoo keeps, and the published facts."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import torch

from leadline.compress.cost import count as cost
from leadline.core.spec import Decoder, Spec, from_json, to_json
from leadline.nn import checkpoint, zoo
from leadline.nn.build import Net, build
from leadline.nn.fold import fold

every_net = pytest.mark.parametrize("name", zoo.names())


@cache
def net_of(name: str) -> Net:
    """Built once; no test changes its weights."""
    net = build(zoo.spec(name), seed=0)
    net.head.start_at(2.0)
    return net


@pytest.fixture(scope="module", autouse=True)
def forget_the_nets() -> Iterator[None]:
    yield
    net_of.cache_clear()


def without_values(spec: Spec) -> Net:
    """Enough to count."""
    with torch.device("meta"):
        return Net(spec)


@every_net
@pytest.mark.parametrize("size", [(33, 47), (64, 64), (1, 1), (97, 32)])
def test_any_size_gives_a_finite_map_of_that_size(name: str, size: tuple[int, int]) -> None:
    net = net_of(name).eval()
    with torch.no_grad():
        out = net(torch.rand(2, 3, *size))
    assert out.shape == (2, 1, *size)
    assert torch.isfinite(out).all()


@every_net
def test_every_parameter_has_a_gradient(name: str) -> None:
    net = net_of(name).train()
    statistics = {key: value.clone() for key, value in net.named_buffers()}
    try:
        # a net of several maps answers for all of them
        sum(out.square().mean() for out in net(torch.rand(2, 3, 64, 64), raw=True)).backward()
        without = [n for n, p in net.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
        assert without == []
        first = next(p for p in net.encoder.parameters() if p.ndim == 4)
        assert first.grad is not None and first.grad.abs().sum() > 0  # it reaches the first layer
    finally:
        net.zero_grad(set_to_none=True)
        for key, value in net.named_buffers():
            value.copy_(statistics[key])


@every_net
def test_a_saved_net_loads_bitwise_equal(name: str, tmp_path: Path) -> None:
    net = net_of(name).eval()
    again = checkpoint.load(checkpoint.save(net, tmp_path / "net.safetensors"))
    image = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        assert torch.equal(net(image), again(image))
    assert again.spec == net.spec


@every_net
def test_the_exported_program_equals_eager(name: str) -> None:
    net, image = net_of(name).eval(), torch.rand(1, 3, 45, 64)
    program = torch.export.export(net, (image,)).module()
    with torch.no_grad():
        torch.testing.assert_close(program(image), net(image), rtol=1e-5, atol=1e-5)


@every_net
def test_a_folded_net_equals_the_net(name: str) -> None:
    net, image = net_of(name).eval(), torch.rand(1, 3, 33, 64)
    with torch.no_grad():
        torch.testing.assert_close(fold(net)(image), net(image), rtol=1e-3, atol=1e-4)


@every_net
def test_an_image_alone_equals_the_image_in_a_batch(name: str) -> None:
    net, images = net_of(name).eval(), torch.rand(3, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(net(images)[1:2], net(images[1:2]), rtol=1e-4, atol=1e-4)


@every_net
def test_the_spec_survives_json(name: str) -> None:
    assert from_json(Spec, to_json(zoo.spec(name))) == zoo.spec(name)


@pytest.mark.parametrize(
    ("spec", "parameters", "macs"),
    [
        (zoo.fastdepth(), 3960930, 736658944),
        (zoo.fastdepth_pruned(), 1360786, 366393384),
        (zoo.fastdepth(depthwise=False, skip="none"), 20668194, 3780585984),
        (zoo.fastdepth(skip="cat"), 4016034, 848852480),
        (zoo.boosting_student(), 1673905, 4019673872),
        (zoo.boosting_teacher(), 21918977, 9129437696),
    ],
    ids=["fastdepth", "pruned", "dense", "concatenated", "student", "teacher"],
)
def test_parameters_and_macs_are_those_of_the_authors_code(spec: Spec, parameters: int, macs: int) -> None:
    net = without_values(spec)
    assert cost.parameters(net) == parameters
    assert cost.macs(net, spec.preprocess.size) == macs


def weights_m(*parts: torch.nn.Module | None) -> float:
    """Millions of convolution weights, the papers' count."""
    return sum(p.numel() for part in parts if part is not None for p in part.parameters() if p.ndim == 4) / 1e6


@pytest.mark.parametrize(("depth", "weights", "gmacs"), [(18, 11.7, 1.84), (50, 25.6, 4.19)])
def test_fastdepths_resnets_cost_what_table_iii_says(depth: int, weights: float, gmacs: float) -> None:
    net = without_values(zoo.fastdepth_resnet(depth))  # type: ignore[arg-type]
    thin = without_values(zoo.fastdepth_decoder("nnconv5dw"))
    assert weights_m(net.encoder, net.decoder.project) == pytest.approx(weights, abs=0.05)
    size = (224, 224)
    decoder = cost.macs(thin, size) - cost.macs(thin.encoder, size)
    assert (cost.macs(net, size) - decoder) / 1e9 == pytest.approx(gmacs, abs=0.005)


@pytest.mark.parametrize(
    ("decoder", "weights", "gmacs", "zeros"),
    [("upproj", 38.1, 28.0, 1), ("upconv", 17.5, 12.9, 1), ("deconv5", 17.5, 12.9, 4), ("nnconv5", 17.5, 3.21, 1)],
)
def test_fastdepths_decoders_cost_what_table_iv_says(decoder: str, weights: float, gmacs: float, zeros: int) -> None:
    """The table counts a transposed convolution as one over its output, three quarters of whose inputs are zeros."""
    net, size = without_values(zoo.fastdepth_decoder(decoder)), (224, 224)
    assert weights_m(net.decoder, net.head) == pytest.approx(weights, abs=0.05)
    counted = zeros * (cost.macs(net, size) - cost.macs(net.encoder, size)) / 1e9
    assert counted == pytest.approx(gmacs, abs=0.06 if gmacs > 10 else 0.005)  # ours of upconv is 12.847


def test_the_boosting_student_is_an_encoder_of_a_given_size_and_a_decoder() -> None:
    net = net_of("boosting_student")
    assert cost.parameters(net.encoder) == 1337792
    assert cost.parameters(net.decoder) + cost.parameters(net.head) == 336113
    with torch.no_grad():
        maps = net.eval().encoder(torch.zeros(1, 3, 228, 304))
    assert [tuple(m.shape[1:]) for m in maps[1:]] == [(24, 57, 76), (32, 29, 38), (96, 15, 19), (160, 8, 10)]
    assert net(torch.zeros(1, 3, 228, 304), raw=True)[0].shape == (1, 1, 114, 152)


def test_counting_leaves_the_mode_alone() -> None:
    net = build(zoo.fastdepth_pruned(), seed=0).train()
    cost.macs(net, (32, 32))
    assert net.training


def test_an_unknown_net_is_answered_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="fastdepth_pruned"):
        zoo.spec("fastdepth_prund")


def test_an_unknown_decoder_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'deconv4' is unknown; known: deconvK"):
        zoo.fastdepth_decoder("deconv4")


def test_added_skips_of_unequal_width_are_refused() -> None:
    spec = zoo.fastdepth()
    odd = Spec("odd", spec.encoder, Decoder("nnconv5", (512, 248, 128, 64, 32)))
    with pytest.raises(ValueError, match="decode2 has 248 channels, its skip 256"):
        build(odd)


def test_a_seed_gives_the_same_weights_and_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    a, b = build(zoo.fastdepth_pruned(), seed=3), build(zoo.fastdepth_pruned(), seed=3)
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


def test_fixed_head_statistics_keep_train_and_eval_alike() -> None:
    head = build(zoo.fastdepth_pruned(), seed=0).train().head
    features = torch.rand(2, 16, 8, 8)
    assert torch.equal(head(features), head.eval()(features))
