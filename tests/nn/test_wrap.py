"""An ordinary module, once wrapped, is a Net: it trains, prunes, exports and is measured. Misfits are refused."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.tiny_training import Batches, batches, options
from torch import Tensor, nn

from leadline.compress.cost.count import parameter_cost, parameters
from leadline.compress.options import NetAdapt
from leadline.compress.pruning.netadapt import CostModel, netadapt
from leadline.compress.pruning.surgery import prune
from leadline.compress.pruning.trace import trace
from leadline.compress.recovery import Recovery
from leadline.compress.steps import compress
from leadline.core.errors import BadCheckpoint
from leadline.core.report import Report
from leadline.core.types import Item
from leadline.data.dataset import Dataset
from leadline.evaluation.evaluate import evaluate
from leadline.nn import zoo
from leadline.nn.build import Net, build, reinitialised
from leadline.nn.checkpoint import load, save
from leadline.nn.fold import fold
from leadline.nn.wrap import wrap
from leadline.predict.predictor import load_predictor, predictor_of
from leadline.runtime.export import difference, export
from leadline.training.fit import fit
from leadline.training.losses import l1, supervised

pytestmark = pytest.mark.usefixtures("one_thread")
SIZE = (32, 32)


class Toy(nn.Module):
    """Two convolutions at half size; a norm between them; positive depth."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, width, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.last = nn.Conv2d(width, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.first(image)))
        return nn.functional.softplus(self.last(torch.relu(self.second(x)))) + 0.1


def toy(seed: int = 0, **how: Any) -> Net:
    torch.manual_seed(seed)
    return wrap(Toy(), size=SIZE, **how)


class Gives(nn.Module):
    """Gives what `make` makes of its map."""

    def __init__(self, make: Any) -> None:
        super().__init__()
        self.conv, self.make = nn.Conv2d(3, 1, 1), make

    def forward(self, image: Tensor) -> Any:
        return self.make(self.conv(image))


def halved(net: Net) -> tuple[Net, Report]:
    channels = trace(net, torch.zeros(1, 3, *SIZE))
    drop = {name: range(1, channels.group(name).size, 2) for name in channels.free}
    return prune(net, channels, drop), Report(net.spec.name)


def test_it_normalises_inside_and_enlarges_its_map() -> None:
    module = Toy().eval()
    net = wrap(module, size=SIZE, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4)).eval()
    image = torch.rand(2, 3, *SIZE)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.4, 0.5, 0.6), (0.2, 0.3, 0.4)))
    small = module((image - mean) / std)
    assert torch.equal(net(image, raw=True)[0], small)
    expected = nn.functional.interpolate(small, size=SIZE, mode="bilinear", align_corners=True)
    assert torch.equal(net(image), expected)
    assert (net.spec.name, net.spec.head.kind, net.spec.preprocess.size) == ("toy", "metric", SIZE)


def test_a_map_without_a_channel_is_given_one() -> None:
    net = wrap(Gives(lambda x: x[:, 0]), size=SIZE)
    assert net(torch.rand(2, 3, *SIZE)).shape == (2, 1, *SIZE)


def test_wrapping_changes_nothing_in_the_module() -> None:
    module = Toy().train()
    module.second.eval()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    wrap(module, size=SIZE)
    assert module.training and not module.second.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


def test_it_learns() -> None:
    first = next(batches()(0))
    net = toy()
    trained, report = fit(net, batches(), partial(supervised, l1), options(steps=30, lr=0.05))
    value = [float(supervised(l1, one.eval(), first)[0].detach()) for one in (net, trained)]
    assert value[1] < 0.8 * value[0] and report.metrics["loss"] > 0
    assert isinstance(trained, Net) and trained.spec == net.spec


def test_it_is_saved_with_its_spec_and_loads_into_a_module_of_its_class(tmp_path: Path) -> None:
    net = toy(3, kind="relative_disparity", name="mine").eval()
    path, image, other = save(net, tmp_path / "mine.safetensors"), torch.rand(1, 3, *SIZE), Toy()
    before = other.first.weight.clone()
    again = load(path, module=other)
    assert torch.equal(again(image), net(image)) and again.spec == net.spec
    assert torch.equal(other.first.weight, before)


