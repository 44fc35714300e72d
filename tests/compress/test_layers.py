"""LayerPrune: which blocks can go, what they are worth, and that a net without them is a net like any other."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support import tiny_training
from torch import Tensor, nn

from leadline.compress.cost.count import macs, parameters
from leadline.compress.layers.fitting import fittable, skip_fitted_
from leadline.compress.layers.imprinting import imprinting
from leadline.compress.layers.remove import block_scores, removable_or_refuse, remove_to, without
from leadline.compress.layers.scores import ensemble, filter_scores, removed_alone
from leadline.compress.options import CRITERIA
from leadline.compress.pruning.importance import magnitude
from leadline.compress.pruning.surgery import keep_topk, prune
from leadline.compress.pruning.trace import trace
from leadline.core.errors import BadCheckpoint, BudgetInfeasible
from leadline.core.spec import Encoder, Head, Spec, from_json, to_json
from leadline.data.batch import Batch
from leadline.nn import zoo
from leadline.nn.build import build
from leadline.nn.checkpoint import load, save
from leadline.nn.skip import removable, skip_
from leadline.nn.wrap import wrap

BLOCKS = ("encoder.blocks.7", "encoder.blocks.8", "encoder.blocks.9", "encoder.blocks.10", "encoder.blocks.11")


def batches(n: int = 2) -> list[Batch]:
    stream = tiny_training.batches()(0)
    return [next(stream) for _ in range(n)]


def test_fastdepth_can_do_without_its_five_middle_blocks() -> None:
    found = removable(build(zoo.spec("fastdepth"), seed=0))
    assert set(BLOCKS) < set(found)
    assert "encoder.blocks.6" not in found and "encoder.blocks.12" not in found  # they change size and width


@pytest.mark.parametrize("name", ["fastdepth", "litedepth", "boosting_student", "fastdepth_resnet"])
def test_a_net_without_any_of_its_removable_blocks_is_saved_and_loaded_whole(name: str, tmp_path: Path) -> None:
    spec = zoo.spec(name)
    net = build(replace(spec, preprocess=replace(spec.preprocess, size=(64, 96))), seed=0).eval()
    less = without(net, removable(net))
    again = load(save(less, tmp_path / "less.safetensors"))
    image = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        out = less(image)
        assert out.shape == (1, 1, 64, 96) and torch.isfinite(out).all()
        assert torch.equal(again(image), out)
    assert again.spec == less.spec and again.spec.skipped
    assert parameters(less) < parameters(net) and macs(less, (64, 96)) < macs(net, (64, 96))
    assert removable(less) == () and net.spec.skipped == ()


def test_a_spec_with_blocks_left_out_is_the_same_after_json() -> None:
    spec = replace(zoo.spec("fastdepth"), skipped=BLOCKS)
    assert from_json(Spec, to_json(spec)) == spec
    assert removable(build(spec, seed=0))[-1] == "encoder.blocks.13"


def test_a_block_that_is_not_there_is_named(tmp_path: Path) -> None:
    net = tiny_training.tiny()
    with pytest.raises(ValueError, match=r"no block 'encoder\.blocks\.99' to leave out; it has: .*encoder\.blocks\.7"):
        skip_(net, ["encoder.blocks.99"])
    net.spec = replace(net.spec, skipped=("decoder.nothing",))
    with pytest.raises(BadCheckpoint, match=r"no block 'decoder\.nothing'"):
        load(save(net, tmp_path / "odd.safetensors"))


def test_filters_and_layers_go_in_either_order(tmp_path: Path) -> None:
    net = tiny_training.tiny().eval()

    def narrower(whole: Any) -> Any:
        channels = trace(whole, torch.zeros(1, 3, 32, 32))
        scores = magnitude(whole, channels)
        return prune(
            whole, channels, keep_topk(scores, {name: max(1, group.size // 2) for name, group in channels.free.items()})
        )

    first = without(narrower(net), BLOCKS[:2])
    last = narrower(without(net, BLOCKS[:2]))
    for made in (first, last):
        again = load(save(made, tmp_path / "both.safetensors"))
        image = torch.rand(1, 3, 32, 32)
        with torch.no_grad():
            assert torch.equal(again(image), made(image))
        assert again.spec.skipped == BLOCKS[:2]
        assert parameters(again) < parameters(without(net, BLOCKS[:2]))


def test_a_wrapped_module_loses_its_blocks_too(tmp_path: Path) -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            same = [nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()) for _ in range(3)]
            self.body = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), *same, nn.Conv2d(4, 1, 1))

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.body(x)
            return out

    net = wrap(Own(), size=(16, 16))
    assert removable(net) == ("module.body.1", "module.body.2", "module.body.3")
    less = without(net, ["module.body.2"])
    again = load(save(less, tmp_path / "own.safetensors"), module=Own())
    image = torch.rand(1, 3, 16, 16)
    assert torch.equal(again(image), less.eval()(image))


def test_a_vgg_loses_layers_that_begin_a_stage_and_the_next_one_takes_their_input(tmp_path: Path) -> None:
    widths = (4, 4, 6, 6, 8, 8, 8, 8, 8, 8, 8, 8, 8)
    net = build(replace(zoo.spec("vgg16_bn"), encoder=Encoder("vgg16_bn", widths)), seed=0).eval()
    assert fittable(net) == ("encoder.stages.1.0", "encoder.stages.2.0")  # the first layer sees the image
    batch = Batch(torch.rand(4, 3, 32, 32), torch.arange(4), torch.ones(4, dtype=torch.bool), tuple("abcd"))
    less = without(net, [*fittable(net), *removable(net)], [batch])
    again, image = load(save(less, tmp_path / "less.safetensors")), torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(again(image), less(image)) and torch.isfinite(less(image)).all()
    assert len(less.spec.skipped) == 12 and removable(less) == fittable(less) == ()
    assert less.head.linear.in_features == 4


def test_a_fitted_layer_stands_for_a_linear_block_exactly() -> None:
    class OnePath(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            block = nn.Sequential(nn.Conv2d(4, 6, 1, bias=False))
            self.body = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), block, nn.Conv2d(6, 1, 3, padding=1))

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.body(x)
            return out

    torch.manual_seed(0)
    net, image = wrap(OnePath(), size=(16, 16)), torch.rand(2, 3, 16, 16)
    batch = Batch(image, image[:, :1], torch.ones(2, 1, 16, 16, dtype=torch.bool), ("a", "b"))
    less = without(net, ["module.body.2"], [batch])
    with torch.no_grad():
        assert torch.allclose(less(image), net(image), atol=1e-4)
    blind = without(net, ["module.body.2"])  # channel i stands for channel i
    assert torch.equal(blind.module.body[3].weight, net.module.body[3].weight[:, :4])


def test_a_block_whose_output_something_else_reads_is_not_fitted() -> None:
    net = build(zoo.spec("fastdepth"), seed=0)
    assert "encoder.blocks.1" not in fittable(net)  # a depthwise layer and a skip read it
    with pytest.raises(ValueError, match=r"'encoder\.blocks\.1' cannot be left out: something else than a plain layer"):
        skip_fitted_(net, "encoder.blocks.1", [])


def test_the_scores_are_the_derivatives_they_stand_for() -> None:
    """`taylor_gate` is (dL/dg)^2 of a factor behind the batch norm, `taylor_weight` the squared product with dL/dw."""
    net, loss, seen = tiny_training.tiny(), tiny_training.loss, batches()
    block = "encoder.blocks.8"
    found = filter_scores(net, [block], batches=seen, loss=loss)
    gates, products = [], []
    for batch in seen:
        twin = copy.deepcopy(net).eval()
        norms = [m for m in twin.get_submodule(block).modules() if isinstance(m, nn.BatchNorm2d)]
        factors = [torch.ones(m.num_features, requires_grad=True) for m in norms]
        for norm, factor in zip(norms, factors, strict=True):
            norm.register_forward_hook(lambda _m, _x, out, factor=factor: out * factor[:, None, None])
        loss(twin, batch)[0].backward()
        gates.append(torch.stack([(factor.grad**2).mean() for factor in factors if factor.grad is not None]).mean())
        weight = twin.get_submodule(block)[3].weight  # the depthwise one does not count
        products.append(((weight * weight.grad) ** 2).flatten(1).sum(1).mean().detach())
    assert found["taylor_gate"][block] == pytest.approx(float(torch.stack(gates).mean()), rel=1e-4)
    assert found["taylor_weight"][block] == pytest.approx(float(torch.stack(products).mean()), rel=1e-4)
    weight = net.get_submodule(block)[3].weight.detach()
    assert found["weight"][block] == pytest.approx(float((weight**2).flatten(1).sum(1).mean()), rel=1e-5)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_every_criterion_scores_every_removable_block_and_leaves_the_net_alone(criterion: Any) -> None:
    net = tiny_training.tiny()
    before = copy.deepcopy(net.state_dict())
    scores = block_scores(net, criterion, batches(), tiny_training.loss)
    assert set(scores) == {*removable(net), *fittable(net)} and all(
        abs(score) < float("inf") for score in scores.values()
    )
    assert all(torch.equal(a, b) for a, b in zip(before.values(), net.state_dict().values(), strict=True))
    assert criterion == "bn" or len(set(scores.values())) > 1  # fresh batch norms are all alike


class Steps(nn.Module):
    """Of two blocks the first makes the classes separable and the second passes them on."""

    def __init__(self) -> None:
        super().__init__()
        made = nn.Sequential(nn.Conv2d(3, 3, 1, bias=False), nn.ReLU())
        same = nn.Sequential(nn.Conv2d(3, 3, 1, bias=False), nn.ReLU())
        with torch.no_grad():
            made[0].weight.copy_(torch.tensor([[1.0, -1, 0], [-1, 1, 0], [0, 0, 0]])[..., None, None])
            same[0].weight.copy_(torch.eye(3)[..., None, None])
        self.blocks = nn.ModuleList([made, same])

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks[1](self.blocks[0](x)).mean(1, keepdim=True)  # type: ignore[no-any-return]


def test_imprinting_counts_what_a_block_adds() -> None:
    # the classes differ by which of two channels is larger; a third, much larger, is noise
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(64) % 2
    image = torch.full((64, 3, 8, 8), 0.5)
    image[torch.arange(64), labels] += 0.02
    image[:, 2] = 1000 * torch.rand(64, generator=generator)[:, None, None]
    batch = Batch(image, labels, torch.ones(64, dtype=torch.bool), tuple(map(str, range(64))))
    found = imprinting(Steps(), ["blocks.0", "blocks.1"], [batch])
    assert found["blocks.0"] > 0.3
    assert found["blocks.1"] == pytest.approx(0.0, abs=1e-6)


def test_imprinting_counts_what_a_block_adds_where_each_pixel_has_a_class() -> None:
    """As above with a class for each pixel; void pixels, whose number is no class, are left out."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 2, (4, 1, 8, 8), generator=generator)
    image = torch.full((4, 3, 8, 8), 0.5)
    image[:, :2].scatter_add_(1, labels, torch.full((4, 1, 8, 8), 0.02))
    image[:, 2] = 1000 * torch.rand(4, 8, 8, generator=generator)
    valid = torch.rand(4, 1, 8, 8, generator=generator) > 0.2
    batch = Batch(image, labels.masked_fill(~valid, 255), valid, tuple("abcd"))
    found = imprinting(Steps(), ["blocks.0", "blocks.1"], [batch])
    assert found["blocks.0"] > 0.3
    assert found["blocks.1"] == pytest.approx(0.0, abs=1e-6)


