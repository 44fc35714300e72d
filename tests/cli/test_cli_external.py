"""External files and saved predictions on the command line: the same flags for every verb, one line for what fails."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.external_onnx import model
from support.tiny_runtime_nets import small_net
from support.tiny_scenes import render, write_folder

from leadline.cli.main import main
from leadline.nn.checkpoint import save

pytest.importorskip("onnxruntime")

Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five frames with depth, 96x128."""
    return write_folder(tmp_path_factory.mktemp("rooms"), [render(seed) for seed in range(5)])


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A net of another program."""
    return model(tmp_path_factory.mktemp("net") / "net.onnx", (1, 3, 40, 60))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, rooms: Path, net: Path) -> Path:
    """What `predict` has saved of each frame."""
    out = tmp_path_factory.mktemp("saved")
    flags = ["--external.kind", "metric", "--save", "npz,vis", "--json"]
    assert main(["predict", str(rooms / "images"), "-m", str(net), "-o", str(out), *flags]) == 0
    return out


def answer(capsys: Captured, *args: str | Path, code: int = 0) -> dict[str, Any]:
    capsys.readouterr()
    assert main([*map(str, args), "--json", *(["-"] if args[0] == "bench" else [])]) == code
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def failure(capsys: Captured, *args: str | Path) -> str:
    capsys.readouterr()
    assert main([str(a) for a in args]) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("leadline: ") and err.count("\n") == 1
    return err


@pytest.mark.parametrize("kind", ["relative_depth", "relative_disparity"])
def test_predict_writes_what_a_relative_net_says(
    capsys: Captured, tmp_path: Path, rooms: Path, net: Path, kind: str
) -> None:
    flags = ("--external.kind", kind, "--save", "vis,npy,npz", "-o", tmp_path)
    found = answer(capsys, "predict", rooms / "images" / "000.png", "-m", net, *flags)
    assert (found["model"], found["runtime"], found["kind"], found["unit"]) == ("net", "onnx", kind, kind)
    assert np.load(tmp_path / "000_depth.npy").shape == (96, 128)


@pytest.mark.parametrize("verb", ["predict", "val", "bench", "parity"])
def test_every_verb_says_which_flag_is_missing(capsys: Captured, rooms: Path, net: Path, verb: str) -> None:
    args: dict[str, list[str | Path]] = {
        "predict": [rooms / "images", "-m", net],
        "val": ["--data", rooms, "--split", "all", "-m", net],
        "bench": [net],
        "parity": [net, "--reference", net.with_name("other.onnx")],
    }
    model(net.with_name("other.onnx"), (1, 3, 40, 60))
    assert "net.onnx does not say what its numbers are: give its kind (--external.kind)" in failure(
        capsys, verb, *args[verb]
    ).replace("other.onnx", "net.onnx")


def test_what_a_file_leaves_open_is_one_line(capsys: Captured, tmp_path: Path, rooms: Path) -> None:
    start = ("predict", rooms / "images", "-o", tmp_path / "out", "--external.kind", "metric", "-m")
    assert "several outputs" in failure(capsys, *start, model(tmp_path / "two.onnx", (1, 3, 40, 60), outputs=2))
    assert "--external.size" in failure(capsys, *start, model(tmp_path / "any.onnx", (1, 3, "h", "w")))
    assert "[1,3,H,W] or [1,H,W,3]" in failure(capsys, *start, model(tmp_path / "grey.onnx", (1, 1, 40, 60)))
    (tmp_path / "text.onnx").write_text("no net at all")
    assert "text.onnx is damaged" in failure(capsys, *start, tmp_path / "text.onnx")
    assert "says itself what it is" in failure(capsys, *start, "fastdepth")


def test_val_judges_an_external_net_and_says_what_it_was_told(capsys: Captured, rooms: Path, net: Path) -> None:
    base = ("val", "--data", rooms, "--split", "all", "-m", net, "--external.kind")
    found = answer(capsys, *base, "metric")
    assert found["n"] == 5 and found["context"]["external"]["kind"] == "metric"
    assert found["context"]["runtime"] == "onnx"
    assert answer(capsys, *base, "relative_depth", "--protocol", "zeroshot-depth@1")["n"] == 5
    assert "use one of: kitti-eigen-raw@1, zeroshot" in failure(capsys, *base, "relative_depth")


def test_saved_predictions_score_as_the_net_that_made_them(
    capsys: Captured, rooms: Path, net: Path, saved: Path
) -> None:
    base = ("val", "--data", rooms, "--split", "all")
    of_net = answer(capsys, *base, "-m", net, "--external.kind", "metric")
    of_maps = answer(capsys, *base, "--predictions", saved)
    assert of_maps["metrics"] == pytest.approx(of_net["metrics"], rel=1e-5)
    assert of_maps["context"]["predictions"] == str(saved) and of_maps["context"]["missing"] == []


def test_missing_and_extra_maps_are_told(capsys: Captured, tmp_path: Path, rooms: Path, saved: Path) -> None:
    some = Path(shutil.copytree(saved, tmp_path / "some"))
    (some / "000_depth.npz").rename(some / "else_depth.npz")
    base = ("val", "--data", rooms, "--split", "all", "--predictions", some)
    assert "has no depth map for 1 of 5 frames: 000" in failure(capsys, *base)
    assert main([str(a) for a in (*base, "--allow-missing", "--json")]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["n"] == 4 and json.loads(out)["context"]["missing"] == ["000"]
    assert "1 of 5 frames have no depth map and do not count: 000" in err
    assert "1 of 5 depth maps are for no frame of rooms" in err and "else_depth.npz" in err


def test_predictions_that_cannot_be_judged_are_one_line(
    capsys: Captured, tmp_path: Path, rooms: Path, saved: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "npy").mkdir()
    np.save(tmp_path / "npy" / "000.npy", np.ones((96, 128), np.float32))
    base = ("val", "--data", rooms, "--split", "all", "--predictions")
    assert "holds no depth maps" in failure(capsys, *base, tmp_path / "empty")
    assert "which is not there" in failure(capsys, *base, tmp_path / "gone")
    assert "nothing says what their numbers are" in failure(capsys, *base, tmp_path / "npy")
    assert "--external.depth-scale" in failure(capsys, *base, tmp_path / "npy", "--external.kind", "metric")
    assert "--model is for a model" in failure(capsys, *base, saved, "-m", "fastdepth")
    assert "leave out the rest" in failure(capsys, *base, saved, "--external.size", "40", "60")
    assert "--allow-missing is for --predictions" in failure(capsys, "val", "--data", rooms, "--allow-missing")


def test_predict_and_val_take_a_runs_folder(capsys: Captured, tmp_path: Path, rooms: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    save(small_net(), run / "small.safetensors")
    (run / "report.json").write_text("{}")
    picture = rooms / "images" / "000.png"
    assert answer(capsys, "predict", picture, "-m", run, "-o", tmp_path / "o")["model"] == small_net().spec.name
    assert answer(capsys, "val", "--data", rooms, "--split", "all", "-m", run)["n"] == 5
    assert answer(capsys, "info", run)["weights"] == str(run / "small.safetensors")
    assert "no run of leadline" in failure(capsys, "predict", picture, "-m", rooms, "-o", tmp_path / "o")


@pytest.mark.slow
def test_bench_times_external_files_and_measures_what_it_can(capsys: Captured, rooms: Path, net: Path) -> None:
    base = ("bench", net, "--threads", "1", "--n", "10", "--data", rooms, "--split", "all", "--external.kind")
    (row,) = answer(capsys, *base, "metric")["rows"]
    assert row["runtime"] == "onnx" and row["precision"] == "fp32" and row["n"] == 10
    assert row["metrics"]["delta1"] > 0 and "ratio" not in row and row["external"]["kind"] == "metric"
    (row,) = answer(capsys, *base, "relative_depth")["rows"]
    assert row["metrics"] is None and "cannot judge relative_depth" in row["metrics_error"]


@pytest.mark.slow
def test_parity_compares_external_files_with_the_one_they_came_from(
    capsys: Captured, tmp_path: Path, net: Path
) -> None:
    twin = model(tmp_path / "twin.onnx", (1, 40, 60, 3), axis=3)
    base = ("parity", twin, "--reference", net, "--external.kind", "metric")
    found = answer(capsys, *base)
    assert found["passed"] and [row["verdict"] for row in found["rows"]] == ["reference", "agrees"]
    other = model(tmp_path / "other.onnx", (1, 3, 20, 30))
    found = answer(capsys, "parity", other, "--reference", net, "--external.kind", "metric", code=1)
    assert "takes pictures of (20, 30), and the reference of (40, 60)" in found["rows"][1]["error"]


def test_parity_says_what_an_external_file_can_be_compared_with(capsys: Captured, net: Path) -> None:
    said = ("--external.kind", "metric")
    assert "no PyTorch net to compare it with: give the file or checkpoint" in failure(capsys, "parity", net, *said)
    assert "is the reference and one of the files" in failure(capsys, "parity", net, "--reference", net, *said)
    relative = ("--external.kind", "relative_depth")
    assert "the reference is metric" in failure(capsys, "parity", net, "--reference", "fastdepth", *relative)
