"""recipes.litedepth_distilled: views are drawn once, both nets look at the same ones, and only who knows something has
a say.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.tiny_scenes import render, write_folder

from leadline.core.errors import TrainingFailed
from leadline.core.storage import sha256
from leadline.core.types import Item
from leadline.data.dataset import subset
from leadline.data.layouts.detect import open_dataset
from leadline.nn import zoo
from leadline.nn.build import Net, build
from leadline.nn.checkpoint import read_provenance
from leadline.predict.predictor import predictor_of
from leadline.training.fit import Steps
from leadline.training.options import FitOptions
from recipes import litedepth_distilled
from recipes import precompute_views as drawing

SETS = {"rooms": 6, "photos": 3, "streets": 3}
SHARES = {"rooms": 2, "photos": 1, "streets": 1}


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Views of three small rooms, under the names of SETS; the photographs lose their depth."""
    root = tmp_path_factory.mktemp("distilled")
    data = open_dataset(write_folder(root / "rooms", [render(seed, size=(120, 160)) for seed in range(3)]), "all")
    folder, teacher = root / "views", drawing.Teacher()
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LEADLINE_CACHE", str(root / "cache"))
        patch.setattr(drawing, "SETS", SETS)
        for name in SETS:
            drawing.write_views(name, {name: data}, teacher, folder)
    depth = np.load(folder / "photos.depth.npy", mmap_mode="r+")
    depth[:] = 0
    depth.flush()
    return folder


def loss_of(folder: Path) -> tuple[Net, litedepth_distilled.Imitation]:
    net = build(zoo.litedepth(), seed=0)
    net.head.start_at(2.7)
    return net, litedepth_distilled.Imitation(net.encoder.channels, dict(np.load(folder / "basis.npz")))


def test_views_are_drawn_once(views: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in views.iterdir()}
    refuses: Any = None  # a teacher that cannot be asked
    drawing.write_views("rooms", {}, refuses, views)
    assert before == {path.name: path.stat().st_mtime_ns for path in views.iterdir()}


def test_both_nets_look_at_the_same_view() -> None:
    image, depth = render(0, size=(480, 640))[:2]
    sample = Item(image, depth, np.isfinite(depth), "room")
    averaged, seen = drawing._twice(sample, np.random.default_rng(3), drawing.VIEW)
    small = drawing._small(torch.from_numpy(averaged.image).permute(2, 0, 1)[None].float(), drawing.IMAGE)[0]
    assert seen.shape == (*drawing.IMAGE, 3)
    assert np.corrcoef(seen.ravel(), small.permute(1, 2, 0).numpy().ravel())[0, 1] > 0.95


@pytest.mark.slow
def test_mixed_views_are_mixed_alike_for_both_nets_and_only_the_teacher_knows_their_depth() -> None:
    n, whole = 40, drawing.WHOLE
    samples = [Item(*render(seed, size=(480, 640))[:2], np.ones((480, 640), bool), "room") for seed in range(5)]
    rng = np.random.default_rng(0)
    batch, seen = drawing._gather([drawing._twice(samples[i % 5], rng, whole) for i in range(n)])
    made, small = drawing.mixed(batch, seen, np.random.default_rng(1))
    same = (made.image == batch.image).flatten(1).all(dim=1)
    assert 0.2 * n < same.sum() < 0.6 * n
    assert torch.equal(torch.from_numpy((small == seen).reshape(n, -1).all(axis=1)), same)
    assert torch.equal(made.valid[same], batch.valid[same]) and not made.valid[~same].any()
    blended = (made.image != batch.image).flatten(1).float().mean(dim=1) > 0.8
    assert (~same & blended).any() and (~same & ~blended).any()  # blended over the whole picture, or in a rectangle
    averaged = drawing._small(made.image, drawing.IMAGE).permute(0, 2, 3, 1).numpy()
    for one, other in zip(averaged, small, strict=True):
        assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.95


