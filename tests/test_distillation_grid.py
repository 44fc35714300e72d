"""The grid changes one thing at a time, and leaves out what it says it leaves out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from leadline.distill.feature_loss import listening
from leadline.distill.options import Distillation
from leadline.nn import zoo
from leadline.nn.build import Net, build
from leadline.nn.checkpoint import load, origin, save
from leadline.nn.pretrained.gluon import read_gluon
from leadline.pipelines.training_data import shares
from leadline.training.options import Training
from recipes import blend_images, distillation_grid, evaluate_students, litedepth_start, seed_table, teacher

pytestmark = pytest.mark.usefixtures("one_thread")


def test_every_row_is_known() -> None:
    assert {*distillation_grid.ROWS, *distillation_grid.FURTHER} == set(distillation_grid.SHARES)


@pytest.mark.parametrize("row", distillation_grid.ROWS)
def test_every_row_fills_its_batch_and_none_sees_the_places_left_out(row: str) -> None:
    truth, only = distillation_grid.SHARES[row]
    assert sum(truth.values()) + sum(only.values()) == 12
    assert not {*truth, *only} & {*evaluate_students.PLACES, *evaluate_students.PLACES.values()}
    assert {*truth, *only} <= {*distillation_grid.SETS, "drive"}
    assert set(only) <= set(distillation_grid.SETS) and not set(truth) & set(only)


def test_rows_are_what_the_paper_calls_them() -> None:
    assert [set(distillation_grid.SHARES[row][0]) for row in ("alone", "labelled")] == [{"nyu"}, {"nyu"}]
    assert not distillation_grid.SHARES["unlabelled"][0] and set(distillation_grid.SHARES["both"][0]) == {"nyu"}
    assert not distillation_grid.SHARES["mixed"][1] and "nyu_raw" in distillation_grid.SHARES["mixed"][0]


@pytest.mark.parametrize("left", distillation_grid.PLACES)
def test_in_turn_each_place_is_left_out_of_what_is_learned(left: str) -> None:
    truth, only = distillation_grid.SHARES[f"but_{left}"]
    assert {*distillation_grid.PLACES} - {*only} == {left} and set(truth) == {"nyu"}
    assert sum(truth.values()) + sum(only.values()) == 12


def test_what_ships_has_not_seen_the_places_it_is_judged_by() -> None:
    truth, only = distillation_grid.SHARES["shipped"]
    assert sum(truth.values()) + sum(only.values()) == 12 and not {*truth, *only} & set(distillation_grid.PLACES)


def test_everywhere_the_places_have_their_own_depth_alone(shared_data: Path, tmp_path: Path) -> None:
    run, net, teaching = distillation_grid.run_of(
        "litedepth", "everywhere", shared_data, tmp_path, tmp_path, tmp_path, tmp_path, tmp_path / "x", 0
    )
    assert (
        run.pretrained
        and net is None
        and teaching is not None
        and set(distillation_grid.PLACES.values()) - set(run.licences) == {distillation_grid.PLACES["robot"]}
    )
    assert sum(shares((*run.data, *teaching.unlabelled), run.batch)[1]) == run.batch == 24
    assert {path.name for path in teaching.labels} == {"nyu", "nyu_raw", "mixtures", "photos"}


def test_a_cell_is_a_run_with_its_own_folder_and_seed(shared_data: Path, tmp_path: Path) -> None:
    start = build(zoo.litedepth(), seed=7)
    save(start, tmp_path / "litedepth.safetensors", provenance={"licences": ["the start's"]})
    runs = {
        row: distillation_grid.run_of(
            "litedepth", row, shared_data, tmp_path / "rooms", tmp_path, tmp_path, tmp_path, tmp_path / row, seed=3
        )
        for row in ("first", *distillation_grid.ROWS)
    }
    assert {row for row, (_, _, teaching) in runs.items() if teaching is None} == {"first", "alone", "mixed"}
    for training, net, teaching in runs.values():
        unlabelled = () if teaching is None else teaching.unlabelled
        assert sum(shares((*training.data, *unlabelled), training.batch)[1]) == training.batch == 24
        assert training.fit.seed == 3 and (net is None or net.spec.name == "litedepth")
    training, net, _ = runs.pop("first")
    assert all(torch.equal(a, b) for a, b in zip(net.encoder.parameters(), start.encoder.parameters(), strict=True))
    given = zip(net.decoder.parameters(), start.decoder.parameters(), strict=True)
    assert any(not torch.equal(a, b) for a, b in given), "the decoder is drawn anew"
    assert training.licences == (distillation_grid.SETS["nyu"], "the start's")
    for training, net, _ in runs.values():
        assert net is None and training.model == str(tmp_path / "litedepth_first" / "litedepth.safetensors")
    (fit,) = {training.fit for training, _, _ in runs.values()}  # each row sees as many images
    assert fit.lr == training.fit.lr


def test_a_cell_goes_on_from_the_same_cell_of_another_grid(shared_data: Path, tmp_path: Path) -> None:
    cell, cell_before = tmp_path / "long" / "litedepth_both_3", tmp_path / "short" / "litedepth_both_3"
    training, net, _ = distillation_grid.run_of(
        "litedepth", "both", shared_data, tmp_path / "rooms", tmp_path, tmp_path, tmp_path, cell, 3, cell_before
    )
    assert training.out == cell and net is None
    assert training.model == str(tmp_path / "short" / "litedepth_both_3" / "litedepth.safetensors")


def test_flags_change_what_they_name_and_nothing_else(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Training, Net | None, Distillation]] = []
    monkeypatch.setattr(distillation_grid, "train", lambda *given: asked.append(given))
    for flags in ({}, {"truth": 1.0, "zoom": 1.0, "steps": 7}):
        distillation_grid.main(
            "both", data=shared_data, rooms=tmp_path, out=tmp_path, after=tmp_path / "short", **flags
        )
    (row, _, said), (other, _, told) = asked
    assert (said.label_weight, told.label_weight) == (Distillation.label_weight, 1) and told == replace(
        said, label_weight=1.0
    )
    assert other == replace(row, fit=replace(row.fit, steps=7), view=replace(row.view, zoom=(1.0, 1.0)))


def test_a_flag_that_would_do_nothing_is_refused(shared_data: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="alone has no teacher, so all of its loss is the images' own depth"):
        distillation_grid.main(
            "alone", data=shared_data, rooms=tmp_path, out=tmp_path, after=tmp_path / "short", truth=1.0
        )
    with pytest.raises(SystemExit, match="--after goes on from another"):
        teacher.main("mobilenet", data=shared_data, rooms=tmp_path, out=tmp_path, steps=0, after=tmp_path / "x")


def test_what_only_ships_has_no_cell(shared_data: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="both of fastdepth: it has only the rows shipped and everywhere"):
        distillation_grid.run_of(
            "fastdepth", "both", shared_data, tmp_path, tmp_path, tmp_path, tmp_path, tmp_path / "x", 0
        )


@pytest.mark.slow
def test_the_small_student_has_the_shape_that_pruning_left_and_the_teachers_channels(tmp_path: Path) -> None:
    whole = build(replace(zoo.fastdepth(), name="teacher_fastdepth"), seed=1)
    save(whole, tmp_path / "fastdepth" / "teacher_fastdepth.safetensors", provenance={})
    net, _ = distillation_grid.fastdepth_small(tmp_path, tmp_path, 0)
    shipped, given = load("fastdepth_small").state_dict(), whole.state_dict()
    assert {k: v.shape for k, v in net.state_dict().items()} == {k: v.shape for k, v in shipped.items()}
    stem, wide = (weights["encoder.blocks.0.0.weight"] for weights in (net.state_dict(), given))
    assert all(any(torch.equal(kernel, one) for one in wide) for kernel in stem)


def test_the_papers_student_starts_from_an_encoder_that_knows_depth(tmp_path: Path) -> None:
    other = build(zoo.boosting_student(), seed=1)
    save(other, tmp_path / "mobilenet" / "teacher_mobilenet.safetensors", provenance={})
    net, _ = distillation_grid.boosting_student(tmp_path, tmp_path, 0)
    assert all(torch.equal(a, b) for a, b in zip(net.encoder.parameters(), other.encoder.parameters(), strict=True))


@pytest.mark.slow
def test_a_student_that_begins_as_the_papers_do_knows_imagenet_and_no_depth(shared_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "mobilenet"
    teacher.main("mobilenet", data=shared_data, rooms=tmp_path / "none", out=out, steps=0)
    net, source = distillation_grid.boosting_student(tmp_path, tmp_path, 0)
    given = read_gluon(shared_data / "init" / "mobilenetv2_imagenet.safetensors").values()
    kernels = [p for p in net.encoder.parameters() if p.ndim == 4][1:]  # the first imitates two
    assert all(any(p.shape == one.shape and torch.equal(p, one) for one in given) for p in kernels)
    assert origin(source)["licences"] == [teacher.LICENCES[0]]


@pytest.mark.slow
def test_a_teachers_early_layers_stay_as_imagenet_made_them(shared_data: Path) -> None:
    spec, weights = teacher.resnet50(shared_data / "init")
    net = teacher.start(spec, weights, shared_data, 0)
    frozen = {name for name, p in net.named_parameters() if not p.requires_grad}
    assert frozen and all(name.startswith(("encoder.stem.", "encoder.stages.0.")) for name in frozen)
    assert 1 < float(net.eval()(torch.full((1, 3, 224, 288), 0.5)).mean().detach()) < 5


def test_a_teacher_is_judged_as_a_net_is(shared_data: Path) -> None:
    from leadline.distill.teachers import open_teacher
    from leadline.predict.predictor import load_predictor

    image = np.random.default_rng(0).integers(0, 255, (128, 160, 3), np.uint8)
    depth = evaluate_students.looking(open_teacher("litedepth"))(image)
    assert depth.values == pytest.approx(load_predictor("litedepth")(image).values, rel=1e-3)
    assert depth.kind == "metric"


def test_the_start_of_litedepth_compares_layers_of_one_scale() -> None:
    assert set(litedepth_start.SHARES) <= set(distillation_grid.SETS), "no place that is left out has a part in it"
    seen = []
    for which, name in enumerate(("litedepth", "boosting_student")):
        net = build(zoo.spec(name), seed=0).eval()
        blocks = [f"encoder.blocks.{pair[which]}" for pair in litedepth_start.PAIRS]
        with torch.no_grad(), listening(net, blocks) as heard:
            net.encoder(torch.zeros(1, 3, 128, 160))
        seen.append([tuple(m.shape[-2:]) for m in heard()])
    assert seen[0] == seen[1] == [(32, 40), (16, 20), (8, 10), (4, 5)]


@pytest.mark.parametrize("seed", range(20))
def test_a_mixture_shows_both_pictures_and_nothing_else(seed: int) -> None:
    one, other = (np.random.default_rng(i).integers(0, 256, (24, 32, 3), np.uint8) for i in (1, 2))
    made = blend_images.mixture(one, other, np.random.default_rng(seed))
    low, high = np.minimum(one, other), np.maximum(one, other)
    assert made.dtype == np.uint8 and (low <= made).all() and (made <= high).all()
    away = [np.abs(made.astype(int) - picture).sum(2) for picture in (one, other)]
    if not (away[0] * away[1]).any():  # each pixel is one's or the other's, these in one rectangle
        rows, columns = np.nonzero(away[0])
        assert (made[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] == other[
            rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]).all()  # fmt: skip
        assert 0.08 < len(rows) / away[0].size < 0.65
    else:
        weight = (made.astype(float) - other)[one != other] / (one.astype(float) - other)[one != other]
        assert 0.14 < np.median(weight) < 0.86


def test_mixtures_are_the_same_pictures_again(shared_data: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        blend_images.main(data=shared_data, out=tmp_path / name, n=2)
    files = [sorted((tmp_path / name).iterdir()) for name in ("a", "b")]
    assert [f.read_bytes() for f in files[0]] == [f.read_bytes() for f in files[1]] and len(files[0]) == 2


def test_what_is_judged_already_is_not_judged_again_unless_it_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate_students, "evaluated", lambda *_: {"nyu": {"delta1": 0.5}})
    file, out = tmp_path / "litedepth.safetensors", tmp_path / "judged.jsonl"
    for seed in (0, 1):
        save(build(zoo.litedepth(), seed=seed), file, provenance={})
        for _ in range(2):
            evaluate_students.main((str(file),), data=tmp_path, out=out)
    assert len(out.read_text().splitlines()) == 2


def test_seeds_of_one_cell_are_put_together_and_other_folders_are_not() -> None:
    names = (
        "grid/litedepth_alone_0",
        "grid/litedepth_alone_1",
        "grid/fastdepth_small_first",
        "other/litedepth_alone_2",
    )
    files = [f"runs/{name}/x.safetensors" for name in names]
    others = (f"{files[0]} flip", f"{files[0]}+{files[1]}", f"{files[1]} (validation split)")
    lines = [json.dumps({"model": name, "nyu": {"delta1": 0.6 + i / 10}}) for i, name in enumerate((*files, *others))]
    found = seed_table.cells(lines, "runs/grid")
    assert {cell: len(facts) for cell, facts in found.items()} == {
        ("fastdepth_small", "first"): 1, ("litedepth", "alone"): 2,
    }  # fmt: skip
    assert seed_table.said([facts["nyu"]["delta1"] for facts in found["litedepth", "alone"]]) == "0.650 ± 0.050"
    assert seed_table.said([0.8]) == "0.800"
