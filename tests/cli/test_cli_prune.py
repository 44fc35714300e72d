"""`leadline prune` and `leadline info --channels`, as people type them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from support.tiny_pruning_nets import thin_checkpoint
from support.tiny_scenes import render, write_folder

from leadline.cli.main import main
from leadline.nn.checkpoint import load, read_provenance

pytestmark = pytest.mark.usefixtures("one_thread")
Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    return thin_checkpoint(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> str:
    drawn = [render(i // 6, step=0.1 * (i % 6), size=(36, 72)) for i in range(12)]
    return str(write_folder(tmp_path_factory.mktemp("rooms"), drawn))


def typed(source: str, rooms: str, out: Path, *more: str, budget: str = "macs=0.8x") -> list[str]:
    plain = [
        "--method",
        "l2",
        "--budget",
        budget,
        "--data",
        rooms,
        "--out",
        str(out),
        "--batch",
        "2",
        "--val-every",
        "0",
    ]
    return ["prune", source, *plain, "--fit.steps", "2", "--fit.precision", "no", *more]


@pytest.mark.slow
def test_before_and_after_stand_in_one_table(source: str, rooms: str, tmp_path: Path, capsys: Captured) -> None:
    out, picture = tmp_path / "small.safetensors", tmp_path / "widths.png"
    flags = ("--measure", "eager", "--threads", "1", "--plot", str(picture), "--name", "smaller", "--json")
    assert main(typed(source, rooms, out, *flags)) == 0
    before, after = json.loads(capsys.readouterr().out)["reports"]
    assert (before["protocol"], after["name"]) == ("indoor-metric@1", "smaller after")
    assert after["cost"]["macs"] <= 0.8 * before["cost"]["macs"]
    assert after["cost"]["parameters"] < before["cost"]["parameters"]
    assert after["cost"]["half_bytes"] < before["cost"]["half_bytes"]
    assert before["latency_ms"]["eager ms"] > 0 and 0 <= after["metrics"]["delta1"] <= 1
    with Image.open(picture) as drawn:
        assert drawn.size[0] > 500
    net = load(out)
    assert net.spec.name == "smaller" and net.spec.provenance[-2:] == (
        "pruned by l2 to macs=0.8x",
        "trained for 2 steps",
    )
    assert read_provenance(out)["pruning"]["method"] == "l2"
    assert main(typed(source, rooms, out)) == 1  # a run is there
    assert "holds a run already: give --resume" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("budget", "more", "said"),
    [
        ("macs=0.5y", (), r"'0.5y'; a number is needed"),
        ("macs=-3", (), "above 0 is needed"),
        ("macs=0", (), "above 0 is needed"),
        ("watts=3", (), "nearest: macs"),
        ("macs=9G", (), "there is nothing to prune"),
        ("params=1", (), "the smallest reachable"),
        ("latency_ms=3", (), "say --runtime"),
        ("macs=0.5x", ("--runtime", "openvinno"), "nearest: openvino"),
        ("macs=0.5x", ("--layers", "encoder.nothing"), "starts with encoder.nothing"),
        ("macs=0.5x", ("--method", "netadapt"), "val_every is 0, give --val-every 10"),
        ("macs=0.5x", ("--measure", "onyx"), "nearest: onnx"),
        ("macs=0.5x", ("--plot", "widths.xyz"), "its name must end in one of "),
        ("macs=0.5x", ("--plot", "widths.xyz"), "pdf, pgf, png"),  # what else depends on pillow
        ("macs=0.5x", ("--protocol", "indoor-metrc@1"), "nearest: indoor-metric@1"),
        ("macs=0.5x", ("--measure", "eager", "--threads", "0"), "threads is 0"),
    ],
)
def test_what_cannot_be_is_one_line_before_any_work(
    budget: str, more: tuple[str, ...], said: str, source: str, rooms: str, tmp_path: Path, capsys: Captured
) -> None:
    out = tmp_path / "small.safetensors"
    assert main(typed(source, rooms, out, *more, budget=budget)) == (2 if said == "threads is 0" else 1)
    error = capsys.readouterr().err
    assert said in error and "fault of leadline" not in error and not out.exists()


def test_channels_are_explained(source: str, capsys: Captured) -> None:
    assert main(["info", source, "--channels"]) == 0
    text = capsys.readouterr().out
    row = next(line for line in text.splitlines() if line.startswith("| encoder.blocks.1.3"))
    assert "encoder.blocks.2.0, decoder.blocks.3.3, decoder.blocks.4.0" in row and "free" in row
    assert "the net's output" in next(line for line in text.splitlines() if line.startswith("| head.conv"))
    assert main(["info", source, "--channels", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["groups"][-1]["why_frozen"] == "the net's output" and facts["unknown_operations"] == []