@pytest.mark.slow
def test_a_batch_depends_on_its_step_alone_and_mirrors_everything_alike(views: Path) -> None:
    make = litedepth_distilled.batches(views, SHARES, 100, 0.2, seed=0)
    first = make(0)
    some = [next(first) for _ in range(4)]
    again = next(make(3))
    assert torch.equal(some[3].image, again.image) and torch.equal(some[3].hints[2], again.hints[2])
    stored = torch.from_numpy(np.load(views / "rooms.pseudo_depth.npy")).float()
    images = torch.from_numpy(np.load(views / "rooms.image.npy")).float().mean(dim=-1)
    for batch in some:
        for place in range(2):  # the rooms
            depth, grey = batch.pseudo_depth[place, 0], batch.image[place].mean(dim=0)
            found = [
                (i, turned) for i in range(6) for turned in (False, True)
                if torch.equal(stored[i].flip(-1) if turned else stored[i], depth)
            ]  # fmt: skip
            assert len(found) == 1
            i, turned = found[0]
            picture = images[i].flip(-1) if turned else images[i]
            assert np.corrcoef(picture.numpy().ravel(), grey.numpy().ravel())[0, 1] > 0.9


def test_each_view_comes_once_before_any_comes_again(views: Path) -> None:
    make = litedepth_distilled.batches(views, SHARES, 100, 0.2, seed=0)(0)
    stored = np.load(views / "rooms.pseudo_depth.npy").astype(np.float32)
    seen = [depth.numpy() for _ in range(3) for depth in next(make).pseudo_depth[:2, 0]]
    both = [[min(np.abs(s - x).max(), np.abs(s[:, ::-1] - x).max()) == 0 for s in stored] for x in seen]
    assert np.array(both).sum(axis=0).tolist() == [1] * 6


def test_photographs_have_a_teacher_only_and_streets_only_data(views: Path) -> None:
    net, loss = loss_of(views)
    batch = next(litedepth_distilled.batches(views, SHARES, 100, 0.2, seed=0)(0))
    assert batch.trusted[:, 0, 0, 0].tolist() == [True, True, True, False]
    assert batch.valid.flatten(1).any(dim=1).tolist() == [True, True, False, True]
    run = Steps(net, loss, FitOptions(steps=1, precision="no"))

    def value(changed: litedepth_distilled.TeacherBatch) -> dict[str, float]:
        logs: dict[str, float] = run.loss(run.shell.eval(), changed)[1]
        return logs

    plain = value(batch)
    other = batch.pseudo_depth.clone()
    other[3] += 5
    assert value(replace(batch, pseudo_depth=other)) == plain
    other[2] += 5
    assert value(replace(batch, pseudo_depth=other))["distilled log_l1"] != plain["distilled log_l1"]


def test_the_weight_of_the_features_falls_to_zero(views: Path) -> None:
    stream = litedepth_distilled.batches(views, SHARES, 100, 0.2, seed=0)
    assert [round(next(stream(step)).hint_weight, 3) for step in (0, 35, 70, 99)] == [0.2, 0.1, 0.0, 0.0]
    net, loss = loss_of(views)
    run = Steps(net, loss, FitOptions(steps=1, precision="no"))
    logs = run.loss(run.shell, next(stream(80)))[1]
    assert not any(name.startswith("hint") for name in logs)


def test_colours_change_as_brightness_contrast_saturation_and_balance_do_one_after_the_other() -> None:
    images = torch.randint(60, 120, (2, 6, 5, 3), dtype=torch.uint8)
    found = litedepth_distilled.recolour(images, np.random.default_rng(0))
    rng = np.random.default_rng(0)
    light, contrast, colour = (rng.uniform(1 - s, 1 + s, (2, 1, 1, 1)) for s in (0.3, 0.3, 0.4))
    gains = rng.uniform(0.9, 1.1, (2, 1, 3))[:, None]
    grey = np.array([0.299, 0.587, 0.114])
    x = images.numpy() / 255 * light
    x = (x - (middle := (x @ grey).mean(axis=(1, 2))[:, None, None, None])) * contrast + middle
    x = (x - (level := (x @ grey)[..., None])) * colour + level
    np.testing.assert_allclose(found.numpy(), (x * gains).clip(0, 1), atol=1e-5)


def test_views_drawn_otherwise_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = {"nyu": subset(open_dataset(write_folder(tmp_path / "nyu", [render(0)] * 3), "all"), [0, 1])}
    said = drawing.claim(tmp_path / "views", data)
    assert drawing.claim(tmp_path / "views", data) == said and said["frames"] == {"nyu": 2}
    monkeypatch.setattr(drawing, "WAY", 0)
    with pytest.raises(SystemExit, match="drawn with another frames, way: give another --out"):
        drawing.claim(tmp_path / "views", {"nyu": subset(data["nyu"], [0])})
    (tmp_path / "older").mkdir()
    (tmp_path / "older" / "nyu.image.npy").touch()
    with pytest.raises(SystemExit, match=r"holds views, and no drawn\.json"):
        drawing.claim(tmp_path / "older", data)


