"""The verb `bench` turns flags into options, prints one table or one JSON, and refuses nonsense in a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.fake_bench import bench_of, row

from leadline.bench import run as suite
from leadline.bench.rows import BenchOptions
from leadline.bench.run import Bench
from leadline.cli import bench as cli_bench
from leadline.cli.command import run
from leadline.runtime import BACKENDS


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the measuring was asked for, which gives made-up rows."""
    seen: list[Any] = []

    def bench(models: Any, options: BenchOptions, say: Any) -> Bench:
        seen.extend((models, options))
        return bench_of(row("eager", 20.0, parity=0.0), row("onnx", 8.0, ratio=float("nan")), row("tvm", 0, error="no"))

    monkeypatch.setattr(suite, "bench", bench)
    return seen


def command(*words: str) -> int:
    return run({"bench": cli_bench.bench}, ["bench", *words])


def test_without_flags_all_runtimes_are_measured(asked: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert command("fastdepth") == 0
    models, options = asked
    assert models == ("fastdepth",) and options == BenchOptions()
    assert options.runtimes == tuple(BACKENDS) and not options.whole_frame
    assert "onnx" in capsys.readouterr().out


def test_flags_become_options(asked: list[Any], tmp_path: Path) -> None:
    words = "litedepth b.onnx --runtime onnx,openvino --precision fp32,int8 --threads 1,2 --size 96x128 --frame 240x320"
    words += " --data photos --protocol nyu-eigen@1 --limit 5 --calibration pictures --n 50 --roofline"
    assert command(*words.split(), "--tuning", str(tmp_path), "--trials", "8") == 0
    models, options = asked
    assert models == ("litedepth", "b.onnx")
    assert (options.runtimes, options.precisions) == (("onnx", "openvino"), ("fp32", "int8"))
    assert (options.threads, options.size, options.frame, options.whole_frame) == ((1, 2), (96, 128), (240, 320), True)
    assert (options.data, options.protocol, options.limit) == (Path("photos"), "nyu-eigen@1", 5)
    assert (options.calibration, options.n, options.roofline) == ("pictures", 50, True)
    assert (options.tuning, options.trials) == (tmp_path, 8)


def test_json_is_a_file_beside_the_table_or_takes_its_place(
    asked: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("litedepth", "--json", str(tmp_path / "new" / "out.json"), "--plot", str(tmp_path / "p.png")) == 0
    assert "precision" in capsys.readouterr().out and (tmp_path / "p.png").stat().st_size > 1000
    found = json.loads((tmp_path / "new" / "out.json").read_text())
    assert [r["runtime"] for r in found["rows"]] == ["eager", "onnx", "tvm"]
    assert found["rows"][1]["ratio"] is None  # JSON has no NaN
    assert command("litedepth", "--json", "-") == 0
    assert json.loads(capsys.readouterr().out) == found


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["litedepth", "--threads", "two"], "--threads is 'two'"),
        (["litedepth", "--frame", "480,640"], "HEIGHTxWIDTH"),
        ([], "nothing to measure"),
    ],
)
def test_nonsense_is_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(*words) != 0
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1


def test_what_cannot_be_written_fails_before_the_work(asked: list[Any], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert command("litedepth", "--json", str(tmp_path / "file" / "out.json")) == 1
    assert asked == []
