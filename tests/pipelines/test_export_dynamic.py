"""`prune --method widths` and `export --dynamic`: from a checkpoint to a folder that chooses a width for a picture."""

from __future__ import annotations

import json
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.tiny_classes import write_batches
from support.tiny_pruning_nets import thin_checkpoint
from support.tiny_scenes import render, write_folder

from leadline.cli.main import main
from leadline.core.errors import BadArtefact, BadCheckpoint
from leadline.core.spec import Encoder, Spec
from leadline.core.storage import sha256
from leadline.data.layouts.detect import open_dataset
from leadline.nn import zoo
from leadline.nn.build import build
from leadline.nn.checkpoint import load, read_provenance, save
from leadline.pipelines.export_dynamic import DynamicOptions, Measured, chosen, export_dynamic
from leadline.pipelines.prune_widths import load_nested
from leadline.predict.predictor import load_predictor, predictor_of
from leadline.runtime.dynamic import Choice, Following, Widths, hardness, read_manifest, write_manifest

pytestmark = pytest.mark.usefixtures("one_thread")
Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    drawn = [render(i // 6, step=0.1 * (i % 6), size=(36, 72)) for i in range(40)]
    return write_folder(tmp_path_factory.mktemp("rooms"), drawn)


@pytest.fixture(scope="module")
def nested(rooms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A thin net of depth with two narrower widths, made by the command."""
    home = tmp_path_factory.mktemp("nested")
    out = home / "nested.safetensors"
    words = ["prune", thin_checkpoint(home), "--method", "widths", "--budget", "0.6x", "--nested.levels", "2"]
    words += ["--data", str(rooms), "--batch", "2", "--fit.steps", "2", "--n-batches", "2", "--multiple", "1"]
    assert main([*words, "-o", str(out), "--quiet"]) == 0
    return out


@pytest.fixture(scope="module")
def folder(nested: Path, rooms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dynamic") / "depth"
    export_dynamic(nested, "eager", out, DynamicOptions(data=str(rooms), val_every=2))
    return out


def test_a_file_of_widths_is_a_checkpoint_of_the_whole_net_and_holds_the_others(nested: Path) -> None:
    narrow, middle, whole = load_nested(nested)
    sizes = [sum(p.numel() for p in net.parameters()) for net in (narrow, middle, whole)]
    assert sizes == sorted(sizes) and sizes[0] < sizes[2]
    assert whole.spec == load(nested).spec and len(read_provenance(nested)["pruning"]["width_levels"]) == 2
    assert whole.spec.provenance[-2] == "pruned by widths to 0.6x"


def test_the_folder_predicts_like_the_width_it_chooses(folder: Path, nested: Path, rooms: Path) -> None:
    found, predictor = read_manifest(folder), load_predictor(folder)
    nets = load_nested(nested)
    assert len(found.files) == 3 and found.hashes == tuple(sha256(folder / name) for name in found.files)
    frame = render(50, size=(36, 72))[0]
    depth = predictor(frame)
    runner = predictor.runner
    assert isinstance(runner, Widths) and sum(runner.counts) == 1
    expected = predictor_of(nets[runner.counts.index(1)])(frame)
    assert np.allclose(depth.values, expected.values, rtol=1e-4) and depth.kind == "metric"
    assert np.array_equal(pickle.loads(pickle.dumps(predictor))(frame).values, depth.values)


def test_a_part_of_its_own_chooses_the_rule_where_a_set_has_one(nested: Path, rooms: Path, tmp_path: Path) -> None:
    found = export_dynamic(nested, "eager", tmp_path / "a", DynamicOptions(data=str(rooms), part="test", limit=8))
    assert found.measured["images"] == min(8, len(open_dataset(rooms, "test"))) > 0


def test_the_commands_take_the_folder(folder: Path, rooms: Path, tmp_path: Path, capsys: Captured) -> None:
    photo = next((rooms / "images").iterdir())
    assert main(["predict", str(photo), "--model", str(folder), "--out", str(tmp_path), "--json"]) == 0
    assert "metric" in capsys.readouterr().out
    assert main(["val", "--model", str(folder), "--data", str(rooms), "--json"]) == 0
    capsys.readouterr()
    assert main(["info", str(folder), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["files"] == ["width-0.safetensors", "width-1.safetensors", "width-2.safetensors"]
    assert set(told["measured"]) >= {"ms", "oracle_ms", "share_of_widths", "accuracy", "accuracy_of_widths"}


def test_a_classifier_becomes_a_folder_by_command(tmp_path: Path, capsys: Captured) -> None:
    data = tmp_path / "cifar"
    write_batches(data, "data_batch_1", 80, 0)
    write_batches(data, "test_batch", 10, 1)
    spec = Spec("tiny", Encoder("vgg16_bn", (8,) * 13), zoo.vgg16_bn().decoder, replace(zoo.vgg16_bn().head),
                zoo.vgg16_bn().preprocess)  # fmt: skip
    source, out = save(build(spec, seed=0), tmp_path / "tiny.safetensors"), tmp_path / "n.safetensors"
    words = ["prune", str(source), "--method", "widths", "--budget", "0.5x", "--data", str(data), "--batch", "8"]
    words += ["--fit.steps", "2", "--n-batches", "2", "--multiple", "1", "-o", str(out), "--quiet"]
    assert main(words) == 0
    capsys.readouterr()
    to = tmp_path / "folder"
    words = ["export", str(out), "--dynamic", "--runtime", "eager", "--data", str(data), "-o", str(to)]
    assert main([*words, "--max-drop", "1"]) == 0
    said = "".join(capsys.readouterr())
    assert "2 widths for eager" in said and "times as fast as the whole net" in said
    assert main([*words, "--json"]) == 0  # an older dynamic folder is replaced
    assert json.loads(capsys.readouterr().out)["measured"]["metric"] == "top1"


def of(hard: list[list[float]], good: list[list[float]], ms: list[float]) -> Measured:
    return Measured(np.array(hard), np.array(good), np.array(ms), "top1", "top1@1")


def test_the_rule_is_the_cheapest_that_is_good_enough() -> None:
    hard = [[0.1, 0], [0.2, 0], [0.6, 0], [0.9, 0]]
    good = [[1.0, 1], [1, 1], [0, 1], [0, 0]]
    choice, facts = chosen(of(hard, good, [1.0, 4.0]), 0.0)
    widths = [choice.width(row[choice.start]) for row in hard]
    assert choice.start == 0 and widths[:3] == [0, 0, 1] and facts["accuracy"] == 0.75
    assert facts["ms"] <= 1 + 4 * 2 / 4 and facts["oracle_ms"] == (1 + 1 + 4 + 1) / 4
    loose, facts = chosen(of(hard, good, [1.0, 4.0]), 0.25)
    assert [loose.width(row[0]) for row in hard] == [0] * 4 and facts["ms"] == 1.0


def test_where_no_narrow_width_pays_the_whole_net_answers_alone() -> None:
    wrong = [[0.1, 0], [0.1, 0], [0.1, 0], [0.1, 0]]  # it does not know which pictures are hard
    choice, facts = chosen(of(wrong, [[0.0, 1]] * 4, [1.0, 4.0]), 0.01)
    assert choice == Choice(start=1, thresholds=()) and facts["ms"] == 4.0 and facts["share_of_widths"] == [0, 1]


def test_hardness_is_small_where_a_net_is_sure_and_a_map_is_smooth() -> None:
    sure, unsure = np.array([[9.0, 0, 0]], np.float32), np.array([[1.0, 0.9, 0.8]], np.float32)
    assert hardness(sure, "classes") < 0.01 < 0.5 < hardness(unsure, "classes")
    pixels = np.stack([sure[0], unsure[0]], axis=1)[None, :, None]
    mean = (hardness(sure, "classes") + hardness(unsure, "classes")) / 2
    assert hardness(pixels, "labels") == pytest.approx(mean, rel=1e-5)
    flat = np.full((1, 1, 8, 8), 2.0, np.float32)
    steep = np.exp(np.add.outer(np.arange(8.0), np.zeros(8)))[None, None]
    assert hardness(flat, "metric") == 0 and hardness(steep, "metric") == pytest.approx(1.0)  # 2 per 2 rows, 0 across


def test_in_a_video_each_frame_chooses_for_the_next() -> None:
    answers = {0: np.array([[1.0, 0.9]], np.float32), 1: np.array([[9.0, 0]], np.float32)}
    widths = Widths([lambda _: answers[0], lambda _: answers[1]], Choice(start=0, thresholds=(0.3,)), "classes")
    video = Following(widths)
    for _ in range(5):  # the wide one is sure, the narrow one is not
        video(np.zeros((1, 3, 4, 4), np.float32))
    assert video.counts == [2, 3] and video.switches == 5


def test_what_cannot_be_exported_so_is_told(nested: Path, rooms: Path, tmp_path: Path, capsys: Captured) -> None:
    plain = thin_checkpoint(tmp_path)
    options = DynamicOptions(data=str(rooms), val_every=2)
    with pytest.raises(ValueError, match=r"has one width only; `leadline prune .* --method widths"):
        export_dynamic(plain, "eager", tmp_path / "a", options)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="is there already and no dynamic folder; give another --out"):
        export_dynamic(nested, "eager", tmp_path / "full", options)
    for words, said in (
        (["--dynamic"], "give --data FOLDER"),
        (["--data", str(rooms)], "give --dynamic too"),
        (["--dynamic", "--data", str(rooms), "--size", "32x32"], "leave --size and --frame out"),
    ):
        assert main(["export", str(nested), "--runtime", "eager", *words]) != 0
        assert said in capsys.readouterr().err


def test_a_folder_that_lacks_a_file_or_holds_another_is_refused(folder: Path, tmp_path: Path, capsys: Captured) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    (copy / "width-1.safetensors").unlink()
    with pytest.raises(BadArtefact, match=r"copy lacks width-1\.safetensors, one of its 3 widths; export"):
        load_predictor(copy)
    shutil.copy(copy / "width-0.safetensors", copy / "width-1.safetensors")
    with pytest.raises(BadArtefact, match=r"width-1\.safetensors is not the file that was exported with dynamic\.json"):
        load_predictor(copy)
    assert main(["predict", "x.jpg", "--model", str(copy)]) != 0
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "change",
    [
        {"start": 3},
        {"start": -1},
        {"thresholds": [0.5, 0.1]},
        {"thresholds": [0.1, 0.2, 0.3]},
        {"thresholds": [float("nan")]},
        {"thresholds": "x"},
    ],
)
def test_a_rule_that_cannot_be_is_refused(folder: Path, tmp_path: Path, change: dict[str, object]) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    plain = json.loads((copy / "dynamic.json").read_text())
    plain["choice"] = {"start": 0, "thresholds": [], **change}
    (copy / "dynamic.json").write_text(json.dumps(plain))
    with pytest.raises(BadArtefact, match="does not describe a net of several widths"):
        load_predictor(copy)


@pytest.mark.parametrize("files", [["../width-0.safetensors"] * 3, ["width-0.safetensors"] * 3, []])
def test_files_outside_of_the_folder_are_never_opened(folder: Path, tmp_path: Path, files: list[str]) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    found = read_manifest(copy)
    write_manifest(copy, replace(found, files=tuple(files), choice=Choice(start=0, thresholds=())))
    with pytest.raises(BadArtefact, match="names in this folder"):
        load_predictor(copy)


def test_norms_that_are_missing_are_a_bad_checkpoint(nested: Path, tmp_path: Path) -> None:
    bare = save(load(nested), tmp_path / "bare.safetensors", provenance=read_provenance(nested))
    with pytest.raises(BadCheckpoint, match="does not fit the widths that it names"):
        load_nested(bare)
    assert load(bare).spec == load(nested).spec  # the whole net is there
