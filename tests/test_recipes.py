"""The recipes hold the published numbers, and the ablation changes one thing at a time."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from leadline.core.types import Depth, Item
from leadline.data.options import R2Crop
from leadline.training.options import Training
from recipes import ablations, boosting, litedepth, monodepth, scale

DATA, OUT = Path("data"), Path("out")


def different(a: Training, b: Training) -> set[str]:
    """The options in which two runs differ, but for where they go."""
    return {key for key, value in asdict(a).items() if asdict(b)[key] != value} - {"out"}


def test_litedepth_s_published_training_has_its_published_numbers() -> None:
    run = litedepth.published(DATA, OUT, OUT)
    assert (run.model, run.batch, run.epochs, run.transform, run.weighting) == (
        "litedepth", 32, 650, "litedepth", "fixed",
    )  # fmt: skip
    assert run.loss == ("sig:1", "gradient:0.25@map", "virtual_normal:2.5@map", "robust:0.6")
    assert run.r2crop == R2Crop()
    fit = run.fit
    assert (fit.optimizer, fit.lr, fit.betas, fit.eps, fit.weight_decay) == ("adam", 4e-3, (0.9, 0.999), 1e-3, 0)
    assert (fit.schedule, fit.power, fit.lr_end, fit.warmup, fit.warmup_from) == ("poly", 0.9, 0.25, 1500, 1e-4)
    assert fit.clip == 35


def test_its_dynamic_form_starts_on_the_published_weights() -> None:
    run = litedepth.dynamic(DATA, OUT, OUT)
    assert different(run, litedepth.published(DATA, OUT, OUT)) == {"loss", "weighting"}
    assert [float(loss.partition(":")[2].partition("@")[0]) for loss in run.loss] == [1, 0.25, 2.5, 0.2]


def test_half_size_frames_are_cut_in_the_published_proportions() -> None:
    half, whole = litedepth.HALF, R2Crop()
    assert half.image == whole.image
    for a, b in zip(half.sizes, whole.sizes, strict=True):
        assert [2 * n for n in a] == list(b)


def test_the_shares_of_the_training_on_everything_fill_its_batch() -> None:
    from leadline.pipelines.training_data import shares

    run = litedepth.everything(DATA, OUT, OUT)
    assert sum(shares(run.data, run.batch)[1]) == run.batch == 32


def test_boosting_s_student_trains_as_hu_et_al_do() -> None:
    run = boosting.published(DATA, OUT)
    assert (run.batch, run.epochs, run.loss, run.transform) == (8, 20, ("hu@map",), "hu")
    fit = run.fit
    assert (fit.optimizer, fit.lr, fit.weight_decay, fit.schedule, fit.step_every) == ("adam", 1e-4, 1e-4, "step", 0.25)


def test_monodepth_s_published_training_has_its_published_numbers() -> None:
    run = monodepth.published(DATA, OUT, OUT)
    assert (run.model, run.batch, run.epochs, run.loss) == ("monodepth_vgg", 8, 50, ("stereo",))
    fit, how = run.fit, run.stereo
    assert (fit.optimizer, fit.lr, fit.weight_decay, fit.schedule) == ("adam", 1e-4, 0, "halve")
    assert (how.ssim, how.smoothness, how.consistency, how.scales, how.size) == (0.85, 0.1, 1.0, 4, None)
    assert (how.flip, how.colours) == (0.5, 0.5)
    assert (how.gamma, how.brightness, how.tint) == ((0.8, 1.2), (0.5, 2.0), (0.8, 1.2))


def test_monodepth_s_ablation_changes_one_thing_at_a_time() -> None:
    whole = monodepth.pruned(DATA, OUT, OUT)
    assert different(whole, monodepth.drive(DATA, OUT, OUT)) == {"model"}
    for run in (monodepth.no_consistency, monodepth.no_smoothness, monodepth.one_scale):
        changed = run(DATA, OUT, OUT)
        assert different(changed, whole) == {"stereo"}
        fields = asdict(whole.stereo)
        assert sum(value != fields[key] for key, value in asdict(changed.stereo).items()) == 1


def test_each_run_of_the_ablation_changes_what_its_name_says() -> None:
    table = ablations.runs(DATA, OUT, 100, 0)
    whole = table["all"]
    names = [loss.partition(":")[0] for loss in whole.loss]
    assert different(table["no crop"], whole) == {"r2crop"} and not table["no crop"].r2crop.crop
    for name in names:
        assert different(table[f"without {name}"], whole) == {"loss"}
        assert set(whole.loss) - set(table[f"without {name}"].loss) == {
            loss for loss in whole.loss if loss.startswith(f"{name}:")
        }
    assert table["sig only"].loss == whole.loss[:1]
    assert different(table["dynamic"], whole) == {"loss", "weighting"}
    assert different(table["all weights 1, dynamic"], table["all weights 1"]) == {"weighting"}
    assert table["all weights 1"].loss == ("sig:1", "gradient:1@map", "virtual_normal:1@map", "robust:1")
    assert len({run.out for run in table.values()}) == len(table)
    assert {run.fit.steps for run in table.values()} == {100}


def test_seeds_change_the_seed_only() -> None:
    for name, run in ablations.runs(DATA, OUT, 100, 0).items():
        other = ablations.runs(DATA, OUT, 100, 1)[name]
        assert different(run, other) == {"fit"} and run.out != other.out
        assert (run.fit.seed, other.fit.seed) == (0, 1)


def result(delta1: float, steps: int = 100) -> dict[str, Any]:
    figures = {"delta1": delta1, "abs_rel": 0.2, "rmse": 0.7, "si_rmse": 0.25}
    return {"steps": steps, "n": {"validation": 75, "test": 327}, "validation": figures, "test": figures}


def test_a_finished_run_is_kept_only_if_asked_and_made_alike(tmp_path: Path) -> None:
    run = ablations.runs(DATA, tmp_path, 100, 0)["all"]
    run.out.mkdir()
    (run.out / "ablation.json").write_text(json.dumps(result(0.5)))
    assert ablations.finish(run, resume=True) == result(0.5)
    with pytest.raises(SystemExit, match="holds a finished run: give --resume"):
        ablations.finish(run, resume=False)
    with pytest.raises(SystemExit, match="was made with --steps 100"):
        ablations.finish(ablations.runs(DATA, tmp_path, 200, 0)["all"], resume=True)


def test_the_ablation_writes_mean_and_spread_as_table_and_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = iter([0.50, 0.60, 0.52, 0.62, 0.54, 0.64])
    monkeypatch.setattr(ablations, "finish", lambda run, resume: result(next(values)))
    table = ablations.main(data=DATA, out=tmp_path, steps=100, only=("all", "no crop"))
    rows = [line for line in table.splitlines() if line.startswith("| ")]
    assert rows[1].startswith("| all | 3 | 0.520 ± 0.020 | 0.520 ± 0.020 | 0.200 ± 0.000 |")
    assert rows[2].startswith("| no crop | 3 | 0.620 ± 0.020 |")
    assert len(rows) == 3 and "100 steps" in table and "327 of the test part" in table
    assert (tmp_path / "ablation.png").stat().st_size > 5000
    assert (tmp_path / "table.md").read_text() == table
    with pytest.raises(SystemExit, match="'nothing' is unknown; known: all, no crop, without sig"):
        ablations.main(data=DATA, out=tmp_path, only=("nothing",))


def test_every_net_of_the_zoo_is_trained_alike() -> None:
    from leadline.nn import zoo
    from recipes import compare_zoo

    table = compare_zoo.runs(DATA, OUT, 100, 0)
    assert list(table) == zoo.names()
    for name, run in table.items():
        assert different(run, table["fastdepth"]) <= {"model", "init", "view", "fit"}, name
        assert run.fit.steps * run.batch == 800


def test_stereo_nets_get_metres_to_be_trained_alike(tmp_path: Path) -> None:
    from leadline.nn.checkpoint import load
    from recipes import compare_zoo

    run = compare_zoo.started(compare_zoo.runs(DATA, tmp_path, 100, 0)["monodepth_pruned"])
    spec = load(run.model).spec
    assert (spec.head.kind, spec.preprocess.size) == ("metric", (128, 256))


def test_weights_that_ship_do_not_say_where_data_lay() -> None:
    from recipes.package_weights import _placeless

    said = {"command": ["python", "--data", "/home/me/data", "/home/me/data/nyu", "--out", "/mnt/runs/a"], "steps": 3}
    found = _placeless(said, Path("/home/me/data"))
    assert found == {"command": ["python", "--data", "DATA", "DATA/nyu", "--out", "a"], "steps": 3}


def test_names_and_numbers_that_cannot_be_meant_end_a_recipe_at_once(tmp_path: Path) -> None:
    from recipes import compare_zoo

    with pytest.raises(SystemExit, match="'fastdeph' is unknown; known: boosting_student"):
        compare_zoo.main(data=DATA, out=tmp_path, only=("fastdeph",))
    with pytest.raises(SystemExit, match="seeds is 0"):
        ablations.main(data=DATA, out=tmp_path, seeds=0)


def test_a_net_that_is_wrong_by_a_factor_has_the_right_shape_and_the_wrong_scale() -> None:
    target = np.random.default_rng(0).uniform(1, 5, (480, 640)).astype(np.float32)
    rooms = [Item(np.zeros((480, 640, 3), np.uint8), target, np.ones_like(target, bool), "room")]
    found = scale.parts(lambda _: Depth(target * 1.5), rooms)
    assert found["delta1"] == 0
    assert found["delta1 by own median"] == 1
    assert found["bias"] == pytest.approx(np.log(1.5), abs=1e-6) == found["median's error"]


def test_one_net_and_two_learn_the_same_images_from_the_same_start() -> None:
    from recipes import joint

    table = joint.runs(DATA, OUT, 100)
    assert list(table) == ["depth", "labels", "joint"]
    for run in table.values():
        assert different(run, table["depth"]) <= {"head", "loss", "joint"}
    assert table["joint"].joint.depth == table["depth"].loss
    assert [run.head for run in table.values()] == [None, "labels", "joint"]
    heavier = joint.runs(DATA, OUT, 100, label_weight=0.3)["joint"]
    assert different(heavier, table["joint"]) == {"joint"} and heavier.joint.label_weight == 0.3


def test_one_net_is_worth_it_if_it_is_faster_than_two_and_loses_little() -> None:
    from leadline.core.report import Report
    from recipes import joint

    def reports(ms: float, delta1: float, miou: float) -> dict[str, Report]:
        made = {"depth": (4.0, {"val_delta1": 0.7}, 10), "labels": (6.0, {"val_miou": 0.2}, 12)}
        made["joint"] = (ms, {"val_delta1": delta1, "val_miou": miou}, 13)
        return {
            task: Report(task, metrics=metrics, cost={"macs": macs}, latency_ms={"onnx_1_threads": own})
            for task, (own, metrics, macs) in made.items()
        }

    found = joint.compared(reports(6.0, 0.695, 0.19), "val")
    assert found["macs_ratio"] == pytest.approx(13 / 22) and found["onnx_1_threads_ratio"] == pytest.approx(0.6)
    assert found["delta1_lost"] == pytest.approx(0.005) and found["miou_lost"] == pytest.approx(0.01)
    assert found["is_worth_it"] is True
    for worse in ((7.0, 0.695, 0.19), (6.0, 0.68, 0.19), (6.0, 0.695, 0.18)):
        assert joint.compared(reports(*worse), "val")["is_worth_it"] is False


def test_a_joint_run_that_was_made_otherwise_is_not_taken_for_this_one(tmp_path: Path) -> None:
    from recipes import joint

    run = joint.runs(DATA, tmp_path, 100)["depth"]
    run.out.mkdir()
    (run.out / "fastdepth_small.safetensors").touch()
    (run.out / "report.json").write_text(json.dumps({"context": {"steps": 100}}))
    assert joint.trained(run, resume=True) == run.out / "fastdepth_small.safetensors"
    with pytest.raises(SystemExit, match="holds a finished run: give --resume"):
        joint.trained(run, resume=False)
    with pytest.raises(SystemExit, match="was made with --steps 100"):
        joint.trained(joint.runs(DATA, tmp_path, 200)["depth"], resume=True)
    with pytest.raises(SystemExit, match="'both' is unknown; known: depth, labels, joint"):
        joint.main(data=DATA, out=tmp_path, only=("both",))
