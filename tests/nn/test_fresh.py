"""Fresh weights in the shapes of a net that is there, as a comparison with what pruning kept."""

from __future__ import annotations

import copy

import pytest
import torch
from support.tiny_pruning_nets import SPECS, traced_net

from leadline.compress.pruning.surgery import prune
from leadline.nn import zoo
from leadline.nn.build import Net, build, reinitialised


def equal(a: Net, b: Net) -> bool:
    return all(torch.equal(x, b.state_dict()[name]) for name, x in a.state_dict().items())


def disturbed(net: Net) -> Net:
    net = copy.deepcopy(net)
    with torch.no_grad():
        for tensor in net.state_dict().values():
            tensor.add_(1)
    return net


@pytest.mark.parametrize("name", ["fastdepth_pruned", "monodepth_pruned", "litedepth", *SPECS])
def test_fresh_weights_are_those_of_build(name: str) -> None:
    spec = SPECS[name] if name in SPECS else zoo.spec(name)
    expected = build(spec, seed=3)
    trained = disturbed(build(spec, seed=5))
    kept = copy.deepcopy(trained)
    found = reinitialised(trained, seed=3)
    assert found.spec == spec and equal(found, expected)
    assert equal(trained, kept)  # which is left as it was
    assert not equal(reinitialised(trained, seed=4), expected)


def test_a_net_without_a_seed_follows_the_callers_own() -> None:
    def after(seed: int) -> tuple[Net, torch.Tensor]:
        torch.manual_seed(seed)
        return build(SPECS["add"]), torch.rand(4)

    (one, then), (again, later), (other, _) = after(0), after(0), after(1)
    assert equal(one, again) and torch.equal(then, later) and not equal(one, other)
    assert not equal(build(SPECS["add"]), build(SPECS["add"]))
    torch.manual_seed(0)
    build(SPECS["add"], seed=3)
    untouched = torch.rand(4)
    torch.manual_seed(0)
    assert torch.equal(untouched, torch.rand(4))


def test_a_pruned_net_keeps_its_shapes() -> None:
    net, channels = traced_net("add")
    small = prune(net, channels, {name: range(0, 16, 3) for name in channels.free})
    new, again = reinitialised(small, seed=0), reinitialised(small, seed=0)
    assert {k: v.shape for k, v in new.state_dict().items()} == {k: v.shape for k, v in small.state_dict().items()}
    assert equal(new, again)
    conv = new.get_parameter("encoder.blocks.1.3.weight").detach()
    assert conv.shape[:2] == (10, 10)
    assert float(conv.std()) == pytest.approx((2 / 10) ** 0.5, rel=0.25)  # sqrt(2 / (k k outputs))
    state = new.state_dict()
    assert all((v == 0).all() for k, v in state.items() if k.endswith("running_mean"))
    assert all((v == 1).all() for k, v in state.items() if k.endswith("running_var"))
    assert torch.isfinite(new.eval()(torch.rand(1, 3, 32, 32))).all()