def test_ranks_are_summed_and_equal_scores_share_theirs() -> None:
    scores: dict[Any, dict[str, float]] = {"weight": {"a": 1, "b": 2, "c": 3}, "bn": {"a": 5, "b": 5, "c": 0}}
    assert ensemble(scores) == {"a": 0 + 1.5, "b": 1 + 1.5, "c": 2 + 0}


def test_as_few_blocks_go_as_the_budget_needs_the_least_first() -> None:
    net = tiny_training.tiny()
    scores = {name: float(i) for i, name in enumerate(reversed(removable(net)))}
    whole = parameters(net)
    less, found = remove_to(net, scores, parameters, whole - 1)
    assert less.spec.skipped == (removable(net)[-1],) and found == parameters(less) < whole
    same, _ = remove_to(net, scores, parameters, whole)
    assert same.spec.skipped == ()
    with pytest.raises(BudgetInfeasible, match=r"without all \d+ that can go the net still costs .*smallest reachable"):
        remove_to(net, scores, parameters, 1.0)


def test_what_a_blocks_absence_costs_is_measured() -> None:
    net = tiny_training.tiny()
    found = removed_alone(net, BLOCKS[:2], lambda one: 0.5 if one.spec.skipped == BLOCKS[:1] else 0.9)
    assert found == pytest.approx({BLOCKS[0]: 0.4, BLOCKS[1]: 0.0})


def test_nets_and_data_that_have_nothing_to_score_are_told() -> None:
    narrow = build(
        Spec("narrow", Encoder("mobilenet_v1", tuple(range(4, 18))), zoo.spec("fastdepth_decoder").decoder, Head()),
        seed=0,
    )
    with pytest.raises(ValueError, match=r"narrow has no block that could be left out"):
        removable_or_refuse(narrow)
    net = tiny_training.tiny()
    for criterion in ("imprinting", "weight"):
        with pytest.raises(ValueError, match="there were none; at least one is needed"):
            block_scores(net, criterion, [], tiny_training.loss)  # type: ignore[arg-type]
