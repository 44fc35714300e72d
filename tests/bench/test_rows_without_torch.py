"""A benchmark where torch is not installed: the ONNX file of a net that ships is what the rest is compared with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.without_packages import environment, leadline

from leadline.bench import rows as planning
from leadline.bench.rows import BenchOptions, check, describe, plan_rows
from leadline.core.errors import MissingPackage
from leadline.core.storage import sha256
from leadline.nn import files
from leadline.predict import predictor
from leadline.runtime import BACKENDS

pytest.importorskip("onnxruntime")


@pytest.fixture
def without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (planning, predictor):
        monkeypatch.setattr(module, "is_installed", lambda package: package != "torch")


def plan(model: str, **options: object) -> list[planning.Row]:
    return plan_rows([model], BenchOptions(threads=(1,), **options), lambda line: None)  # type: ignore[arg-type]


@pytest.mark.usefixtures("without_torch")
def test_of_all_runtimes_the_one_that_runs_is_planned() -> None:
    (row,) = plan("litedepth")
    assert (row.runtime, row.precision, row.file) == ("onnx", "fp32", files.shipped_onnx()["litedepth"])
    assert row.is_reference() and row.source == sha256(files.shipped()["litedepth"])
    assert "stands_in" not in row.to_json()


@pytest.mark.usefixtures("without_torch")
def test_a_runtime_that_is_asked_for_by_name_says_what_it_lacks() -> None:
    first, second = plan("litedepth", runtimes=("onnx", "openvino"))
    assert first.error is None and "pip install 'leadline[train]'" in (second.error or "")
    with pytest.raises(MissingPackage, match=r"\[train\].*--runtime onnx"):
        plan("litedepth", runtimes=("openvino",))
    with pytest.raises(MissingPackage, match="fastdepth_small, litedepth run without it"):
        plan("fastdepth", runtimes=tuple(BACKENDS))


@pytest.mark.usefixtures("without_torch")
def test_what_only_torch_can_tell_is_left_out_or_refused() -> None:
    known = {"name": "litedepth", "sha256": sha256(files.shipped()["litedepth"]), "kind": "metric"}
    costs = {"parameters": 387_953, "macs": 26_735_360}
    assert describe("litedepth", None) == known | {"size": (128, 160)} | costs
    assert describe("litedepth", (64, 96)) == known | {"size": (64, 96)}
    with pytest.raises(MissingPackage, match="--roofline"):
        check(BenchOptions(roofline=True))


def test_bench_measures_it(tmp_path: Path) -> None:
    done = leadline(
        "bench", "litedepth", "--n", "10", "--threads", "1", "--json", "bench.json",
        env=environment(tmp_path / "site"), cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (row,) = json.loads((tmp_path / "bench.json").read_text())["rows"]
    assert (row["runtime"], row["ratio"], row["parity"], row["n"]) == ("onnx", 1.0, 0.0, 10)
