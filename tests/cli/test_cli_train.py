"""From folders of data to a weight file that says where it comes from."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.tiny_scenes import write_png

from leadline.cli.main import main
from leadline.cli.train import run_training as train
from leadline.core.errors import TrainingFailed
from leadline.data.dataset import hold_out
from leadline.data.depth_io import write_depth
from leadline.data.options import R2Crop, Reading, View
from leadline.nn import checkpoint, zoo
from leadline.pipelines.training_data import rows
from leadline.training.options import FitOptions, Training


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pictures whose depth grows downwards."""
    root = tmp_path_factory.mktemp("frames")
    (root / "images").mkdir()
    (root / "depth").mkdir()
    rng = np.random.default_rng(0)
    for i in range(12):
        image = rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)
        depth = np.repeat(np.linspace(1, 4, 48, dtype=np.float32)[:, None], 64, axis=1)
        Image.fromarray(image).save(root / "images" / f"{i:02}.jpg")
        write_png(root / "depth" / f"{i:02}.png", depth * (depth > 1.1))
    (root / "dataset.toml").write_text('layout = "folder"\ndepth_scale = 1000\ntest_fraction = 0.25\n')
    return root


def portraits(root: Path) -> Path:
    """One picture that is higher than wide, with depth."""
    for part in ("images", "depth"):
        (root / "portraits" / part).mkdir(parents=True)
    Image.new("RGB", (48, 96)).save(root / "portraits" / "images" / "a.jpg")
    write_depth(root / "portraits" / "depth" / "a.png", np.ones((96, 48), np.float32))
    (root / "portraits" / "dataset.toml").write_text('layout = "folder"\nsplit = "train"\n')
    return root / "portraits"


@pytest.fixture
def run(folder: Path, tmp_path: Path) -> Training:
    options = FitOptions(steps=3, precision="no", log_every=1)
    view = View(size=(64, 64))
    return Training(
        data=(str(folder),), out=tmp_path / "run", model="fastdepth_pruned", batch=2, view=view, fit=options,
        val_every=0, workers=0,
    )  # fmt: skip


def test_a_run_leaves_weights_curves_and_what_repeats_it(run: Training) -> None:
    net, report = train(replace(run, licences=("made for a test",)))
    again = checkpoint.load(run.out / "fastdepth_pruned.safetensors")
    assert again.spec == net.spec
    said = checkpoint.read_provenance(run.out / "fastdepth_pruned.safetensors")
    assert said["licences"] == ["made for a test"]
    assert said["fit"]["steps"] == 3
    assert [count for _, count in said["images"]] == [9]  # the last quarter is the test part
    assert json.loads((run.out / "report.json").read_text())["metrics"]["loss"] == report.metrics["loss"]
    assert json.loads((run.out / "run.json").read_text())["training"]["batch"] == 2


def test_the_head_starts_at_the_mean_depth_of_the_data(run: Training) -> None:
    net, _ = train(replace(run, fit=replace(run.fit, steps=1, lr=1e-9)))
    assert float(net.head.norm.bias.detach()) == pytest.approx(2.55, abs=0.1)


def test_a_validation_split_is_kept_and_pictured(run: Training, folder: Path, tmp_path: Path) -> None:
    from leadline.data.dataset import hold_out
    from leadline.data.layouts.detect import open_dataset

    many = tmp_path / "many"
    (many / "images").mkdir(parents=True)
    (many / "depth").mkdir()
    for i in range(40):
        for part, suffix in (("images", ".jpg"), ("depth", ".png")):
            (many / part / f"{i:02}{suffix}").symlink_to(folder / part / f"{i % 12:02}{suffix}")
    assert [len(part) for part in hold_out(open_dataset(many, "train", test_fraction=0.0), 2)] == [20, 20]
    (many / "dataset.toml").write_text('layout = "folder"\nsplit = "train"\n')
    _, report = train(replace(run, data=(str(many),), val_every=2))
    assert {"delta1", "rmse", "loss"} <= set(report.metrics)
    assert (report.protocol, report.n) == (run.protocol, 20)
    assert (run.out / "pictures" / "000003.jpg").is_file()


def test_a_checkpoint_can_be_trained_on_and_its_terms_stay(run: Training, tmp_path: Path) -> None:
    train(replace(run, licences=("the first's",)))
    first = run.out / "fastdepth_pruned.safetensors"
    net, _ = train(replace(run, model=str(first), out=tmp_path / "more", fit=replace(run.fit, steps=1, lr=1e-9)))
    before = checkpoint.load(first)
    for a, b in zip(before.parameters(), net.parameters(), strict=True):
        assert float((a - b).detach().abs().max()) < 1e-3
    said = checkpoint.read_provenance(tmp_path / "more" / "fastdepth_pruned.safetensors")
    assert said["licences"] == ["the first's"] and said["from"] == checkpoint.origin(first)