@pytest.mark.slow
def test_the_recipe_draws_trains_and_goes_on_from_its_own_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEADLINE_CACHE", str(tmp_path / "cache"))
    rooms = [render(seed, size=(60, 80)) for seed in range(4)]
    nyu = write_folder(tmp_path / "nyu", (rooms * 46)[:182])  # so many that two are validated on
    (nyu / "dataset.toml").write_text('layout = "folder"\ndepth_scale = 1000\nsplit = "train"\n')
    write_folder(tmp_path / "photos", rooms)
    monkeypatch.setattr(drawing, "SETS", {"nyu": 4, "photos": 2, "mixed": 20})
    monkeypatch.setattr(drawing, "MIXED", {"nyu": 3, "photos": 1})
    monkeypatch.setattr(litedepth_distilled, "FIRST", {"nyu": 2, "photos": 1, "mixed": 1})
    monkeypatch.setattr(litedepth_distilled, "LATER", {"mixed": 4})
    monkeypatch.setattr(litedepth_distilled, "PROTOCOL", "indoor-metric@1")  # of frames of any size
    first, again, later = tmp_path / "first", tmp_path / "again", tmp_path / "later"
    net, _ = litedepth_distilled.main(data=tmp_path, out=first, steps=2)
    weights = first / "litedepth.safetensors"
    said = read_provenance(weights)
    assert said["start"] is None and said["images"] == [["nyu train", 180], ["photos all", 4]]
    known = (np.load(first / "views" / "mixed.depth.npy") > 0).any(axis=(1, 2))
    assert 0 < known.sum() < len(known) and (np.load(first / "views" / "nyu.depth.npy") > 0).any(axis=(1, 2)).all()
    for out in (again, later):
        out.mkdir()
        (out / "views").symlink_to(first / "views")
    twin, _ = litedepth_distilled.main(data=tmp_path, out=again, steps=2)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), twin.parameters(), strict=True))  # views found
    longer, _ = litedepth_distilled.main(data=tmp_path, out=later, steps=1, lr=1e-9, start=weights)
    for a, b in zip(net.parameters(), longer.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=0.02)  # the scale is set once more
    before = read_provenance(later / "litedepth.safetensors")["start"]
    assert before.pop("sha256") == sha256(weights) and before == said
    with pytest.raises(TrainingFailed, match="start"):
        litedepth_distilled.main(
            data=tmp_path, out=later, steps=1, lr=1e-9, start=again / "litedepth.safetensors", resume=True
        )
    with pytest.raises(SystemExit, match="holds fastdepth; weights of litedepth are needed"):
        litedepth_distilled.main(data=tmp_path, out=tmp_path / "other", start=Path("fastdepth"))


def test_the_scale_is_made_that_of_the_teacher(tmp_path: Path) -> None:
    data = open_dataset(write_folder(tmp_path, [render(seed) for seed in range(3)]), "all")
    net, twin = build(zoo.litedepth(), seed=0), build(zoo.litedepth(), seed=0)
    net.head.start_at(20.0)
    twin.head.start_at(20.0)
    with torch.no_grad():
        for weights in twin.head.conv.parameters():
            weights.mul_(1.25)
    assert litedepth_distilled.scale_(net, predictor_of(twin), data) == pytest.approx(1.25, rel=1e-4)
    assert litedepth_distilled.scale_(net, predictor_of(twin), data) == pytest.approx(1, abs=1e-4)


def test_a_run_is_not_begun_anew_over_another(tmp_path: Path) -> None:
    (tmp_path / "state.safetensors").touch()
    with pytest.raises(SystemExit, match="holds a run already"):
        litedepth_distilled.main(data=tmp_path, out=tmp_path)
    with pytest.raises(SystemExit, match="hint is -1"):
        litedepth_distilled.main(data=tmp_path, out=tmp_path, hint=-1)


def test_the_shares_fill_a_batch_of_64_and_name_sets_that_are_drawn() -> None:
    assert sum(litedepth_distilled.FIRST.values()) == sum(litedepth_distilled.LATER.values()) == 64
    assert sum(drawing.MIXED.values()) == 40
    assert {*litedepth_distilled.FIRST, *litedepth_distilled.LATER, *drawing.MIXED} <= {*drawing.SETS}
