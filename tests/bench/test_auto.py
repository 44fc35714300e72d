"""`auto` measures once, remembers the winner as long as nothing changes, and says why it won."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.fake_bench import bench_of, row

from leadline.bench import fastest as auto
from leadline.bench.fastest import Choice, choose
from leadline.bench.rows import BenchOptions
from leadline.core.errors import NoRuntime


class Measured:
    """In place of `bench`: gives the rows, and keeps what it was asked."""

    def __init__(self, *rows: dict[str, Any]) -> None:
        self.rows, self.asked = rows, []

    def __call__(self, models: list[str], options: BenchOptions, say: object) -> object:
        self.asked.append(options)
        return bench_of(*self.rows)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Measured:
    monkeypatch.setenv("LEADLINE_CACHE", str(tmp_path / "cache"))
    (file := tmp_path / "net.xml").touch()
    near = [row("eager", 17.0, parity=0.0), row("onnx", 8.1), row("openvino", 8.0, file=str(file))]
    wrong, failed = row("ncnn", 1.0, parity=0.5), row("litert", 0, error="refused")
    found = Measured(*near, wrong, failed)
    monkeypatch.setattr(auto, "bench", found)
    monkeypatch.setattr(
        auto, "backend", lambda name: type("", (), {"missing": lambda: "pip" if name == "tvm" else None})
    )
    return found


def test_the_fastest_correct_file_wins_and_the_sentence_has_the_figures(measured: Measured, tmp_path: Path) -> None:
    choice = choose("fastdepth", threads=1)
    assert (choice.runtime, choice.precision, choice.file) == ("openvino", "fp32", tmp_path / "net.xml")
    assert choice.measured == {"openvino fp32": 8.0, "onnx fp32": 8.1, "eager fp32": 17.0}
    for words in (
        "openvino fp32 8 ms, fastest of 3 (onnx fp32 8.1, eager fp32 17)",
        "2026-01-02",
        "tvm takes part once",
    ):
        assert words in choice.why
    assert "not usable: ncnn fp32, litert fp32" in choice.why


def test_it_is_measured_once(measured: Measured) -> None:
    assert choose("fastdepth", threads=1) == choose("fastdepth", threads=1)
    assert len(measured.asked) == 1
    choose("fastdepth", threads=1, again=True)
    assert len(measured.asked) == 2


def test_whatever_changes_times_is_measured_anew(measured: Measured, monkeypatch: pytest.MonkeyPatch) -> None:
    choose("fastdepth", threads=1)
    choose("fastdepth", threads=1, size=(96, 128))
    choose("fastdepth", threads=1, precisions=("fp32", "bf16"))
    monkeypatch.setattr(auto, "versions", lambda: {"onnxruntime": "99"})
    choose("fastdepth", threads=1)
    monkeypatch.setattr(auto, "fingerprint", lambda: {"id": "another"})
    choose("fastdepth", threads=1)
    assert len(measured.asked) == 5


def test_a_file_that_is_gone_is_made_again(measured: Measured) -> None:
    choice = choose("fastdepth", threads=1)
    choice.file.unlink()
    choose("fastdepth", threads=1)
    assert len(measured.asked) == 2


def test_a_damaged_note_is_not_believed(measured: Measured, tmp_path: Path) -> None:
    choice = choose("fastdepth", threads=1)
    (note,) = (tmp_path / "cache" / "choices").iterdir()
    note.write_text("{")
    assert choose("fastdepth", threads=1) == choice and len(measured.asked) == 2


def test_tvm_takes_part_only_tuned(measured: Measured, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(auto, "backend", lambda name: type("", (), {"missing": lambda: None}))
    choose("fastdepth", threads=1)
    tuned = choose("fastdepth", threads=1, tuning=tmp_path)
    assert ["tvm" in options.runtimes for options in measured.asked] == [False, True]
    assert "tvm" not in tuned.why


def test_int8_is_never_chosen_by_speed_alone(measured: Measured) -> None:
    with pytest.raises(ValueError, match="leadline quantize"):
        choose("fastdepth", precisions=("fp32", "int8"))


def test_no_runtime_at_all_is_an_error_with_the_reasons() -> None:
    with pytest.raises(NoRuntime, match="onnx: refused"):
        auto._winner(bench_of(row("onnx", 0, error="refused")), with_tvm=False)


def test_a_choice_survives_its_file(tmp_path: Path) -> None:
    (file := tmp_path / "net.xml").touch()
    choice = Choice("openvino", "fp32", file, "since it is", {"openvino fp32": 8.0})
    auto._write(tmp_path / "note.json", choice, {})
    assert auto._read(tmp_path / "note.json") == choice


def test_a_choice_that_cannot_be_kept_is_made_and_says_what_to_set(
    measured: Measured, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "a file").touch()
    monkeypatch.setenv("LEADLINE_CACHE", str(tmp_path / "a file" / "cache"))
    told: list[str] = []
    assert choose("fastdepth", threads=1, say=told.append).runtime == "openvino"
    assert "is not remembered" in told[-1] and "set LEADLINE_CACHE" in told[-1]