def test_a_name_means_fresh_weights_unless_pretrained_ones_are_asked_for(run: Training) -> None:
    """Also for a net that ships: a training from scratch must not start from somebody's result."""
    still = replace(run, model="fastdepth", fit=replace(run.fit, steps=1, lr=1e-9))
    shipped = checkpoint.load("fastdepth").encoder.blocks[1][3].weight
    assert not torch.allclose(train(still)[0].encoder.blocks[1][3].weight, shipped, atol=1e-3)
    assert torch.allclose(
        train(replace(still, pretrained=True, out=run.out / "more"))[0].encoder.blocks[1][3].weight, shipped, atol=1e-3
    )


def test_a_net_that_takes_single_pixels_out_of_frames_learns_from_whole_ones(run: Training) -> None:
    """LiteDepth's way into a frame does not average; an averaged picture would be another kind of picture."""
    assert [rows(run, zoo.spec(name)) for name in ("fastdepth", "litedepth")] == [240, 480]


def test_images_of_several_folders_share_the_batch(run: Training, folder: Path) -> None:
    with pytest.raises(ValueError, match="cannot be shared"):
        train(replace(run, data=(f"{folder}:2", str(folder))))
    with pytest.raises(ValueError, match="the loss 'l3' is unknown; nearest: l"):
        train(replace(run, loss=("l3",)))


