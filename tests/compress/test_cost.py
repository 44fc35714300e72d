"""A cost from shapes is that of the net which has them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from leadline.compress.cost import count as cost
from leadline.compress.cost.count import Layer
from leadline.core.spec import Decoder, Encoder, Preprocess, Spec
from leadline.nn import checkpoint, zoo
from leadline.nn.build import Net, build
from leadline.nn.resize import resize_

every_net = pytest.mark.parametrize("name", zoo.names())


def without_values(spec: Spec) -> Net:
    with torch.device("meta"):
        return Net(spec)


def small(widths: tuple[int, ...] = (8,) * 14, decoder: tuple[int, ...] = (8,) * 5) -> Spec:
    encoder = Encoder("mobilenet_v1", widths)
    return Spec("small", encoder, Decoder("nnconv5", decoder, "none"), preprocess=Preprocess((64, 64)))


@every_net
def test_costs_of_the_zoo_are_what_torch_counts(name: str) -> None:
    spec = zoo.spec(name)
    net = without_values(spec)
    size, shapes = spec.preprocess.size, cost.shapes_of(net)
    assert cost.parameter_cost(net)(shapes) == cost.parameters(net)
    assert cost.macs_cost(net, size)(shapes) == cost.macs(net, size)
    n_multiplied = sum(layer.positions * net.get_parameter(layer.weight).numel() for layer in cost.layers(net, size))
    assert n_multiplied == cost.macs(net, size)


@pytest.mark.parametrize(
    ("parent", "child"), [("fastdepth", "fastdepth_pruned"), ("monodepth_vgg", "monodepth_pruned")]
)
def test_the_cost_of_widths_is_that_of_the_net_resized_to_them(parent: str, child: str, tmp_path: Path) -> None:
    net, smaller = without_values(zoo.spec(parent)), without_values(zoo.spec(child))
    size, shapes = net.spec.preprocess.size, cost.shapes_of(smaller)
    of_parameters, of_macs, of_bytes = cost.parameter_cost(net), cost.macs_cost(net, size), cost.byte_cost(net)
    resize_(net, shapes)
    assert cost.shapes_of(net) == shapes
    assert of_parameters(shapes) == cost.parameters(net) == cost.parameters(smaller)
    assert of_macs(shapes) == cost.macs(net, size) == cost.macs(smaller, size)
    for tensor in net.to_empty(device="cpu").state_dict().values():
        tensor.zero_()
    assert of_bytes(shapes) == checkpoint.save(net, tmp_path / "net", dtype=torch.float16).stat().st_size


@settings(max_examples=20)
@given(st.lists(st.integers(1, 40), min_size=14, max_size=14), st.lists(st.integers(1, 40), min_size=5, max_size=5))
def test_bytes_are_those_of_the_file(
    tmp_path_factory: pytest.TempPathFactory, encoder: list[int], decoder: list[int]
) -> None:
    net, parent = build(small(tuple(encoder), tuple(decoder)), seed=0), build(small(), seed=0)
    found = cost.byte_cost(parent)(cost.shapes_of(net))
    net.spec = parent.spec
    path = checkpoint.save(net, tmp_path_factory.mktemp("saved") / "net", dtype=torch.float16)
    assert found == path.stat().st_size


def test_enlarging_without_a_whole_ratio_counts_too() -> None:
    net, size = without_values(small()), (97, 32)  # 97 is 49, 25, 13, 7 and 4 on the way down
    shapes = cost.shapes_of(net)
    n_weighted = sum(layer.positions * net.get_parameter(layer.weight).numel() for layer in cost.layers(net, size))
    assert cost.macs_cost(net, size)(shapes) == cost.macs(net, size) > n_weighted


class Odd(nn.Module):
    """Every kind of layer, one of them twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, 2, 1)
        self.twice = nn.Conv2d(8, 8, 3, 1, 2, dilation=2, groups=2)
        self.depthwise = nn.Conv2d(8, 8, 5, padding="same", groups=8)
        self.up = nn.ConvTranspose2d(8, 6, 3, 2, groups=2)
        self.last = nn.Linear(6, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.up(self.depthwise(self.twice(self.twice(self.first(x)))))
        out: torch.Tensor = self.last(x.mean((2, 3)))
        return out


def test_layers_are_those_that_run_in_their_order() -> None:
    net = Odd()
    found = cost.layers(net, (16, 20))
    one, two = (1, 1), (2, 2)
    dilated = Layer("twice.weight", "conv", (3, 3), one, two, two, 2, (8, 10), 80)
    assert found == [
        Layer("first.weight", "conv", (3, 3), two, one, one, 1, (16, 20), 80),
        dilated,
        dilated,
        Layer("depthwise.weight", "conv", (5, 5), one, "same", one, 8, (8, 10), 80),
        Layer("up.weight", "transposed", (3, 3), two, (0, 0), one, 2, (8, 10), 80),
        Layer("last.weight", "linear", one, one, (0, 0), one, 1, (1, 1), 1),
    ]
    assert cost.macs_cost(net, (16, 20))(cost.shapes_of(net)) == cost.macs(net, (16, 20))


def test_counting_leaves_the_net_as_it_is() -> None:
    net = build(small(), seed=0).train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    cost.layers(net, (64, 64)), cost.macs_cost(net, (64, 64)), cost.byte_cost(net)
    assert net.training and not any(module._forward_hooks for module in net.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def test_statistics_are_stored_but_not_trained() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4))
    shapes = cost.shapes_of(net)
    assert set(shapes) == {"0.weight", "1.weight", "1.bias", "1.running_mean", "1.running_var"}
    assert cost.parameter_cost(net)(shapes) == 12 + 8
