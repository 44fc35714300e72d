"""One net, two last layers: what it computes, what it starts from, and what may be pruned of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.tiny_labelled_rooms import TINY_DEPTH, TINY_JOINT

from leadline.compress.cost.count import macs
from leadline.compress.pruning.surgery import mask_consumers, prune
from leadline.compress.pruning.trace import trace
from leadline.core.spec import Decoder, Encoder, Head, Spec
from leadline.core.tasks import NYU40
from leadline.nn import zoo
from leadline.nn.build import Net, build, outline
from leadline.nn.checkpoint import load, save
from leadline.nn.new_head import with_head

pytestmark = pytest.mark.usefixtures("one_thread")
IMAGE = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))


def lively(spec: Spec, seed: int = 0) -> Net:
    """A net whose batch norms all do something."""
    net = build(spec, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for tensor in (module.weight.data, module.bias.data, module.running_mean, module.running_var):
                assert tensor is not None
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    net.head.start_at(2.0)
    return net.eval()


def seen(net: Net) -> torch.Tensor:
    with torch.no_grad():
        out: torch.Tensor = net(IMAGE)
    return out


def test_channel_0_is_depth_and_the_scores_lie_behind_it(tmp_path: Path) -> None:
    net = lively(TINY_JOINT)
    out = seen(net)
    assert out.shape == (2, 41, 64, 96) and float(out[:, 0].min()) >= 0 and float(out[:, 1:].min()) < 0
    assert torch.equal(seen(load(save(net, tmp_path / "net.safetensors"))), out)


def test_the_depth_of_a_fresh_net_starts_where_it_is_told(tmp_path: Path) -> None:
    net = build(TINY_JOINT, seed=0).eval()
    torch.nn.init.zeros_(net.head.conv.weight)
    net.head.start_at(2.5)
    assert torch.equal(seen(net)[:, 0], torch.full((2, 64, 96), 2.5))


@pytest.mark.parametrize("layer", ["norm", "conv"])
def test_a_net_of_depth_with_another_head_gives_the_depth_that_it_gave(layer: str) -> None:
    head = Head(batch_statistics=False) if layer == "norm" else Head(layer="conv", kernel=3, relu=False)
    net = lively(replace(TINY_DEPTH, head=head))
    before = seen(net)
    joint = with_head(net, "joint", NYU40, seed=0)
    assert joint.spec.name == "tiny_depth_joint" and joint.spec.head.classes == NYU40
    torch.testing.assert_close(seen(joint)[:, :1], before)
    labels = with_head(net, "labels", NYU40, seed=0)
    assert labels.spec.name == "tiny_depth_labels" and seen(labels).shape == (2, 40, 64, 96)
    assert torch.equal(seen(with_head(net, "joint", NYU40, seed=0)), seen(joint))
    assert not torch.equal(seen(with_head(net, "joint", NYU40, seed=1))[:, 1:], seen(joint)[:, 1:])
    assert torch.equal(seen(net), before)


def test_a_pruned_net_takes_another_head(tmp_path: Path) -> None:
    net = lively(TINY_DEPTH)
    channels = trace(net, torch.zeros(1, 3, 64, 96))
    small = prune(net, channels, {group: range(free.size // 2) for group, free in channels.free.items()})
    joint = with_head(small, "joint", NYU40, seed=0)
    torch.testing.assert_close(seen(joint)[:, :1], seen(small))
    torch.testing.assert_close(seen(load(save(joint, tmp_path / "net.safetensors"))), seen(joint))


def test_only_a_layer_from_features_to_metres_can_be_replaced() -> None:
    monodepth = Spec(
        "stereo",
        Encoder("vgg", (4,) * 14),
        Decoder("monodepth", (4,) * 14, "cat", False, 3),
        Head("relative_disparity", "relative_disparity", layer="disparity"),
    )
    for spec in (monodepth, TINY_JOINT):
        with pytest.raises(ValueError, match="only a net of metric depth whose head is norm or conv"):
            with_head(outline(spec), "labels", NYU40, seed=0)


def test_a_pruned_net_of_both_computes_what_it_does_with_the_channels_unread() -> None:
    """The two layers read the same channels, so they lose them together; what they give stays."""
    net = lively(TINY_JOINT).double()
    image = IMAGE.double()
    channels = trace(net, image[:1])
    drop = {group: range(1, free.size, 2) for group, free in channels.free.items()}
    masked, small = mask_consumers(net, channels, drop), prune(net, channels, drop)
    with torch.no_grad():
        torch.testing.assert_close(small(image), masked(image))
    assert small.head.conv.weight.shape == (1, 4, 1, 1) and small.head.labels.weight.shape == (40, 4, 1, 1)


def test_two_tasks_cost_little_more_than_one() -> None:
    cost = {
        name: macs(outline(zoo.spec(name)), (224, 224)) for name in ("fastdepth", "fastdepth_labels", "fastdepth_joint")
    }
    assert cost["fastdepth_joint"] < 0.55 * (cost["fastdepth"] + cost["fastdepth_labels"])


def test_a_head_of_both_has_names_and_its_own_layer() -> None:
    for kind, layer, classes in (("joint", "labels", NYU40), ("joint", "joint", ()), ("metric", "joint", ())):
        with pytest.raises(ValueError, match="a head of classes has kind and layer classes"):
            Head(kind, layer=layer, classes=classes)  # type: ignore[arg-type]
