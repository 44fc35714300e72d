"""Teachers: whatever is behind them, a batch goes in and depth of a stated kind comes out."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from leadline.core.errors import BadArtefact, BadCheckpoint
from leadline.core.geometry import robust_line
from leadline.core.spec import Kind
from leadline.data.batch import Batch
from leadline.distill.options import ExternalModel, TeacherOptions
from leadline.distill.teachers import (
    Answer,
    Stated,
    Teacher,
    build_teacher,
    ensemble,
    open_teacher,
    to_metric,
    with_test_time_augmentation,
)
from leadline.distill.teachers.checkpoint import net_teacher
from leadline.nn import zoo
from leadline.nn.build import Net, build
from leadline.nn.checkpoint import save
from leadline.predict.predictor import predictor_of

pytestmark = pytest.mark.usefixtures("one_thread")


def batch(height: int = 48, width: int = 64, n: int = 2) -> Batch:
    """Noise with large shapes in it, and a ramp of depth."""
    rng = np.random.default_rng(5)
    coarse = torch.from_numpy(rng.random((n, 3, 6, 8), np.float32))
    image = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bilinear")
    target = torch.linspace(1, 4, width).expand(n, 1, height, width).clone()
    return Batch(image, target, torch.ones_like(target, dtype=torch.bool), tuple(f"frames/{i:03d}" for i in range(n)))


def says(depth: Callable[[Batch], Tensor], kind: Kind = "metric", name: str = "made up") -> Teacher:
    return Teacher(name, kind, depth)


def litedepth(size: tuple[int, int] = (64, 96), resize: str = "bilinear") -> Net:
    spec = zoo.litedepth()
    how = replace(spec.preprocess, size=size, resize=resize, back=None)  # type: ignore[arg-type]
    net = build(replace(spec, preprocess=how), seed=4).eval()
    net.head.start_at(2.5)
    return net


@pytest.mark.parametrize("resize", ["bilinear", "nearest", "corners"])
def test_a_net_says_what_predict_says(resize: str) -> None:
    net, seen = litedepth(resize=resize), batch(121, 151, 1)
    frame = (seen.image[0].permute(1, 2, 0) * 255).round().to(torch.uint8)
    seen = replace(seen, image=frame.permute(2, 0, 1)[None].float() / 255)
    answer, depth = net_teacher(net)(seen), predictor_of(net)(frame.numpy())
    assert answer.depth[0, 0].numpy() == pytest.approx(depth.values, rel=0.02)  # pillow rounds to grey levels
    assert torch.equal(answer.confidence, torch.ones_like(answer.depth))


def test_outside_of_what_a_net_looks_at_it_says_nothing() -> None:
    net = litedepth()
    net.spec = replace(net.spec, preprocess=replace(net.spec.preprocess, view=(0.5, 0.75)))
    depth, confidence, _ = net_teacher(net)(batch())
    known = torch.isfinite(depth)
    assert known[:, :, 12:36, 8:56].all() and int(known.sum()) == 2 * 24 * 48
    assert torch.equal(confidence > 0, known)


def test_a_checkpoint_knows_its_hash_and_licences(tmp_path: Path) -> None:
    path = save(litedepth(), tmp_path / "net.safetensors", provenance={"licences": ["for tests only"]})
    teacher = open_teacher(path)
    assert teacher.facts["licences"] == ["for tests only"] and len(teacher.facts["sha256"]) == 64
    assert teacher.kind == "metric" and teacher.net is not None


def test_the_mean_over_mirrored_pictures_does_not_depend_on_the_side() -> None:
    teacher, seen = with_test_time_augmentation(net_teacher(litedepth())), batch()
    mirrored = teacher(replace(seen, image=seen.image.flip(-1)))
    for a, b in zip(teacher(seen)[:2], mirrored[:2], strict=True):
        assert torch.allclose(a, b.flip(-1), atol=1e-5)


def test_what_is_enlarged_looks_nearer_and_counts_as_much_as_the_whole() -> None:
    """A teacher that measures: the mean brightness of a picture, divided by how large its texture looks."""

    def size_of_texture(seen: Batch) -> Tensor:
        steps = seen.image.mean(1, keepdim=True).diff(dim=-1).abs().mean((1, 2, 3), keepdim=True)
        return (100 * steps).expand(-1, 1, *seen.image.shape[2:])

    fine = torch.arange(64).remainder(8).ge(4).float().expand(1, 3, 48, 64)  # stripes: the same everywhere
    seen = replace(batch(n=1), image=fine)
    plain, zoomed = (
        with_test_time_augmentation(says(size_of_texture), flip=False, zooms=z)(seen) for z in ((1.0,), (1.0, 2.0))
    )
    assert torch.allclose(plain.depth, zoomed.depth, rtol=0.1)
    assert zoomed.confidence.min() > 0.9


def test_confidence_is_lower_where_the_answers_differ() -> None:
    def left_is_unsure(seen: Batch) -> Tensor:
        return 1 + seen.image[:, :1] * torch.linspace(1, 0, seen.image.shape[-1])

    answer = with_test_time_augmentation(says(left_is_unsure))(batch())
    assert answer.confidence.min() < 0.95 and ((answer.confidence >= 0) & (answer.confidence <= 1)).all()


def test_several_teachers_give_their_weighted_mean() -> None:
    one, two = says(lambda s: s.target), says(lambda s: 3 * s.target, name="other")
    seen = batch()
    assert torch.allclose(ensemble([one, two])(seen).depth, 2 * seen.target)
    assert torch.allclose(ensemble([one, two], [3, 1])(seen).depth, 1.5 * seen.target)


def test_where_one_says_nothing_the_others_are_heard() -> None:
    half = says(lambda s: torch.where(s.target > 2, s.target, torch.nan))
    seen = batch()
    assert torch.allclose(ensemble([half, says(lambda s: s.target)])(seen).depth, seen.target)
    depth, confidence, _ = ensemble([half, half])(seen)
    assert torch.equal(torch.isnan(depth), seen.target <= 2) and (confidence[torch.isnan(depth)] == 0).all()


def test_who_says_the_opposite_is_not_heard_and_nobody_is_then_sure() -> None:
    one = says(lambda seen: seen.image[:, :1], "relative_disparity")
    other = says(lambda seen: -seen.image[:, :1], "relative_disparity")
    depth, confidence, _ = ensemble([one, other])(batch())
    assert torch.equal(depth, batch().image[:, :1]) and torch.allclose(confidence, torch.tensor(0.5))


def test_where_the_first_says_nothing_relative_answers_of_the_others_are_heard() -> None:
    silent = says(lambda seen: torch.full_like(seen.image[:, :1], torch.nan), "relative_depth")
    good = says(lambda seen: seen.image[:, :1] + 1, "relative_depth")
    for teachers in ([silent, good], [good, silent]):
        assert torch.equal(ensemble(teachers)(batch()).depth, batch().image[:, :1] + 1)


def test_what_each_of_several_doubts_of_itself_counts() -> None:
    """s^2 adds up as variances do: a teacher asked twice is as sure as once, and two that differ are less so."""

    def doubting(factor: float, s: float, name: str) -> Teacher:
        def ask(seen: Batch) -> Answer:
            return Answer(factor * seen.target, torch.full_like(seen.target, math.exp(-s)))

        return Teacher(name, "metric", ask)

    one, far = doubting(1.0, 0.3, "a"), doubting(math.exp(0.8), 0.3, "b")
    assert ensemble([one, one])(batch()).confidence.allclose(torch.tensor(math.exp(-0.3)))
    middle = (1 + math.exp(0.8)) / 2
    between = (math.log(middle) ** 2 + (0.8 - math.log(middle)) ** 2) / 2
    assert ensemble([one, far])(batch()).confidence.allclose(torch.tensor(math.exp(-math.sqrt(between + 0.09))))


def test_who_of_several_says_nothing_is_named() -> None:
    silent = says(lambda s: torch.full_like(s.target, torch.nan), name="silent")
    assert ensemble([says(lambda s: s.target), silent])(batch()).abstained == ("silent",)
    assert ensemble([says(lambda s: s.target)])(batch()).abstained == ()


def test_a_mean_of_kinds_has_no_meaning() -> None:
    metric, relative = says(lambda s: s.target), says(lambda s: 1 / s.target, "relative_disparity", "midas")
    with pytest.raises(ValueError, match=r"midas gives relative_disparity: their mean has no meaning"):
        ensemble([metric, relative])


@pytest.mark.parametrize("kind", ["relative_depth", "relative_disparity"])
def test_relative_answers_of_other_scales_agree(kind: Kind) -> None:
    """A mirrored picture gives another scale (and shift); the mean is taken after these are fitted."""
    shift = 0.4 if kind == "relative_disparity" else 0.0

    def answer(seen: Batch) -> Tensor:
        own = 1 + seen.image[:, :1]
        return torch.where(seen.image[:, :1, :1, :1] > seen.image[:, :1, :1, -1:], 3 * own + shift, own)

    depth, confidence, _ = with_test_time_augmentation(says(answer, kind))(batch())
    assert confidence.min() > 0.999 and torch.isfinite(depth).all()


@pytest.mark.parametrize("kind", ["relative_depth", "relative_disparity"])
def test_a_relative_teacher_finds_metres_in_spite_of_a_third_of_wrong_ones(kind: Kind) -> None:
    seen = batch()
    right = seen.target if kind == "relative_depth" else 1 / seen.target

    def answer(_: Batch) -> Tensor:
        return 7 * right + 2

    wrong = seen.target.clone()
    wrong[..., :16, :] = 9.0
    depth = to_metric(says(answer, kind))(replace(seen, target=wrong)).depth
    assert torch.allclose(depth, seen.target, rtol=1e-3)


def test_a_scale_may_come_from_the_data_a_metric_teacher_or_somebody() -> None:
    seen = batch()
    relative = says(lambda s: 2 / s.target + 1, "relative_disparity")
    sparse = replace(seen, valid=torch.zeros_like(seen.valid))
    sparse.valid[:, :, 24, :] = True
    for made, asked_about in (
        (to_metric(relative), sparse),
        (to_metric(relative, says(lambda s: seen.target)), sparse),
        (to_metric(relative, Stated(0.5, -0.5)), sparse),
    ):
        assert made.kind == "metric"
        assert torch.allclose(made(asked_about).depth, seen.target, rtol=1e-3)


def test_without_a_scale_or_upside_down_nothing_is_said() -> None:
    seen = batch()
    relative = says(lambda s: 1 / s.target, "relative_disparity")
    few = replace(seen, valid=torch.zeros_like(seen.valid))
    few.valid[0, 0, 0, :20] = True
    assert torch.isnan(to_metric(relative)(few).depth).all()
    upside_down = says(lambda s: s.target, "relative_disparity", "it gives depth")
    assert torch.isnan(to_metric(upside_down)(seen).depth).all()


def test_metric_teachers_need_no_reference_and_relative_ones_give_none() -> None:
    metric, relative = says(lambda s: s.target), says(lambda s: s.target, "relative_depth", "pydnet")
    with pytest.raises(ValueError, match=r"gives metres already"):
        to_metric(metric)
    with pytest.raises(ValueError, match=r"pydnet gives relative_depth; a metric teacher is needed"):
        to_metric(relative, relative)
    with pytest.raises(ValueError, match=r"scale is -1"):
        Stated(-1)


def test_a_robust_line_is_the_line_of_the_many() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 5, 400)
    y = 0.3 * x + 1 + rng.normal(0, 0.01, 400)
    y[:130] = rng.uniform(-20, 20, 130)
    assert robust_line(x, y) == pytest.approx((0.3, 1.0), abs=5e-3)
    assert robust_line(np.ones(9), np.arange(9.0)) == (0.0, 4.0)
    assert robust_line(x, 2 * x - 3) == pytest.approx((2.0, -3.0))
    with pytest.raises(ValueError, match=r"N at least 2"):
        robust_line(np.ones(1), np.ones(1))


def test_an_answer_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"gave \(2, 1, 24, 32\) for pictures that need \(2, 1, 48, 64\)"):
        says(lambda s: s.target[..., ::2, ::2])(batch())


def test_words_that_name_no_teacher(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no net")
    with pytest.raises(ValueError, match=r"is no teacher; a net that ships"):
        open_teacher(tmp_path / "notes.txt")
    with pytest.raises(BadArtefact, match=r"there is no file"):
        open_teacher(tmp_path / "none.onnx")
    with pytest.raises(BadCheckpoint, match=r"neither a file nor a net that ships"):
        open_teacher("none.safetensors")
    with pytest.raises(ValueError, match=r"teacher is empty"):
        build_teacher(TeacherOptions())
    with pytest.raises(ValueError, match=r"metric already"):
        build_teacher(TeacherOptions(teacher=("litedepth",), metric="truth"))


def test_options_that_would_mean_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"weights are \(3.0,\), and there is one teacher"):
        build_teacher(TeacherOptions(teacher=("litedepth",), weights=(3.0,)))
    with pytest.raises(ValueError, match=r"metric is '0.5,0,7'; SCALE or SCALE,SHIFT"):
        build_teacher(
            TeacherOptions(
                teacher=(str(save(build(zoo.monodepth_pruned(), seed=0), tmp_path / "r.safetensors")),),
                metric="0.5,0,7",
            )
        )
    with pytest.raises(ValueError, match=r"is no teacher and no file or folder"):
        build_teacher(TeacherOptions(teacher=(str(tmp_path / "nothing"),)))
    with pytest.raises(ValueError, match=r"litedepth: all is known without what --external says; leave it out"):
        build_teacher(TeacherOptions(teacher=("litedepth",), external=ExternalModel(size=(10, 10))))


def test_what_several_options_make(tmp_path: Path) -> None:
    paths = [save(litedepth(), tmp_path / f"{n}.safetensors", provenance={"licences": [n]}) for n in "ab"]
    made = build_teacher(TeacherOptions(teacher=tuple(map(str, paths)), weights=(2, 1), flip=True))
    assert made.facts["licences"] == ["a", "b"]
    assert [(t["weight"], t["test_time_augmentation"]["flip"]) for t in made.facts["ensemble"]] == [
        (2, True),
        (1, True),
    ]
    assert json.loads(json.dumps(made.facts)) == made.facts
    assert torch.allclose(
        made(batch()).depth, with_test_time_augmentation(open_teacher(paths[0]))(batch()).depth, rtol=1e-4
    )
