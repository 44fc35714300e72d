"""FTWT: which filters an image needs, what a gated net computes and costs, and how its predictors learn."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from support import tiny_training
from support.tiny_training import TINY, loss
from torch import Tensor, nn

from leadline.compress.cost.count import layers, macs, shapes_of
from leadline.compress.dynamic.count import Shadow, expected_macs, gated_macs, ratio_for
from leadline.compress.dynamic.gate_loss import GateLoss, needed_filters
from leadline.compress.options import Gates
from leadline.compress.pruning.surgery import prune
from leadline.compress.pruning.trace import trace
from leadline.core.errors import BadCheckpoint, BudgetInfeasible
from leadline.core.spec import Encoder, Spec
from leadline.data.batch import Batch
from leadline.nn import zoo
from leadline.nn.build import Net, build
from leadline.nn.checkpoint import load, save
from leadline.nn.gates import gateable, gates_of, switched_on, with_gates, without_gates
from leadline.nn.skip import skip_
from leadline.training.fit import fit

ZOO = ["fastdepth", "litedepth", "vgg16_bn", "resnet56", "fast_scnn"]
SLOW = ["boosting_student", "fastdepth_decoder", "fastdepth_resnet", "mobilenet_v1_32", "mobilenet_v2_32",
        "skipnet_mobilenet", "enet"]  # fmt: skip
VGG = replace(zoo.spec("vgg16_bn"), encoder=Encoder("vgg16_bn", (8,) * 13))


def batches(n: int = 2) -> list[Batch]:
    stream = tiny_training.batches()(0)
    return [next(stream) for _ in range(n)]


def pictures(n: int = 4, seed: int = 0) -> list[Batch]:
    image = torch.rand(n, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
    return [Batch(image, torch.arange(n), torch.ones(n, dtype=torch.bool), tuple(map(str, range(n))))]


def small(name: str) -> Net:
    spec = zoo.spec(name)
    size = (32, 32) if spec.head.kind == "classes" else (64, 96)
    return build(replace(spec, preprocess=replace(spec.preprocess, size=size)), seed=0).eval()


def heated(*heat: float) -> Tensor:
    """Maps [1,O,2,2] whose largest |value| is that."""
    maps = torch.zeros(1, len(heat), 2, 2)
    maps[0, :, 1, 0] = -torch.tensor(heat)
    return maps


def test_the_posters_example_needs_four_filters() -> None:
    needed = needed_filters(heated(5.5, 7.9, 0.3, 8.6, 2.2, 3.1, 0.9), 0.95)
    assert needed.tolist() == [[True, True, False, True, False, True, False]]


def test_at_ratio_1_only_dead_filters_go_and_the_hottest_never_does() -> None:
    assert needed_filters(heated(1, 1e-7, 0, 2), 1.0).tolist() == [[True, False, False, True]]
    assert needed_filters(heated(1, 3, 2), 1e-9).tolist() == [[False, True, False]]
    assert needed_filters(heated(0, 0, 0), 0.9).tolist() == [[True, False, False]]


@pytest.mark.parametrize("ratio", [0, -1, 1.01, float("nan")])
def test_a_ratio_outside_0_to_1_is_refused(ratio: float) -> None:
    with pytest.raises(ValueError, match=r"ratio is .*above 0, at most 1"):
        needed_filters(heated(1, 2), ratio)
    with pytest.raises(ValueError, match=r"ratio is .*above 0, at most 1"):
        Gates(ratio=ratio)


def test_one_filter_of_each_image_stays_on() -> None:
    numbers = torch.tensor([[-1.0, -3, -2], [1, -1, 2], [-1, -1, -1]])[:, :, None, None]
    assert switched_on(numbers).flatten(1).tolist() == [[1, 0, 0], [1, 0, 1], [1, 1, 1]]


@pytest.mark.parametrize("name", [*ZOO, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_fresh_gates_change_nothing_and_the_shadow_counts_what_torch_counts(name: str, tmp_path: Path) -> None:
    net = small(name)
    gated, size = with_gates(net), net.spec.preprocess.size
    image = torch.rand(2, 3, *size)
    with torch.no_grad():
        assert torch.equal(gated(image), net(image))
        assert torch.equal(without_gates(gated)(image), net(image)) and without_gates(gated).spec == net.spec
    assert gated.spec.gates == gateable(net) and gateable(gated) == ()
    again = load(save(gated, tmp_path / "gated.safetensors"))
    assert again.spec == gated.spec and torch.equal(again(image), net(image))
    shapes = shapes_of(net)
    expected = sum(layer.positions * math.prod(shapes[layer.weight]) for layer in layers(net, size))
    assert Shadow(net).macs({}, (1, 3, *size)).tolist() == [expected]


@pytest.mark.parametrize("spec", [VGG, TINY], ids=["vgg", "fastdepth"])
def test_filters_that_are_always_off_cost_and_compute_what_the_net_without_them_does(spec: Spec) -> None:
    spec = replace(spec, preprocess=replace(spec.preprocess, size=(32, 32)))
    net = build(spec, seed=3).eval()
    channels = trace(net, torch.zeros(1, 3, 32, 32))
    drop = {name: [1, 4] for name in channels.free}
    gated = with_gates(net)
    off = {module for group in channels.free.values() for module in group.modules}
    for name, gate in gates_of(gated).items():
        assert name in off
        assert gate.predictor.conv.bias is not None
        with torch.no_grad():
            gate.predictor.conv.bias[[1, 4]] = -1.0
    narrow, batch = prune(net, channels, drop), pictures()
    with torch.no_grad():
        assert torch.allclose(gated(batch[0].image), narrow(batch[0].image), rtol=1e-4, atol=1e-5)
    predictors = sum(gate.predictor.conv.weight.numel() for gate in gates_of(gated).values())
    assert gated_macs(gated, batch) == macs(narrow, (32, 32)) + predictors


def test_channels_of_zeros_of_a_shortcut_are_not_read() -> None:
    net = build(replace(zoo.spec("resnet56"), encoder=Encoder("resnet20", (4, 4, 8, 8))), seed=0).eval()
    block = "encoder.stages.1.0.layers.3"  # the second convolution of the block that widens from 4 to 8
    off = {block: torch.zeros(1, 8, dtype=torch.bool)}
    whole, less = (float(Shadow(with_gates(net, [block])).macs(on, (1, 3, 32, 32))) for on in ({}, off))
    # its own 8 x 8 x 9 x 16 x 16, and of the next one's 8 inputs the four that the shortcut pads with zeros
    assert whole - less == 8 * 8 * 9 * 256 + 4 * 8 * 9 * 256


def test_expected_cost_rises_with_the_ratio_and_a_budget_finds_its_ratio() -> None:
    net = build(VGG, seed=0).eval()
    curve = expected_macs(net, pictures(), [0.2, 0.5, 0.8, 1.0])
    assert list(curve.values()) == sorted(curve.values()) and curve[0.2] < curve[1.0]
    middle = (curve[0.5] + curve[0.8]) / 2
    ratio, seen = ratio_for(net, pictures(), middle)
    assert 0.5 <= ratio < 0.8 and seen[ratio] <= middle
    with pytest.raises(BudgetInfeasible, match=r"cannot be reached by gates: with ratio 0\.05 .* are expected"):
        ratio_for(net, pictures(), 1000.0)
    with pytest.raises(ValueError, match="there were none; at least one"):
        gated_macs(with_gates(net), [])


def parts(mode: str, until: float = 1.0) -> tuple[Net, GateLoss]:
    net = with_gates(tiny_training.tiny()).train()
    return net, GateLoss(lambda n, b: (n(b.image).mean() * 0, {}), Gates(mode=mode, until=until), 0.7, 2)  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", ["decoupled", "joint"])
def test_decoupled_gates_teach_the_predictors_alone_and_joint_ones_the_net_too(mode: str) -> None:
    net, gates = parts(mode)
    with torch.no_grad():
        for gate in gates_of(net).values():
            nn.init.normal_(gate.predictor.conv.weight)
    value, logs = gates(net, batches(1)[0])
    value.backward()
    learned = {name for name, p in net.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert all("predictor" in name for name in learned) == (mode == "decoupled")
    assert any("predictor" in name for name in learned)
    assert 0 < logs["gates_right"] < 1 and 0 < logs["filters_on"] <= 1


def test_after_its_part_of_the_run_the_predictors_stay_as_they_are() -> None:
    net, gates = parts("decoupled", until=0.5)
    assert gates(net, batches(1)[0])[0].item() > 0  # step 1 of 2
    value, logs = gates(net, batches(1)[0])
    assert value.item() == 0 and set(logs) == {"gates_right", "filters_on"}


def test_predictors_learn_what_the_maps_say() -> None:
    net = with_gates(tiny_training.tiny())
    gates = GateLoss(loss, Gates(weight=10.0, until=1.0), 0.7, 60)
    before = gates(net.train(), batches(1)[0])[1]["gates_right"]
    how = tiny_training.options(steps=40, optimizer="sgd", lr=0.03, schedule="constant")
    taught, _ = fit(net, tiny_training.batches(), gates, how)
    after = gates(taught, batches(1)[0])[1]
    assert after["gates_right"] > before + 0.2
    assert gated_macs(taught, batches()) < gated_macs(net, batches())


def test_a_block_goes_with_its_gates(tmp_path: Path) -> None:
    net = with_gates(tiny_training.tiny())
    skip_(net, ["encoder.blocks.8"])
    assert not any(name.startswith("encoder.blocks.8.") for name in net.spec.gates)
    assert load(save(net, tmp_path / "less.safetensors")).spec == net.spec


def test_gates_that_are_not_there_and_nets_without_a_place_for_one_are_told(tmp_path: Path) -> None:
    net = tiny_training.tiny()
    with pytest.raises(ValueError, match=r"no convolution 'head\.conv' that could have a gate; it has: encoder"):
        with_gates(net, ["head.conv"])
    with pytest.raises(ValueError, match="no convolution left that could have a gate"):
        with_gates(with_gates(net))
    net.spec = replace(net.spec, gates=("decoder.nothing",))
    with pytest.raises(BadCheckpoint, match=r"no convolution 'decoder\.nothing'"):
        load(save(net, tmp_path / "odd.safetensors"))


def test_a_loss_with_gates_goes_on_after_a_stop(tmp_path: Path) -> None:
    how = tiny_training.options(steps=4, save_every=2, optimizer="sgd")
    make = partial(GateLoss, loss, Gates(), 0.8, 4)
    whole, _ = fit(with_gates(tiny_training.tiny()), tiny_training.batches(), make(), how, out=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fit(with_gates(tiny_training.tiny()), stopping(3), make(), how, out=tmp_path / "a")
    again, _ = fit(
        with_gates(tiny_training.tiny()), tiny_training.batches(), make(), how, out=tmp_path / "a", resume=True
    )
    assert tiny_training.same(whole, again)


def stopping(n: int) -> tiny_training.Batches:
    def stream(start: int):  # type: ignore[no-untyped-def]
        for i, batch in enumerate(tiny_training.batches()(start)):
            if start + i == n:
                raise KeyboardInterrupt
            yield batch

    return stream
