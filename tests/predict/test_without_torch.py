"""A machine that has onnxruntime and no torch: a model's name runs, and what needs torch says so in one line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.without_packages import HEAVY, environment, leadline

from leadline.core.errors import BadCheckpoint, MissingPackage
from leadline.nn import files
from leadline.predict import predictor as predictors
from leadline.predict.predictor import load_predictor, shipped_file

onnxruntime = pytest.importorskip("onnxruntime")
IMAGE = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photograph, and next to it the environment without packages."""
    folder = tmp_path_factory.mktemp("light")
    Image.fromarray(IMAGE).save(folder / "photo.png")
    return folder


def run(folder: Path, *words: str | Path) -> tuple[int, str, str]:
    done = leadline(*words, env=environment(folder / "site"), cwd=folder)
    return done.returncode, done.stdout, done.stderr


def test_a_name_runs_by_its_onnx_file_and_eager_asks_for_pytorch() -> None:
    quick, torch = load_predictor("litedepth"), load_predictor("litedepth", runtime="eager")
    assert (quick.runtime, torch.runtime) == ("onnx", "eager")
    assert quick.name == torch.name and quick.preprocess == torch.preprocess and quick.head == torch.head
    assert quick(IMAGE).values == pytest.approx(torch(IMAGE).values, rel=1e-4)


def test_a_checkpoint_and_a_net_without_such_a_file_run_by_pytorch() -> None:
    assert load_predictor(files.shipped()["litedepth"]).runtime == "eager"
    assert shipped_file("fastdepth") is None
    assert shipped_file("litedepth", "openvino") is None and shipped_file("litedepth", "eager") is None


def test_without_onnxruntime_a_name_runs_by_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leadline.runtime.backends.onnx.missing", lambda: "pip install 'leadline[onnx]'")
    assert load_predictor("litedepth").runtime == "eager"


def test_without_both_the_line_names_both_and_the_smaller_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leadline.runtime.backends.onnx.missing", lambda: "pip install 'leadline[onnx]'")
    monkeypatch.setattr(predictors, "is_installed", lambda package: False)
    with pytest.raises(MissingPackage, match=r"'onnxruntime'.*leadline\[onnx\].*or 'leadline\[train\]'"):
        load_predictor("litedepth")
    with pytest.raises(MissingPackage, match=r"'torch'.*leadline\[train\].*leave --runtime eager out"):
        load_predictor("litedepth", runtime="eager")
    with pytest.raises(MissingPackage, match=r"fastdepth_small, litedepth run without it \(pip install"):
        load_predictor("fastdepth")
    with pytest.raises(MissingPackage, match="export it on a machine that has torch"):
        load_predictor(files.shipped()["litedepth"])


def test_a_name_that_does_not_exist_is_told_before_a_package_that_is_lacking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictors, "is_installed", lambda package: False)
    with pytest.raises(BadCheckpoint, match="there is no model 'nosuch'"):
        load_predictor("nosuch")


def test_predict_gives_pictures_of_the_default_net(folder: Path) -> None:
    code, out, err = run(folder, "predict", "photo.png", "--json", "--save", "png16,npy")
    assert code == 0, err
    facts = json.loads(out)
    assert (facts["model"], facts["runtime"], facts["n_failed"]) == (files.DEFAULT, "onnx", 0)
    assert all((folder / path).is_file() for path in facts["files"][0]["files"])


NEED_TORCH = [
    ("predict", "photo.png", "--model", "fastdepth"),
    ("predict", "photo.png", "--runtime", "eager"),
    ("predict", "photo.png", "--model", str(files.shipped()["litedepth"])),
    ("info", str(files.shipped()["litedepth"])),
    ("train", "--data", ".", "--out", "run"),
    ("distill", "--data", ".", "--teacher", "litedepth", "--out", "run"),
    ("prune", "litedepth", "--method", "l2", "--budget", "macs=0.5x", "--data", ".", "--out", "half.safetensors"),
    ("quantize", "litedepth", "--runtime", "onnx", "--data", ".", "--out", "net.onnx"),
    ("export", "litedepth", "--runtime", "onnx", "--out", "net.onnx"),
    ("parity", "litedepth", "photo.png"),
    ("import", "net.pth.tar", "--out", "net.safetensors"),
]


def test_what_needs_torch_says_so_in_one_line(folder: Path) -> None:
    code = (
        "import contextlib, io, json; from leadline.cli.main import main\n"
        f"for words in {NEED_TORCH!r}:\n"
        "    with contextlib.redirect_stderr(io.StringIO()) as said:\n"
        "        code = main(words)\n"
        "    print(json.dumps([code, said.getvalue()]))"
    )
    command = [sys.executable, "-c", code]  # one process for all: each start takes longer than what is tested
    env = environment(folder / "site")
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=True)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    for words, (code, err) in zip(NEED_TORCH, answers, strict=True):
        assert code == 1 and len(err.splitlines()) == 1, words
        assert "needs the package 'torch'" in err and "pip install 'leadline[train]'" in err, words


def test_a_public_name_that_needs_torch_says_so(folder: Path) -> None:
    code = "import leadline; print(leadline.load_predictor('litedepth').runtime); leadline.fit"
    env = environment(folder / "site")
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=env, capture_output=True, text=True)
    assert done.stdout == "onnx\n"
    assert "MissingPackage: leadline.fit needs the package 'torch'" in done.stderr.splitlines()[-1]


def test_the_support_hides_what_it_names(folder: Path) -> None:
    assert {"torch", "matplotlib", "onnx"} <= set(HEAVY)
    code, out, _ = run(folder, "doctor", "--json")
    rows = {row["runtime"]: row for row in json.loads(out)["runtimes"]}
    assert code == 0 and rows["onnx"]["ready"] and not rows["eager"]["ready"]
    assert rows["eager"]["needs"] == "pip install 'leadline[train]'"
