"""`bench` measures in turns, compares with PyTorch, and lets no failure of one row touch another."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from support.tiny_runtime_nets import small_net

from leadline.bench import interleave as turns
from leadline.bench import rows as plan
from leadline.bench import run as suite
from leadline.bench.rows import BenchOptions
from leadline.bench.run import bench
from leadline.bench.worker_process import RowFailed
from leadline.core.machine import usable_cores
from leadline.nn.checkpoint import save
from leadline.runtime import BACKENDS, backend
from leadline.runtime.manifest import files_of

SPEED_MS = {"net.safetensors": 20.0, "onnx": 8.0, "openvino": 4.0, "onnx-frame": 9.0}


class Pretender:
    """A worker that measures nothing: each file takes the time of SPEED_MS; `log` is what all were asked."""

    log: ClassVar[list[tuple[str, str]]] = []
    fails: ClassVar[dict[tuple[str, str], str]] = {}

    def __init__(self) -> None:
        self.name = ""

    def ask(self, do: str, timeout_s: float = 0.0, **given: Any) -> dict[str, Any]:
        if do == "export":
            name = given["runtime"] + ("-frame" if given["options"]["frame"] else "")
            (file := Path(given["calibration"] or ".") / name).touch()
            self.name = name
            answer: dict[str, Any] = {"file": str(file), "export_s": 1.0}
        else:
            self.name = Path(given["file"]).name if "file" in given else self.name
            answer = getattr(self, do)(**given)
        self.log.append((self.name, do))
        if (self.name, do) in self.fails:
            raise RowFailed(self.fails[self.name, do])
        return answer

    def load(self, **given: Any) -> dict[str, Any]:
        return {"load_ms": 100.0, "first_ms": 50.0, "size": [64, 96]}

    def outputs(self, frames: str, out: str, restored: bool) -> dict[str, Any]:
        depth = np.full((2, 8, 8), 2.0 if restored else 1.0)
        depth[0, 0, 0] += {"net.safetensors": 0.0, "onnx": 0.5, "onnx-frame": 0.2}.get(self.name, 0.0)
        np.save(out, depth)
        return {}

    def calls(self, n: int, warmup: int) -> dict[str, Any]:
        return {"ms": [SPEED_MS[self.name]] * n}

    def whole(self, n: int, warmup: int, frame: Any) -> dict[str, Any]:
        ms = SPEED_MS[self.name] if "frame" in self.name else SPEED_MS[self.name] + 3
        return {"preprocess": [2.0] * n, "inference": [1.0] * n, "postprocess": [1.0] * n, "end_to_end": [ms] * n}

    def memory(self) -> dict[str, Any]:
        return {"peak_mib": 99.0}

    def metrics(self, **given: Any) -> dict[str, Any]:
        return {"metrics": {"delta1": 0.7}, "n_images": 3}

    def peaks(self, threads: int) -> dict[str, Any]:
        return {"fp32": 1.0, "bf16": 1.0, "int8": 1.0, "copy_gb_s": 1000.0}


def pretended(name: str) -> Any:
    """In place of a backend: openvino makes nothing but fp32, and litert is not installed."""
    if name not in BACKENDS:
        return backend(name)
    precisions = ("fp32",) if name == "openvino" else ("fp32", "bf16", "int8")
    return SimpleNamespace(PRECISIONS=precisions, missing=lambda: "pip install it" if name == "litert" else None)


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """A checkpoint; what is started to measure it is a Pretender."""

    @contextlib.contextmanager
    def working(*_: object, **__: object) -> Iterator[Pretender]:
        yield Pretender()

    for module in (plan, suite, turns):
        monkeypatch.setattr(module, "working", working)
    monkeypatch.setattr(Pretender, "log", [])
    monkeypatch.setattr(Pretender, "fails", {})
    monkeypatch.setattr(plan, "backend", pretended)
    monkeypatch.chdir(tmp_path)
    return str(save(small_net(), tmp_path / "net.safetensors"))


def options(**given: Any) -> BenchOptions:
    return BenchOptions(**({"runtimes": ("onnx", "openvino"), "threads": (1,), "n": 20, "frame": (48, 64)} | given))


def test_rows_hold_what_the_issue_names_and_are_sorted(model: str) -> None:
    found = bench([model], options())
    assert [row["runtime"] for row in found.rows] == ["eager", "openvino", "onnx"]
    for row in found.rows:
        assert {"runtime", "precision", "threads", "latency_ms", "end_to_end_ms", "parity"} <= set(row)
        assert set(row["latency_ms"]) == set(row["end_to_end_ms"]) == {"median", "p10", "p90"}
        assert (row["n"], row["peak_mib"], row["preprocess_ms"], row["postprocess_ms"]) == (20, 99.0, 2.0, 1.0)
    assert [row["ratio"] for row in found.rows] == [1.0, 5.0, 2.5]
    assert [row["parity"] for row in found.rows] == [0.0, 0.0, 0.5]
    assert found.rows[1]["over_net"] == 7 / 4
    plain = json.loads(json.dumps(found.to_json()))
    assert {"rows", "date", "device", "models", "timing"} <= set(plain)
    assert {"sha256", "parameters", "macs"} <= set(plain["models"][model])


def test_rows_take_turns_and_the_first_turn_does_not_count(model: str) -> None:
    bench([model], options())
    order = [name for name, do in Pretender.log if do == "calls"]
    assert order == ["net.safetensors", "onnx", "openvino"] * 3


def test_a_whole_frame_file_is_compared_by_its_ends(model: str) -> None:
    found = bench([model], options(runtimes=("onnx",), whole_frame=True))
    framed = next(row for row in found.rows if "frame" in row)
    assert framed["frame"] == (48, 64)
    assert framed["ratio"] == 23 / 9 and framed["over_net"] == 9 / 8
    assert framed["parity"] == pytest.approx(0.2 / 2)


@pytest.mark.parametrize("step", ["export", "load", "outputs", "calls", "whole", "memory"])
def test_a_row_that_fails_stays_alone(model: str, step: str) -> None:
    Pretender.fails["onnx", step] = "refused"
    found = bench([model], options())
    assert [row.get("error") for row in found.rows] == [None, None, "refused"]
    assert found.rows[-1]["runtime"] == "onnx" and found.rows[1]["ratio"] == 5.0


def test_what_cannot_be_exported_is_a_row_that_says_why(model: str) -> None:
    found = bench([model], options(runtimes=("openvino", "litert"), precisions=("fp32", "bf16")))
    errors = {(row["runtime"], row["precision"]): row.get("error") for row in found.rows}
    assert errors["openvino", "fp32"] is None
    assert errors["openvino", "bf16"] == "openvino makes fp32 files, no bf16"
    assert errors["litert", "fp32"] == "the runtime is not installed; this brings it: pip install it"


def test_a_slow_row_stops_early(model: str) -> None:
    found = bench([model], options(at_most_s=0.3, n=200))
    assert [row["n"] for row in found.rows] == [10, 20, 10]


def test_limits_come_with_the_fraction_reached(model: str) -> None:
    found = bench([model], options(roofline=True))
    macs = found.context["models"][model]["macs"]
    for row in found.rows:
        assert row["limit_ms"] == pytest.approx(2 * macs / 1e6)
        assert row["fraction"] == pytest.approx(row["limit_ms"] / row["latency_ms"]["median"])
    assert found.context["peaks"]["1"]["fp32"] == 1.0


def test_an_exported_file_is_compared_with_its_own_checkpoint_only(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from leadline.core.storage import sha256
    from leadline.runtime.manifest import Manifest

    spec, source = small_net().spec, sha256(Path(model))

    def manifest_of(path: Path) -> Manifest:
        return Manifest(spec, "onnx", "fp32", (64, 96), source=source if path.name == "mine.onnx" else "0" * 64)

    monkeypatch.setattr(plan, "read_manifest", manifest_of)
    for name in ("mine.onnx", "other.onnx"):
        Path(name).touch()
        monkeypatch.setitem(SPEED_MS, name, 8.0)
    monkeypatch.setattr(plan, "is_external", lambda path: False)
    found = bench([model, "mine.onnx", "other.onnx"], options(runtimes=()))
    by_name = {Path(row["model"]).name: row for row in found.rows}
    assert by_name["mine.onnx"]["ratio"] == 2.5 and by_name["mine.onnx"]["parity"] == 0.0
    assert "ratio" not in by_name["other.onnx"] and "parity" not in by_name["other.onnx"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"runtimes": ("onx",)}, "'onx' is unknown; nearest: onnx"),
        ({"precisions": ("int4",)}, "'int4' is unknown"),
        ({"precisions": ("int8",)}, "--calibration"),
        ({"threads": (10_000,)}, "this process may use"),
        ({"n": 3}, "at least 10"),
        ({"protocol": "nyu@1"}, "unknown"),
        ({"trials": 8}, "--tuning"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(model: str, given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bench([model], options(**given))
    assert not Pretender.log


def test_a_calibration_folder_without_images_is_refused_before_any_work(model: str, tmp_path: Path) -> None:
    from leadline.core.errors import BadImage

    (tmp_path / "empty").mkdir()
    with pytest.raises(BadImage, match="holds no image"):
        bench([model], options(precisions=("int8",), calibration=tmp_path / "empty"))
    assert not Pretender.log


def test_all_files_of_an_artefact_are_counted(tmp_path: Path) -> None:
    for name in ("net.xml", "net.bin", "net.xml.json", "net.onnx", "net.onnx.data", "net.tflite", "other.bin"):
        (tmp_path / name).touch()
    names = {ending: [path.name for path in files_of(tmp_path / f"net.{ending}")] for ending in ("xml", "onnx")}
    assert names == {"xml": ["net.xml", "net.bin", "net.xml.json"], "onnx": ["net.onnx", "net.onnx.data"]}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["onnx", "openvino", "litert"])
def test_a_real_run_agrees_with_pytorch(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if backend(name).missing() is not None:
        pytest.skip(f"{name} is not installed")
    monkeypatch.setenv("LEADLINE_CACHE", str(tmp_path / "cache"))
    model = str(save(small_net(), tmp_path / "net.safetensors"))
    found = bench(
        [model], options(runtimes=(name,), threads=(usable_cores(),), n=10, whole_frame=True, frame=(96, 128))
    )
    assert [row.get("error") for row in found.rows] == [None] * 3
    net = next(row for row in found.rows if row["runtime"] == name and "frame" not in row)
    framed = next(row for row in found.rows if "frame" in row)
    assert net["parity"] < 1e-4 and framed["parity"] < 0.05
    assert net["latency_ms"]["median"] > 0 and net["bytes"] > 1000 and net["peak_mib"] > 20
