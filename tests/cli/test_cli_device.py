"""`--device`: where predict, val, bench and parity compute."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.tiny_scenes import render, write_folder

from leadline.bench.rows import BenchOptions, plan_rows
from leadline.cli.flags import Comparison
from leadline.cli.main import main
from leadline.nn.files import shipped_onnx

pytest.importorskip("onnxruntime")
NET = str(shipped_onnx()["litedepth"])


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    Image.fromarray(np.full((48, 64, 3), 90, np.uint8)).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def failure(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(list(words)) == 1
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_the_processor_may_be_named(photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", str(photo), "-m", NET, "--device", "CPU", "--out", str(tmp_path / "out"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["runtime"] == "onnx"


def test_a_device_that_is_not_here_is_answered_with_those_that_are(
    photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_folder(tmp_path / "data", [render(seed) for seed in range(2)])
    (data / "dataset.toml").write_text('layout = "folder"\ndepth_scale = 1000\nsplit = "test"\n')
    for verb in (["predict", str(photo), "-m", NET], ["val", "--data", str(data), "-m", NET]):
        assert "device is 'abacus'; on this machine onnx computes on cpu" in failure(
            capsys, *verb, "--device", "abacus"
        )


def test_auto_measures_on_the_processor_only(photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "name a runtime" in failure(capsys, "predict", str(photo), "--runtime", "auto", "--device", "cuda")


def test_a_benchmark_computes_where_it_is_told() -> None:
    options = Comparison(device="ABACUS").options(threads=(1,))
    assert isinstance(options, BenchOptions) and options.device == "abacus"
    (row,) = plan_rows([NET], options, lambda line: None)
    assert row.opening()["device"] == row.to_json()["device"] == "abacus"
    (plain,) = plan_rows([NET], Comparison().options(threads=(1,)), lambda line: None)
    assert "device" not in plain.opening() and "device" not in plain.to_json()


def test_nothing_is_exported_for_a_device_that_the_runtime_has_not(tmp_path: Path) -> None:
    options = Comparison(device="abacus", runtime="onnx").options(threads=(1,))
    said: list[str] = []
    rows = {row.runtime: row for row in plan_rows(["litedepth"], options, said.append)}
    assert "on this machine onnx computes on cpu" in (rows["onnx"].error or "")
    assert not [line for line in said if "exporting" in line]
