"""`pip install leadline[onnx]`: what runs there, how large it is, and what the commands load."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.tiny_scenes import render, write_folder
from support.without_packages import HEAVY, ROOT

from leadline.nn import files

MAX_MB = 200
VENV_BIN = "Scripts" if os.name == "nt" else "bin"


def scene(folder: Path) -> Path:
    """Two frames with depth, and a photograph beside them."""
    write_folder(folder / "data", [render(seed, size=(96, 128)) for seed in range(2)])
    (folder / "data" / "dataset.toml").write_text('layout = "folder"\ndepth_scale = 1000\nsplit = "test"\n')
    Image.fromarray(render(2, size=(96, 128))[0]).save(folder / "photo.png")
    return folder


@pytest.mark.slow
def test_what_runs_nets_loads_nothing_that_trains_or_draws(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    scene(tmp_path)
    exported = str(files.shipped_onnx()["litedepth"])
    calls = [
        ["--help"], ["predict", "--help"], ["predict", "photo.png", "--model", exported], ["predict", "photo.png"],
        ["val", "--data", "data", "--model", "litedepth"], ["doctor"], ["list"], ["info", "litedepth"],
        ["info", exported], ["predict", "photo.png", "--model", "nosuch.onnx"],
    ]  # fmt: skip
    code = (
        "import sys; from leadline.cli.main import main; "
        f"print([main(call) for call in {calls!r}], sorted(set({HEAVY!r}) & set(sys.modules)), file=sys.stderr)"
    )
    around = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=around, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == f"[{'0, ' * (len(calls) - 1)}1] []"


class Fresh:
    """A venv in `folder` with the wheel of this repository and what `leadline[onnx]` brings."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, folder / "venv"
        self.around = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        self._do(*pip, "wheel", str(ROOT), "--no-deps", "--wheel-dir", str(folder))
        (wheel,) = folder.glob("leadline-*.whl")
        venv.create(self.home, with_pip=True)
        pip[0] = str(self.home / VENV_BIN / "python")
        self._do(*pip, "install", "--no-compile", "-c", str(ROOT / "constraints.txt"), f"{wheel}[onnx]")

    def _do(self, *command: str) -> None:
        done = subprocess.run(command, cwd=self.folder, env=self.around, capture_output=True, text=True)
        if done.returncode and "connection" in done.stderr.lower():
            pytest.skip("no package index can be reached")
        assert done.returncode == 0, done.stderr

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [str(self.home / VENV_BIN / "leadline"), *words]
        around = self.around | {"LEADLINE_CACHE": str(self.folder / "cache")}
        return subprocess.run(command, cwd=self.folder, env=around, capture_output=True, text=True)

    def answer(self, *words: str) -> dict[str, object]:
        """What a verb prints with --json."""
        done = self.run(*words, "--json")
        assert done.returncode == 0, done.stderr
        found: dict[str, object] = json.loads(done.stdout)
        return found

    def size_mb(self) -> float:
        """As `du` counts it, without setuptools, which venvs of Python 3.11 have, and newer ones do not."""
        parts = {path: path.relative_to(self.home).parts for path in self.home.rglob("*")}
        found = [path.lstat() for path, names in parts.items() if not {"setuptools", "pkg_resources"} & set(names)]
        return sum(getattr(one, "st_blocks", one.st_size / 512) for one in found) * 512 / 2**20


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Fresh:
    return Fresh(scene(tmp_path_factory.mktemp("light")))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_fresh_venv_runs_what_a_target_needs_and_is_small(fresh: Fresh) -> None:
    answer = fresh.answer
    predicted = answer("predict", "photo.png", "--save", "vis,side,png16,npy,ply")
    assert (predicted["model"], predicted["runtime"], predicted["n_failed"]) == (files.DEFAULT, "onnx", 0)
    (outcome,) = predicted["files"]  # type: ignore[misc]
    assert all((fresh.folder / path).stat().st_size for path in outcome["files"])
    assert np.load(fresh.folder / "out" / "photo_depth.npy").shape == (96, 128)
    assert answer("val", "--data", "data")["metrics"]
    assert answer("info", "litedepth")["parameters"] == 387_953
    assert {"litedepth", "fastdepth"} <= {net["name"] for net in answer("list")["models"]}  # type: ignore[attr-defined]
    ready = {row["runtime"] for row in answer("doctor")["runtimes"] if row["ready"]}  # type: ignore[attr-defined]
    assert ready == {"onnx"}
    (row,) = json.loads(fresh.run("bench", "litedepth", "--n", "10", "--threads", "1", "--json", "-").stdout)["rows"]
    assert row["runtime"] == "onnx" and row["latency_ms"]["median"] > 0
    assert fresh.size_mb() <= MAX_MB


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("words", "extra"),
    [
        ("predict photo.png --model fastdepth", "train"),
        ("predict photo.png --runtime eager", "train"),
        ("predict photo.png --runtime openvino", "openvino"),
        ("info litedepth --channels", "train"),
        ("predict photo.png --colormap cividis", "plot"),
        ("train --data data --out run", "train"),
        ("distill --data data --teacher litedepth --out run", "train"),
        ("prune litedepth --method l2 --budget macs=0.5x --data data --out half.safetensors", "train"),
        ("quantize litedepth --runtime onnx --data data --out net.onnx", "train"),
        ("export litedepth --runtime onnx --out net.onnx", "train"),
        ("parity litedepth photo.png", "train"),
        ("label data --teacher litedepth --out labels", "train"),
        ("import net.pth.tar --out net.safetensors", "train"),
        ("bench litedepth --roofline", "train"),
        ("bench litedepth --plot plot.png", "plot"),
        ("data synth more --n 1", "synthetic"),
    ],
)
def test_what_is_not_installed_is_one_line_with_its_command(fresh: Fresh, words: str, extra: str) -> None:
    done = fresh.run(*words.split(), "--quiet")  # else, on a slow machine, what is done is told first
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1 and f"pip install 'leadline[{extra}]'" in done.stderr
    assert "fault of leadline" not in done.stderr
