"""What a run is made of follows from its description: in any process, and for a net that is given."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch
from support.tiny_scenes import render, write_folder

from leadline.cli.train import run_training as train
from leadline.data.dataset import hold_out
from leadline.data.options import Reading, View
from leadline.nn import zoo
from leadline.nn.build import Net, build
from leadline.pipelines.training_setup import Parts, parts
from leadline.training.fit import fit, moved
from leadline.training.options import FitOptions, Training

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("rooms"), [render(seed, size=(72, 96)) for seed in range(5)])


@pytest.fixture
def run(rooms: Path, tmp_path: Path) -> Training:
    """Two steps on views of four rooms of five."""
    options = FitOptions(steps=2, precision="no", log_every=1)
    view = View(size=(64, 96))
    return Training(
        data=(str(rooms),),
        out=tmp_path / "run",
        model="litedepth",
        batch=2,
        val_every=0,
        workers=0,
        view=view,
        fit=options,
    )


def small(size: tuple[int, int]) -> Net:
    """A net whose photographs are brought to `size`."""
    spec = zoo.spec("litedepth")
    return build(replace(spec, preprocess=replace(spec.preprocess, size=size)), seed=3)


def first_batch(make: Callable[[], Parts]) -> list[np.ndarray]:
    """Image, depth, validity and names of a run's first batch, and the first weights of its start."""
    made = make()
    batch = moved(next(made.loading(workers=0)(0)), torch.device("cpu"), False, made.finish)
    weight = next(made.net.parameters()).detach()
    return [batch.image.numpy(), batch.target.numpy(), batch.valid.numpy(), np.array(batch.name), weight.numpy()]


@pytest.mark.parametrize("augment", ["workers", "device"])
@pytest.mark.slow
def test_another_process_makes_the_same_batches(run: Training, augment: str) -> None:
    make = partial(parts, replace(run, augment=augment, data=(run.data[0], run.data[0]), batch=4))
    assert pickle.loads(pickle.dumps(make)).args == make.args
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        there = pool.submit(first_batch, make).result()
    for a, b in zip(first_batch(make), there, strict=True):
        assert a.size and np.array_equal(a, b)


def test_fitting_the_parts_is_what_train_does(run: Training) -> None:
    run = replace(run, epochs=1.5)
    made = parts(run)
    assert (made.options.steps, made.workers, made.validation, made.validate, made.finish) == (3, 0, None, None, None)
    assert made.facts["images"] == [[f"{Path(run.data[0]).name} train", 4]]  # the fifth is the test part
    ours, _ = fit(made.net, made.loading(workers=made.workers), made.loss, made.options)
    theirs, _ = train(run)
    assert ours.spec == theirs.spec
    for a, b in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_a_given_net_is_the_start_as_it_is_and_at_its_own_size(run: Training, tmp_path: Path) -> None:
    net = small((48, 64))
    before = [p.detach().clone() for p in net.parameters()]
    made = parts(replace(run, model="fastdepth", pretrained=True, init=tmp_path / "none"), net)
    assert made.net is net and net.spec.preprocess.size == (48, 64)
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))
    assert made.facts["training"]["view"]["size"] == [48, 64]
    assert next(made.loading(workers=0)(0)).image.shape == (2, 3, 48, 64)
    whole = replace(run, transform="litedepth", r2crop=replace(run.r2crop, crop=False))
    assert next(parts(whole, net).loading(workers=0)(0)).image.shape == (2, 3, 48, 64)


def test_a_list_of_a_fixed_size_is_refused_for_a_net_of_another(run: Training) -> None:
    hu = replace(run, transform="hu")
    with pytest.raises(ValueError, match=r"images of 228x304, and litedepth is a net for 48x64; --transform view"):
        parts(hu, small((48, 64)))
    assert next(parts(hu, small((228, 304))).loading(workers=0)(0)).image.shape == (2, 3, 228, 304)


def test_a_given_net_that_learns_from_pairs_gives_metres_at_its_own_size(run: Training, tmp_path: Path) -> None:
    from support.stereo_drive import narrow, write_drive

    write_drive(tmp_path / "drive")
    net = build(replace(narrow(), preprocess=replace(narrow().preprocess, size=(32, 64))), seed=0)
    plain = Training(
        data=(str(tmp_path / "drive"),), out=run.out, loss=("stereo",), batch=2, val_every=0, workers=0, fit=run.fit
    )
    made = parts(replace(plain, stereo=replace(plain.stereo, size=(64, 128))), net)
    assert net.spec.head.kind == "relative_disparity"
    assert (made.net.spec.head.kind, made.net.spec.preprocess.size) == ("metric", (32, 64))
    assert all(torch.equal(a, b) for a, b in zip(made.net.parameters(), net.parameters(), strict=True))
    assert next(made.loading(workers=0)(0)).image.shape == (2, 3, 32, 64)


def test_the_validation_split_is_never_learned_from(run: Training, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leadline.pipelines.training_data.hold_out", partial(hold_out, block=1))
    made = parts(replace(run, val_every=2))
    assert made.validation is not None and made.validate is not None
    kept = {made.validation[i].name for i in range(len(made.validation))}
    batches = made.loading(workers=0)(0)
    learned = {name for _ in range(6) for name in next(batches).name}
    assert (len(kept), len(learned)) == (2, 2) and not kept & learned
    assert made.validate(made.net, 1).keys() >= {"delta1", "rmse"}
    assert (run.out / "pictures" / "000001.jpg").is_file()


def test_who_asks_is_told_that_there_is_no_validation(run: Training, capfd: pytest.CaptureFixture[str]) -> None:
    told: list[str] = []
    two = replace(run, reading=Reading(test_fraction=0.6), batch=1)
    made = parts(replace(two, val_every=10, cache_gb=0), say=told.append)
    assert made.validation is None and len(told) == 1 and told[0].endswith("there is no validation")
    parts(replace(run, val_every=10, cache_gb=0))
    assert capfd.readouterr().err == ""