def test_train_is_a_verb(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = (
        f"train --data {folder} --out {tmp_path / 'run'} --model fastdepth_pruned --batch 2 --val-every 0 --workers 0"
    )
    words += " --fit.steps 2 --fit.precision no --view.size 64 64 --loss l1:0.5 gradient --json"
    assert main(words.split()) == 0
    assert {"loss"} <= set(json.loads(capsys.readouterr().out)["metrics"])


def test_a_run_is_never_overwritten_and_goes_on_only_as_it_began(run: Training) -> None:
    train(run)
    before = {p.name: p.read_bytes() for p in run.out.iterdir() if p.is_file()}
    with pytest.raises(ValueError, match="holds a run already: give --resume"):
        train(run)
    with pytest.raises(TrainingFailed, match="other options"):
        train(replace(run, loss=("l2",), resume=True))
    train(replace(run, resume=True))  # it is finished: nothing to do
    after = {p.name: p.read_bytes() for p in run.out.iterdir() if p.is_file()}
    assert before["report.json"] == after["report.json"]
    assert before["fastdepth_pruned.safetensors"] == after["fastdepth_pruned.safetensors"]
    said = json.loads(after["run.json"])
    assert [again["at_step"] for again in said.pop("resumed")] == [3]
    assert said == json.loads(before["run.json"])


def test_a_run_killed_after_its_last_step_still_gets_its_checkpoint(
    run: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leadline.pipelines.training_data.hold_out", lambda data, every: hold_out(data, every, block=2))
    run = replace(run, val_every=2)
    net, report = train(run)
    kept = [run.out / f"{net.spec.name}.safetensors", run.out / "report.json"]
    before = [path.read_bytes() for path in kept]
    again = train(replace(run, resume=True))[1]  # over: nothing is written anew, and it reports what it did then
    assert again == report
    assert [path.read_bytes() for path in kept] == before
    for path in kept:
        path.unlink()
    again = train(replace(run, resume=True))[1]
    assert all(path.exists() for path in kept)
    figures = {name: value for name, value in report.metrics.items() if name != "loss"}
    assert figures and {name: again.metrics[name] for name in figures} == figures


def test_what_cannot_work_is_said_before_the_work(run: Training, tmp_path: Path) -> None:
    for changes, message in (
        ({"val_every": 1}, "keeps everything"),
        ({"protocol": "nyu"}, "the protocol 'nyu' is unknown"),
        ({"init": tmp_path / "none.tflite"}, "no file"),
        ({"data": (run.data[0] + ":4",)}, "cannot be shared"),
    ):
        with pytest.raises(ValueError, match=message):
            train(replace(run, **changes))
    with pytest.raises(ValueError, match="steps is 0; at least 1"):
        FitOptions(steps=0)
    assert not run.out.exists()


def test_litedepth_s_recipe_trains_on_cut_outs_of_several_sizes_with_learnt_weights(run: Training) -> None:
    ours = replace(
        run,
        model="litedepth",
        batch=4,
        loss=("sig:1", "gradient:0.25@map", "virtual_normal:2.5@map", "robust:0.2"),
        weighting="dynamic",
        transform="litedepth",
        r2crop=R2Crop(depth=(120, 160)),
    )
    _, report = train(ours)
    assert math.isfinite(report.metrics["loss"])
    sigmas = report.context["loss_parameters"]["sigma"]
    assert len(sigmas) == 4 and all(s != 1 for s in sigmas)
    with pytest.raises(TrainingFailed, match="other options"):
        train(replace(ours, weighting="fixed", resume=True))


def test_the_list_of_hu_trains_at_the_map(run: Training) -> None:
    _, report = train(replace(run, model="litedepth", loss=("hu@map",), transform="hu"))
    assert math.isfinite(report.metrics["loss"])


def test_the_list_of_fastdepth_trains_on_upright_pictures(run: Training, tmp_path: Path) -> None:
    upright = replace(run, data=(str(portraits(tmp_path)),), batch=1, transform="fastdepth")
    _, report = train(upright)
    assert math.isfinite(report.metrics["loss"])


def test_the_net_is_trained_and_asked_later_at_one_size(run: Training) -> None:
    net, _ = train(run)
    assert net.spec.preprocess.size == (64, 64)
    short = replace(run, out=run.out.with_name("b"), model="litedepth", view=View(), fit=replace(run.fit, steps=1))
    net, _ = train(short)
    assert net.spec.preprocess.size == (128, 160)  # its own
    assert json.loads((short.out / "run.json").read_text())["training"]["view"]["size"] == [128, 160]


def test_what_has_no_use_is_refused(run: Training, tmp_path: Path) -> None:
    def refused(said: str, **changes: object) -> None:
        with pytest.raises(ValueError, match=said):
            train(replace(run, **changes))  # type: ignore[arg-type]

    (tmp_path / "file").touch()
    refused("comes with weights, so --init has no use", model="fastdepth", pretrained=True, init=tmp_path / "file")
    refused("fastdepth_small is known by its weights alone; give --pretrained", model="fastdepth_small")
    refused("epochs is -1", epochs=-1.0)
    refused("gives relative_disparity, which cannot be compared with metres", model="monodepth_pruned")
    refused("'l1:abc' has the weight 'abc'", loss=("l1:abc",))
    refused("'l1:nan' has the weight 'nan'", loss=("l1:nan",))
    refused("'l1:0' has the weight '0'", loss=("l1:0",))
    refused("'l1' is given twice", loss=("l1", "l1:2", "l1"))
    refused("no loss is given", loss=())


def test_a_loss_may_be_taken_at_two_places(run: Training) -> None:
    from leadline.training.losses.parse import typed

    terms = typed(("gradient:1", "gradient:0.25@map"))
    assert [(term.weight, term.at) for term in terms.values()] == [(1.0, "target"), (0.25, "map")]


def test_going_on_where_no_run_is_starts_one_and_says_so(run: Training, capsys: pytest.CaptureFixture[str]) -> None:
    train(replace(run, resume=True, fit=replace(run.fit, steps=1)))
    assert f"there is no run in {run.out} to go on with" in capsys.readouterr().err


def test_a_batch_of_one_that_a_batch_norm_cannot_use_names_the_flag(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "--data", str(folder), "--out", str(tmp_path / "run"), "--model", "fastdepth_pruned"]
    words += ["--batch", "1", "--view.size", "32", "32", "--fit.steps", "1", "--workers", "0", "--cache-gb", "0"]
    assert main(words) == 1
    said = capsys.readouterr().err
    assert "--batch 2 or more" in said and "--view.size" in said and "Expected more than 1" not in said
    assert not (tmp_path / "run" / "last.safetensors").exists()


def test_what_is_said_of_a_damaged_state_works_on_the_command_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "run" / "state.safetensors"
    words = ["train", "--data", str(folder), "--model", "litedepth", "--view.size", "64", "64", "--batch", "2"]
    words += ["--fit.steps", "1", "--workers", "0", "--cache-gb", "0"]
    run = [*words, "--out", str(tmp_path / "run")]
    assert main(run) == 0
    state.write_bytes(state.read_bytes()[:1000])
    capsys.readouterr()
    assert main([*run, "--resume"]) == 1
    said = capsys.readouterr().err
    last = str(tmp_path / "run" / "last.safetensors")
    assert f"--model {last} with another --out" in said and "Remove state.safetensors" in said
    words[words.index("litedepth")] = last
    assert main([*words, "--out", str(tmp_path / "other")]) == 0  # the one advice
    state.unlink()
    assert main(run) == 0  # the other


def test_where_nothing_can_be_measured_the_training_still_ends_with_its_net(
    run: Training, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("leadline.pipelines.training_data.hold_out", lambda data, every: hold_out(data, every, block=2))
    far = replace(run, val_every=2, reading=Reading(depth_scale=10.0))  # 100 to 400 m, of which indoors counts nothing
    net, report = train(far)
    assert "there are no figures: no image could be measured" in capsys.readouterr().err
    assert (run.out / f"{net.spec.name}.safetensors").is_file() and set(report.metrics) == {"loss"}


def test_what_began_in_half_precision_ends_in_it(run: Training) -> None:
    train(replace(run, model="litedepth", pretrained=True, fit=replace(run.fit, steps=1)))
    assert checkpoint.stored_as("litedepth") == checkpoint.stored_as(run.out / "litedepth.safetensors") == torch.float16
    assert checkpoint.stored_as(run.out / "last.safetensors") == torch.float32  # to go on from without loss
