"""`leadline list` and `leadline info`: what they say, as a table and as JSON, and that they do without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support import external_onnx

from leadline.bench.device import fingerprint
from leadline.cli.main import main
from leadline.core.storage import sha256
from leadline.nn import zoo
from leadline.nn.build import build
from leadline.nn.checkpoint import save
from leadline.nn.files import shipped

ROOT = Path(__file__).resolve().parents[2]
Captured = pytest.CaptureFixture[str]


def answer(capsys: Captured, *args: str) -> dict[str, Any]:
    """The JSON object that the command prints."""
    assert main([*args, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def failure(capsys: Captured, *args: str) -> str:
    """The one line on standard error of a command that fails."""
    assert main([*args]) == 1
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "parameters", "macs"), [("fastdepth", 3960930, 736658944), ("fastdepth_pruned", 1360786, 366393384)]
)
def test_info_tells_the_published_counts(capsys: Captured, name: str, parameters: int, macs: int) -> None:
    facts = answer(capsys, "info", name)
    assert (facts["name"], facts["parameters"], facts["macs"]) == (name, parameters, macs)
    assert facts["input"]["size"] == [224, 224]
    assert (facts["kind"], facts["unit"]) == ("metric", "m")


def test_info_of_a_checkpoint_tells_where_it_comes_from(capsys: Captured, tmp_path: Path) -> None:
    net = build(replace(zoo.fastdepth(), name="tiny"), seed=0)
    model = str(save(net, tmp_path / "tiny.safetensors", provenance={"data": "none"}))
    facts = answer(capsys, "info", model)
    assert (facts["name"], facts["weights"], facts["bytes"]) == ("tiny", model, Path(model).stat().st_size)
    assert facts["provenance"] == {"data": "none"}
    assert main(["info", model]) == 0
    rows = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if line[0] != " ")
    assert rows["name"] == "tiny" and rows["data"] == "none"


def test_info_of_an_unknown_net_names_the_nearest(capsys: Captured, tmp_path: Path) -> None:
    assert "nearest: fastdepth" in failure(capsys, "info", "fastdepht")
    assert "no model" in failure(capsys, "info", str(tmp_path / "none.safetensors"))


def test_list_names_the_zoo(capsys: Captured) -> None:
    models = {m["name"]: m for m in answer(capsys, "list")["models"]}
    assert {"fastdepth", "fastdepth_pruned"} <= set(models)
    assert models["fastdepth"]["input"] == [224, 224]
    assert (models["fastdepth"]["parameters"], models["fastdepth"]["macs"]) == (3_960_930, 736_658_944)
    assert models["fastdepth_pruned"]["bytes"] is models["fastdepth_pruned"]["delta1"] is None
    assert 0.5 < models["litedepth"]["delta1"] < 1
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    cells = next(line for line in lines if line.startswith("| fastdepth ")).split("|")
    assert [cell.strip() for cell in cells[2:6]] == ["224x224", "metric, m", "3.96 M", "737 M"]


def test_info_of_what_is_no_net_names_those_that_ship_or_says_what_the_folder_lacks(
    capsys: Captured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("pictures").mkdir()
    assert main(["info", "qqqq"]) == main(["info", "fastdepth_smal"]) == main(["info", "pictures"]) == 1
    nothing, near, folder = capsys.readouterr().err.splitlines()
    assert "the net 'qqqq' is unknown; known: fastdepth, fastdepth_small" in nothing
    assert "nearest: fastdepth_small" in near
    assert "pictures is a folder, and no run of leadline" in folder


def test_list_and_info_tell_the_fastest_time_that_was_measured_here(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LEADLINE_CACHE", str(tmp_path))
    (tmp_path / "choices").mkdir()
    for name, ms, device in (("a", 3.0, fingerprint()["id"]), ("b", 2.0, fingerprint()["id"]), ("c", 1.0, "other")):
        choice = {"runtime": "onnx", "precision": "fp32", "measured": {"onnx fp32": ms}}
        made_for = {"source": sha256(shipped()["litedepth"]), "threads": 2, "device": device}
        (tmp_path / "choices" / f"{name}.json").write_text(json.dumps({"choice": choice, "for": made_for}))
    (tmp_path / "choices" / "damaged.json").write_text("{")
    models = {m["name"]: m["fastest"] for m in answer(capsys, "list")["models"]}
    assert models["litedepth"] == {"ms": 2.0, "runtime": "onnx", "precision": "fp32", "threads": 2}
    assert models["fastdepth"] is None
    assert main(["info", "litedepth"]) == 0
    assert "2 ms (onnx fp32, threads: 2)" in capsys.readouterr().out


def test_they_do_without_torch() -> None:
    code = (
        "import sys; from leadline.cli.main import main; "
        "codes = [main(words.split()) for words in ('list', 'info litedepth', 'info fastdepth_pruned --json')]; "
        "print(codes, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "[0, 0, 0] False" and done.stderr == ""


def test_info_of_another_programs_file_names_what_goes_in_and_comes_out(tmp_path: Path, capsys: Captured) -> None:
    pytest.importorskip("onnxruntime")
    file = external_onnx.model(tmp_path / "theirs.onnx", [1, 3, 24, 32])
    assert main(["info", str(file), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["runtime"] == "onnx" and facts["inputs"] == ["picture float32 [1, 3, 24, 32]"]
    assert len(facts["outputs"]) == 1 and facts["bytes"] == file.stat().st_size
    assert main(["info", str(file)]) == 0
    assert "of another program; --external.kind" in " ".join(capsys.readouterr().out.split())