def test_without_its_module_a_file_says_what_is_needed(tmp_path: Path) -> None:
    path = save(toy(), tmp_path / "toy.safetensors")
    for opened in (load, load_predictor):
        with pytest.raises(BadCheckpoint, match=r"a module of yours, 'Toy', and no code: .*module=Toy\(\)") as caught:
            opened(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(BadCheckpoint, match="belongs to another one"):
        load(path, module=Gives(lambda x: x))
    own = save(build(zoo.spec("litedepth"), seed=0), tmp_path / "own.safetensors")
    with pytest.raises(BadCheckpoint, match="load it without module"):
        load(own, module=Toy())


def test_whole_numbers_are_stored_exactly_in_half_precision(tmp_path: Path) -> None:
    module = Gives(lambda x: x)
    module.register_buffer("index", torch.tensor([4097, 2**20 + 1]))
    path = save(wrap(module, size=SIZE), tmp_path / "x.safetensors", dtype=torch.float16)
    again = Gives(lambda x: x)
    again.register_buffer("index", torch.zeros(2, dtype=torch.int64))
    assert load(path, module=again).state_dict()["module.index"].tolist() == [4097, 2**20 + 1]


def test_it_is_pruned_and_what_is_pruned_loads_into_the_whole_module(tmp_path: Path) -> None:
    net = toy()
    small, _ = compress(net, halved)
    assert parameters(small) < 0.4 * parameters(net)
    again = load(save(small, tmp_path / "small.safetensors"), module=Toy())
    image = torch.rand(1, 3, *SIZE)
    assert again.state_dict()["module.first.weight"].shape[0] == 8
    assert torch.allclose(again(image), small(image))


def constant(net: Net) -> float:
    return float(net.state_dict()["module.first.weight"].shape[0])


def lessons() -> Recovery:
    made: Batches = batches()
    return Recovery(made, partial(supervised, l1), constant)


def test_netadapt_narrows_it(tmp_path: Path) -> None:
    net = toy()
    how = NetAdapt(first_step=0.2, short=options(steps=1), processes=1)
    limit = 0.6 * parameter_cost(net)({k: tuple(v.shape) for k, v in net.state_dict().items()})
    model = CostModel(parameter_cost)
    small, _ = netadapt(net, lessons, model, limit, how, example=torch.zeros(1, 3, *SIZE), out=tmp_path, multiple=2)
    assert parameters(small) <= limit and constant(small) == 16


def test_it_is_measured_like_a_net() -> None:
    samples = [Item(np.full((48, 64, 3), 90, np.uint8), np.full((48, 64), 2, np.float32), np.ones((48, 64), bool), "a")]
    data = Dataset("one", (0,), samples.__getitem__)
    report = evaluate(predictor_of(toy()), data, "indoor-metric@1")
    assert report.n == 1 and np.isfinite(report.metrics["rmse"])


@pytest.mark.parametrize(("runtime", "package"), [("onnx", "onnxscript"), ("openvino", "openvino")])
def test_its_exported_file_computes_the_same_and_runs_without_the_module(
    runtime: str, package: str, tmp_path: Path
) -> None:
    pytest.importorskip(package)
    net = toy(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    ending = {"onnx": ".onnx", "openvino": ".xml"}[runtime]
    path = export(net, runtime, tmp_path / f"toy{ending}")
    assert difference(path, net) < 1e-4
    depth = load_predictor(path)(np.full((48, 64, 3), 100, np.uint8))
    assert depth.values.shape == (48, 64) and depth.kind == "metric"


def test_norms_are_folded_only_where_the_map_stays_the_same() -> None:
    net = toy()
    net.state_dict()["module.norm.running_mean"].fill_(0.3)
    assert isinstance(dict(fold(net).named_modules())["module.norm"], nn.Identity)

    class Crossed(Toy):
        def forward(self, image: Tensor) -> Tensor:
            return self.last(self.second(self.norm(torch.relu(self.first(image))))).exp()

    crossed = wrap(Crossed(), size=SIZE)
    crossed.state_dict()["module.norm.running_mean"].fill_(0.3)
    image = torch.rand(1, 3, *SIZE)
    assert torch.equal(fold(crossed)(image), crossed.eval()(image))


def test_its_layers_are_drawn_anew_in_their_own_way() -> None:
    net = toy()
    one, other = reinitialised(net, seed=1), reinitialised(net, seed=2)
    weights = [n.state_dict()["module.first.weight"] for n in (net, one, reinitialised(net, seed=1), other)]
    assert torch.equal(weights[1], weights[2])
    assert not torch.equal(weights[0], weights[1]) and not torch.equal(weights[1], weights[3])
    assert float(weights[1].abs().max()) <= 1 / 27**0.5  # torch's own bound for 27 inputs


def tied() -> nn.Module:
    module = Toy()
    module.again = module.second
    return module


WRONG: list[tuple[Any, str]] = [
    (Gives(lambda x: (x, x)), r"Gives gives a tuple of 2 outputs; one map .* is needed"),
    (Gives(lambda x: {"depth": x, "conf": x}), r"a dict of 2 outputs \(depth, conf\)"),
    (Gives(lambda x: "depth"), "gives str, not a tensor"),
    (Gives(lambda x: x.repeat(1, 2, 1, 1)), r"the shape \[2, 2, 32, 32\]"),
    (Gives(lambda x: x.mean((2, 3))), r"the shape \[2, 1\]"),
    (Gives(lambda x: x[:1]), r"the shape \[1, 1, 32, 32\]"),
    (Gives(lambda x: x[:, :, 2:-2, 2:-2]), "a map of 28x28 for images of 32x32"),
    (Gives(lambda x: x.half()), "gives torch.float16; float32 is needed"),
    (Gives(lambda x: x.int()), "gives torch.int32"),
    (Gives(lambda x: x * float("nan")), "gives 2048 values .* not finite"),
    (
        Gives(lambda x: x.reshape(2, 1, 480, 640)),
        r"Gives fails on images \[2,3,32,32\]: .* give the size that it takes",
    ),
    (Gives(lambda x: x).double(), r"holds torch.float64 in 'conv.weight'"),
    (tied(), "the same tensor in 'second.weight' and 'again.weight'"),
    (Toy, "not Toy; create the module first"),
    (np.zeros(3), "not ndarray"),
    (build(zoo.spec("litedepth"), seed=0), "is a Net already"),
]


@pytest.mark.parametrize(("module", "said"), WRONG, ids=[said[:24] for _, said in WRONG])
def test_what_is_no_depth_net_is_refused_in_one_line(module: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        wrap(module, size=SIZE)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "how", [{"size": (0, 32)}, {"kind": "metres"}, {"mean": (0.5,)}, {"std": (0, 1, 1)}, {"name": "a/b"}]
)
def test_wrong_arguments_are_refused(how: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="|".join(how)):
        wrap(Toy(), **{"size": SIZE, **how})


def test_the_spec_of_another_size_goes_with_the_net() -> None:
    net = toy()
    net.spec = replace(net.spec, preprocess=replace(net.spec.preprocess, size=(64, 64)))
    assert predictor_of(net)(np.zeros((48, 64, 3), np.uint8)).values.shape == (48, 64)
