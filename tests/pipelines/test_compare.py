"""`leadline compare`: what differs between runs, and what they reached."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from leadline.cli.main import main
from leadline.nn import zoo
from leadline.nn.build import build
from leadline.nn.checkpoint import save
from leadline.pipelines.compare import differing, read_facts

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def runs(tmp_path: Path) -> tuple[str, str, str]:
    """A training, a second one that has not saved its net, and a pruning run, as they lie on disk."""
    net = build(zoo.spec("fastdepth_pruned"), seed=0)
    for name, lr in (("a", 0.1), ("b", 0.2)):
        folder = tmp_path / name
        folder.mkdir()
        said = {"training": {"batch": 8, "loss": ["l1"]}, "options": {"lr": lr, "steps": 5, "seed": 3}}
        (folder / "run.json").write_text(json.dumps({**said, "started": "2026-01-02", "commit": "abc"}))
    report = {"name": "x", "protocol": "indoor-metric@1", "n": 9, "metrics": {"delta1": 0.75, "loss": 0.5}}
    (tmp_path / "a" / "report.json").write_text(json.dumps(report))
    save(net, tmp_path / "a" / "fastdepth_pruned.safetensors")
    (tmp_path / "c").mkdir()
    plan = {"budget": "macs=50%", "training.fit.lr": 0.1, "training.batch": 8, "source": "...", "requested": {}}
    (tmp_path / "c" / "plan.json").write_text(json.dumps(plan))
    provenance = {"metrics": {"indoor-metric@1 (validation split)": {"delta1": 0.5}}, "commit": "def"}
    save(net, tmp_path / "c.safetensors", provenance=provenance)
    return str(tmp_path / "a"), str(tmp_path / "b"), str(tmp_path / "c")


def test_only_options_that_differ_are_shown_and_metrics_stand_side_by_side(
    runs: tuple[str, str, str], capsys: Captured
) -> None:
    assert main(["compare", *runs]) == 0
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines() if line]
    table = {row[0]: row[1:] for row in rows}
    assert table["option"] == list(runs)
    assert table["fit.lr"] == ["0.1", "0.2", "0.1"] and table["budget"] == ["-", "-", "macs=50%"]
    assert "batch" not in table and "source" not in table
    assert table["indoor-metric@1 delta1"] == ["0.75", "-", "0.5"] and table["loss"] == ["0.5", "-", "-"]
    assert table["parameters"][0] == table["parameters"][2] != "-" and table["parameters"][1] == "-"
    assert table["seed"][0] == "3" and table["commit"] == ["abc", "abc", "def"]


def test_json_holds_everything(runs: tuple[str, str, str], capsys: Captured) -> None:
    assert main(["compare", *runs, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["differing"]["fit.lr"] == [0.1, 0.2, 0.1]
    assert [one["options"]["batch"] for one in said["runs"]] == [8, 8, 8]
    assert said["runs"][0]["cost"]["macs"] > 0 and said["runs"][0]["about"]["started"] == "2026-01-02"


def test_a_run_differs_from_itself_in_nothing(runs: tuple[str, str, str], tmp_path: Path) -> None:
    shutil.copytree(runs[0], tmp_path / "copy")
    pair = [read_facts(run) for run in (runs[0], str(tmp_path / "copy"))]
    assert differing([one.options for one in pair]) == {} and pair[0].cost == pair[1].cost


def test_names_that_ship_are_compared_by_their_provenance() -> None:
    facts = read_facts("litedepth")
    assert facts.cost["parameters"] > 0 and facts.about["net"] == "litedepth"


@pytest.mark.parametrize("wrong", [(), ("litedepth",), ("litedepth", "no-such-run")])
def test_what_cannot_be_compared_is_one_line(wrong: tuple[str, ...], capsys: Captured) -> None:
    assert main(["compare", *wrong]) in (1, 2)
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "fault of leadline" not in error


@pytest.mark.parametrize("content", ["{", "[]", '{"options": 3, "training": []}'])
def test_a_damaged_record_is_one_line_or_left_out(content: str, tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "run.json").write_text(content)
    main(["compare", str(tmp_path), "litedepth"])
    assert "fault of leadline" not in capsys.readouterr().err
