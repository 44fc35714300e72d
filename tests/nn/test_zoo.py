"""Laws that every net of the zoo keeps, and the published facts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from leadline import checkpoint
from leadline.compress import cost
from leadline.nn import zoo
from leadline.nn.build import Net, build
from leadline.spec import Spec, from_json, to_json

every_net = pytest.mark.parametrize("name", zoo.names())


def net_of(name: str) -> Net:
    net = build(zoo.spec(name), seed=0)
    net.head.start_at(2.0)
    return net


@every_net
@pytest.mark.parametrize("size", [(33, 47), (64, 64), (1, 1), (97, 32)])
def test_any_size_gives_a_finite_map_of_that_size(name: str, size: tuple[int, int]) -> None:
    with torch.no_grad():
        out = net_of(name).eval()(torch.rand(2, 3, *size))
    assert out.shape == (2, 1, *size)
    assert torch.isfinite(out).all() and (out >= 0).all()


@every_net
def test_every_parameter_has_a_gradient(name: str) -> None:
    net = net_of(name).train()
    net(torch.rand(2, 3, 64, 64)).mean().backward()
    without = [n for n, p in net.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    assert without == []
    first = next(p for p in net.encoder.parameters() if p.ndim == 4)
    assert first.grad is not None and first.grad.abs().sum() > 0  # it reaches the first layer


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
    net, image = net_of(name).eval(), torch.rand(1, 3, 64, 96)
    program = torch.export.export(net, (image,)).module()
    with torch.no_grad():
        torch.testing.assert_close(program(image), net(image), rtol=1e-5, atol=1e-5)


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
    ],
    ids=["fastdepth", "pruned", "dense", "concatenated"],
)
def test_parameters_and_macs_are_those_of_the_authors_code(spec: Spec, parameters: int, macs: int) -> None:
    net = build(spec, seed=0)
    assert cost.parameters(net) == parameters
    assert cost.macs(net, (224, 224)) == macs


def test_counting_leaves_the_mode_alone() -> None:
    net = net_of("fastdepth_pruned").train()
    cost.macs(net, (32, 32))
    assert net.training


def test_an_unknown_net_is_answered_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="fastdepth_pruned"):
        zoo.spec("fastdepth_prund")


def test_added_skips_of_unequal_width_are_refused() -> None:
    spec = zoo.fastdepth()
    odd = Spec("odd", spec.encoder, type(spec.decoder)("nnconv5", (512, 248, 128, 64, 32)))
    with pytest.raises(ValueError, match="decode2 has 248 channels, its skip 256"):
        build(odd)


def test_a_seed_gives_the_same_weights_and_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    a, b = build(zoo.fastdepth_pruned(), seed=3), build(zoo.fastdepth_pruned(), seed=3)
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


def test_fixed_head_statistics_keep_train_and_eval_alike() -> None:
    head = net_of("fastdepth_pruned").train().head
    features = torch.rand(2, 16, 8, 8)
    assert torch.equal(head(features), head.eval()(features))
