"""Channel names against Torch-Pruning, and on the encoders of timm; both where they are installed."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from leadline.compress.pruning.surgery import mask_consumers, prune
from leadline.compress.pruning.trace import trace
from leadline.core.spec import Decoder, Encoder, Head, Preprocess, Spec
from leadline.nn import zoo
from leadline.nn.build import Net, build

pytestmark = pytest.mark.slow

LADDER = Decoder("nnconv5", (64, 32, 32, 16, 16), "cat")
FUSION = Decoder("fusion", (72, 24, 8, 24), "cat", depthwise=False, kernel=3)
MULTISCALE = Decoder("multiscale", (16, 64, 64), "cat", depthwise=False)
FAMILIES = {
    "mobilenetv1_100": FUSION,
    "mobilenetv2_100": LADDER,
    "mobilenetv3_small_100": LADDER,
    "mobilenetv4_conv_small": FUSION,
    "resnet18": LADDER,
    "efficientnet_lite0": FUSION,
    "ghostnet_100": FUSION,
    "densenet121": MULTISCALE,
    "mobileone_s0": FUSION,
    "repvit_m0_9": MULTISCALE,
    "hrnet_w18_small": MULTISCALE,
    "selecsls42b": FUSION,
    "regnety_002": FUSION,
    "hardcorenas_a": FUSION,
    "tinynet_e": FUSION,
    "lcnet_050": FUSION,
    "convnext_atto": MULTISCALE,
}


@pytest.mark.parametrize("name", ["fastdepth", "fastdepth_resnet", "boosting_student", "boosting_teacher", "litedepth"])
@pytest.mark.filterwarnings("ignore::Warning")
def test_convolutions_are_tied_as_torch_pruning_ties_them(name: str) -> None:
    tp = pytest.importorskip("torch_pruning", reason="Torch-Pruning is not installed: pip install torch-pruning")
    net, image = build(zoo.spec(name), seed=0).eval(), torch.rand(1, 3, 64, 64)
    named = {module: path for path, module in net.named_modules()}
    convs = {path: module for module, path in named.items() if isinstance(module, nn.Conv2d)}
    ours: dict[str, set[str]] = {path: set() for path in convs}
    for group in trace(net, image).groups:
        for path in group.modules:
            ours[path] |= set(group.modules)
    graph = tp.DependencyGraph().build_dependency(net, example_inputs=image)
    outputs = (tp.prune_conv_out_channels, tp.prune_depthwise_conv_out_channels)
    for path, conv in convs.items():
        members = graph.get_pruning_group(conv, _of(tp, conv), idxs=[0])
        tied = {named[dep.target.module] for dep, _ in members if dep.handler in outputs}
        assert {p for p in tied if p in convs} == ours[path], path


def _of(tp, conv):  # type: ignore[no-untyped-def]
    depthwise = conv.groups == conv.out_channels > 1
    return tp.prune_depthwise_conv_out_channels if depthwise else tp.prune_conv_out_channels


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.filterwarnings("ignore::Warning")
def test_an_encoder_of_timm_pruned_computes_what_it_does_with_the_channels_unread(name: str) -> None:
    try:
        import timm  # noqa: F401
    except Exception as error:
        pytest.skip(f"timm does not load: {error}")
    spec = Spec(
        name, Encoder(f"timm:{name}", ()), FAMILIES[name], Head(layer="conv", relu=False), Preprocess((128, 160))
    )
    net = build(spec, seed=0).double().eval()
    for norm in net.modules():
        if isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None and norm.running_var is not None:
            nn.init.normal_(norm.running_mean, 0, 0.1)
            nn.init.uniform_(norm.running_var, 0.5, 1.5)
    channels = trace(net, torch.rand(1, 3, 128, 160, dtype=torch.float64))
    drop = {g: torch.randperm(group.size)[: group.size // 2].tolist() for g, group in channels.free.items()}
    assert len(drop) >= 10
    image = torch.rand(1, 3, 160, 224, dtype=torch.float64)
    with torch.no_grad():
        masked, whole = mask_consumers(net, channels, drop)(image), net(image)
        pruned: Net = prune(net, channels, drop)
        found = pruned(image)
    assert found.isfinite().all() and not torch.equal(masked, whole)
    if name != "convnext_atto":  # its layer norms see fewer channels, and differ as they must
        assert (found - masked).abs().max() <= 1e-9 * masked.abs().max()
