"""LiteDepth's losses by hand, where they are taken, and their learnt weights."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leadline.core.types import Item
from leadline.data.batch import Batch
from leadline.nn import zoo
from leadline.nn.build import build
from leadline.training import losses
from leadline.training.fit import Steps
from leadline.training.losses import LOSSES, Reweighted, Term
from leadline.training.losses.litedepth import FOCAL, FRAME
from leadline.training.options import FitOptions


def plane(normal: tuple[float, float, float], distance: float, size: tuple[int, int] = (32, 40)) -> Tensor:
    """The depth map [1,1,h,w] of the plane normal . point = distance, as the authors' camera sees it."""
    y = (torch.arange(size[0], dtype=torch.float64) - size[0] // 2) * FRAME[0] / size[0] / FOCAL[0]
    x = (torch.arange(size[1], dtype=torch.float64) - size[1] // 2) * FRAME[1] / size[1] / FOCAL[1]
    return (distance / (normal[0] * x + normal[1] * y[:, None] + normal[2]))[None, None]


def everywhere(maps: Tensor) -> Tensor:
    return torch.ones_like(maps, dtype=torch.bool)


def test_sig_has_the_unbiased_variance_and_an_offset_of_a_millimetre() -> None:
    pred, target = torch.tensor([0.999, 3.999]).view(1, 1, 1, 2), torch.tensor([1.999, 1.999]).view(1, 1, 1, 2)
    r = [math.log(1 / 2), math.log(4 / 2)]
    assert sum(r) == pytest.approx(0)
    assert float(losses.sig(pred, target, everywhere(pred))) == pytest.approx(math.sqrt((r[0] ** 2 + r[1] ** 2) / 1))


def test_sig_of_one_pixel_sees_its_mean_only() -> None:
    pred, target = torch.full((1, 1, 1, 1), 0.999), torch.full((1, 1, 1, 1), 2.999)
    value = float(losses.sig(pred, target, everywhere(pred)))
    assert value == pytest.approx(math.sqrt(0.15) * math.log(3), rel=1e-6)


def test_sig_survives_a_prediction_of_zero() -> None:
    pred = torch.zeros(1, 1, 4, 4, requires_grad=True)
    value = losses.sig(pred, torch.rand(1, 1, 4, 4) + 1, everywhere(pred))
    value.backward()
    assert value.isfinite() and pred.grad is not None and pred.grad.isfinite().all()


def test_robust_is_a_square_near_zero_and_half_the_error_far_away() -> None:
    target = torch.zeros(1, 1, 1, 1, dtype=torch.float64)
    small, large = (float(losses.robust(target + e, target, everywhere(target))) for e in (1e-4, 1e4))
    assert small == pytest.approx(1e-8 / 8, rel=1e-6)
    assert large == pytest.approx(5e3 - 1, rel=1e-6)


def test_planes_that_are_parallel_have_the_same_virtual_normals() -> None:
    target = plane((0.3, 0.2, 1.0), 3.0)
    assert float(losses.virtual_normal(plane((0.3, 0.2, 1.0), 5.0), target, everywhere(target))) < 1e-9


def test_two_planes_are_as_far_apart_as_their_normals() -> None:
    """Every triplet of a plane has the same normal, so dropping the smallest quarter changes nothing."""
    a, b = (0.3, 0.2, 1.0), (-0.4, 0.1, 1.0)
    lengths = [math.sqrt(sum(x * x for x in n)) for n in (a, b)]
    expected = sum(abs(x / lengths[0] - y / lengths[1]) for x, y in zip(a, b, strict=True))
    target = plane(b, 3.0)
    assert float(losses.virtual_normal(plane(a, 3.0), target, everywhere(target))) == pytest.approx(expected, abs=1e-9)


def test_the_size_of_the_map_does_not_change_what_a_plane_costs() -> None:
    values = []
    for size in ((32, 40), (64, 80)):
        target = plane((-0.4, 0.1, 1.0), 3.0, size)
        values.append(float(losses.virtual_normal(plane((0.3, 0.2, 1.0), 3.0, size), target, everywhere(target))))
    assert values[0] == pytest.approx(values[1], rel=1e-6)


def test_pixels_in_one_line_span_no_plane() -> None:
    target = (torch.rand(2, 1, 1, 40) + 1).requires_grad_()  # one row of pixels, all seen in one plane with the camera
    flat = torch.full((1, 1, 1, 40), 2.0)  # and at one distance: one line in space
    pred = torch.rand(1, 1, 1, 40, requires_grad=True)
    value = losses.virtual_normal(pred, flat, everywhere(flat))
    value.backward()
    assert float(value.detach()) == 0 and pred.grad is not None and (pred.grad == 0).all()
    assert losses.virtual_normal(target, target.detach(), everywhere(target)).isfinite()


@pytest.mark.parametrize("metres", [0.0, 0.05, 0.1])
def test_targets_nearer_than_ten_centimetres_do_not_count(metres: float) -> None:
    pred, target = torch.rand(1, 1, 32, 40) + 1, torch.full((1, 1, 32, 40), metres)
    assert float(losses.virtual_normal(pred, target, everywhere(target))) == 0


@pytest.mark.parametrize("size", [(1, 1), (1, 6), (2, 2), (2, 3), (3, 3)])
def test_maps_of_a_few_pixels_give_a_finite_value(size: tuple[int, int]) -> None:
    for seed in range(10):
        torch.manual_seed(seed)
        pred = (torch.rand(1, 1, *size) + 1).requires_grad_()
        target = torch.rand(1, 1, *size) * 3 + 1
        value = losses.virtual_normal(pred, target, everywhere(target))
        value.backward()
        assert value.isfinite() and pred.grad is not None and pred.grad.isfinite().all()


def test_a_prediction_without_any_depth_has_no_normal_and_no_infinite_slope() -> None:
    pred = torch.zeros(1, 1, 32, 40, requires_grad=True)
    target = plane((0.3, 0.2, 1.0), 3.0).float()
    value = losses.virtual_normal(pred, target, everywhere(target))
    value.backward()
    assert float(value.detach()) == pytest.approx((0.3 + 0.2 + 1) / math.sqrt(1.13), rel=1e-4)
    assert pred.grad is not None and (pred.grad == 0).all()


def test_virtual_normals_are_drawn_by_torch_s_seed() -> None:
    pred, target = torch.rand(2, 1, 1, 32, 40) + 1
    values = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        values.append(float(losses.virtual_normal(pred, target, everywhere(target))))
    assert values[0] == values[1] != values[2]


class Quarter(nn.Module):
    """A net whose map is a quarter of its image, enlarged by nearest neighbour."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 1, 4, 4)

    def forward(self, image: Tensor, raw: bool = False) -> Tensor | list[Tensor]:
        small = self.conv(image).abs() + 1
        return [small] if raw else F.interpolate(small, size=image.shape[-2:], mode="nearest")


def a_batch(size: tuple[int, int] = (64, 80)) -> Batch:
    target = torch.rand(2, 1, *size) * 3 + 1
    return Batch(torch.rand(2, 3, 32, 40), target, torch.rand(2, 1, *size) > 0.02, ("a", "b"))


def test_a_term_at_the_map_sees_the_target_bilinear_corners_on_corners_and_only_whole_pixels() -> None:
    net, item = Quarter(), a_batch()
    seen = []

    def look(pred: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        seen.append((pred, target, valid))
        return pred.sum()

    losses.weighted({"look": Term(look, at="map")}, net, item)
    losses.weighted({"look": Term(look, at="target"), "edge": Term(losses.gradient, at="map")}, net, item)
    (small, target, valid), (large, full, mask) = seen
    assert torch.equal(small, net(item.image, raw=True)[0])
    assert target[0, 0, -1, -1] == item.target[0, 0, -1, -1] and target[0, 0, 0, 0] == item.target[0, 0, 0, 0]
    garbage = torch.where(item.valid, item.target, 100)
    told = F.interpolate(garbage, size=(8, 10), mode="bilinear", align_corners=True)
    torch.testing.assert_close(target[valid], told[valid], atol=1e-4, rtol=0)
    assert 0.5 < valid.float().mean() < 1
    assert torch.equal(full, item.target) and torch.equal(mask, item.valid)
    assert torch.equal(large[..., ::8, ::8], small) and torch.equal(large[..., 7::8, 7::8], small)


def test_what_invalid_pixels_of_the_target_hold_does_not_reach_the_map() -> None:
    net, item = Quarter(), a_batch()
    for hole in (torch.nan, torch.inf):
        dirty = replace(item, target=torch.where(item.valid, item.target, hole))
        for criterion in (losses.l1, losses.gradient):
            expected, _ = losses.weighted({"x": Term(criterion, at="map")}, net, item)
            found, _ = losses.weighted({"x": Term(criterion, at="map")}, net, dirty)
            assert torch.equal(found, expected)


@pytest.mark.parametrize("name", ["boosting_student", "litedepth"])
def test_a_term_at_the_target_is_the_same_beside_one_at_the_map(name: str) -> None:
    net = build(getattr(zoo, name)(), seed=0).eval()
    item = a_batch()
    alone = losses.weighted({"l1": Term(losses.l1)}, net, item)[1]
    beside = losses.weighted({"l1": Term(losses.l1), "edges": Term(losses.gradient, at="map")}, net, item)[1]
    assert beside["l1"] == alone["l1"]


def test_in_training_a_map_is_enlarged_by_the_net_s_own_rule_as_well() -> None:
    net = build(zoo.boosting_student(), seed=0)
    run = Steps(net, losses.l1, FitOptions(steps=1, precision="no"))
    run.shell.eval()
    image = torch.rand(1, 3, 32, 40).to(run.device)
    assert torch.equal(run.shell.enlarged(run.shell(image, raw=True)[0], (32, 40)), run.shell(image))


@pytest.mark.parametrize("weight", [-1.0, 0.0, float("nan")])
def test_a_weight_that_is_not_above_zero_cannot_be_learned_on(weight: float) -> None:
    with pytest.raises(ValueError, match="each has to start above 0"):
        Reweighted({"sig": Term(losses.sig, weight)})


@pytest.mark.parametrize("name", LOSSES)
def test_criteria_that_can_be_negative_get_no_learnt_weight(name: str) -> None:
    terms = {"sig": Term(losses.sig), "other": Term(LOSSES[name])}
    if name in ("hu", "hu_depth", "hu_gradient"):
        with pytest.raises(ValueError, match=f"^{name} can be negative"):
            Reweighted(terms)
    else:
        torch.manual_seed(0)
        target = torch.rand(1, 1, 12, 12) + 1
        assert float(LOSSES[name](target, target, everywhere(target))) >= 0
        Reweighted(terms)


def test_a_batch_is_skipped_if_no_term_finds_a_valid_pixel_where_it_looks() -> None:
    net, item = Quarter(), a_batch()
    sparse = torch.zeros_like(item.valid)
    sparse[0, 0, 5, 5] = True  # no pixel of the map is made of valid ones only
    item = Item(item.image, item.target, sparse, item.name)
    value, logs = losses.weighted({"edges": Term(losses.gradient, at="map")}, net, item)
    assert (float(value.detach()), logs) == (0, {"skipped": 1.0})
    assert "skipped" not in losses.weighted({"l1": Term(losses.l1)}, net, item)[1]
    assert Reweighted({"edges": Term(losses.gradient, at="map")})(net, item)[1] == {"skipped": 1.0}


TERMS = {"sig": Term(losses.sig), "edges": Term(losses.gradient, 0.25, "map"), "robust": Term(losses.robust, 0.2)}


def test_reweighting_starts_at_half_the_weighted_sum_and_logs_terms_and_sigmas() -> None:
    net, item = Quarter(), a_batch()
    fixed, said = losses.weighted(TERMS, net, item)
    value, logs = Reweighted(TERMS)(net, item)
    assert float(value.detach()) == pytest.approx(0.5 * float(fixed.detach()) + 3 * math.log(2), rel=1e-6)
    assert logs == said | {"sigma sig": 1.0, "sigma edges": 1.0, "sigma robust": 1.0}


def test_each_sigma_descends_to_the_root_of_its_own_equation() -> None:
    """d/ds (L / 2s^2 + ln(1 + s^2)) = 0 where 2 s^4 = L (1 + s^2): a small loss gets a small sigma, a large weight."""
    net, item = Quarter(), a_batch()
    loss = Reweighted(TERMS)
    optimizer = torch.optim.SGD(loss.parameters(), lr=0.3)
    for _ in range(100):
        optimizer.zero_grad()
        loss(net, item)[0].backward()
        optimizer.step()
    _, logs = loss(net, item)
    for name, term in TERMS.items():
        s2, value = logs[f"sigma {name}"] ** 2, term.weight * logs[name]
        assert 2 * s2**2 == pytest.approx(value * (1 + s2), rel=1e-3), name
