"""The verbs about runtimes, and `--runtime` and exported files for predict and val."""

from __future__ import annotations

import json
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.fake_backend import StandIn, stand_in
from support.tiny_runtime_nets import SIZE, small_net
from support.tiny_scenes import render, write_folder

from leadline.cli.flags import parse_size
from leadline.cli.main import main
from leadline.nn.checkpoint import save
from leadline.runtime import BACKENDS, read_manifest
from leadline.runtime import availability as health

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> StandIn:
    monkeypatch.setenv("LEADLINE_CACHE", str(tmp_path / "cache"))
    return stand_in(monkeypatch)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save(small_net(), tmp_path_factory.mktemp("net") / "small.safetensors"))


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five frames with depth, 96x128."""
    return write_folder(tmp_path_factory.mktemp("rooms"), [render(seed) for seed in range(5)])


def answer(capsys: Captured, *args: str | Path, code: int = 0) -> dict[str, Any]:
    """The one JSON object that the command prints on standard output."""
    assert main([str(a) for a in (*args, "--json")]) == code
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def failure(capsys: Captured, *args: str | Path, code: int = 1) -> str:
    """The one line on standard error of a command that fails."""
    assert main([str(a) for a in args]) == code
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("leadline: ") and err.count("\n") == 1
    return err


def test_export_tells_what_it_wrote_and_how_far_it_is_from_pytorch(
    capsys: Captured, backend: StandIn, checkpoint: str, tmp_path: Path
) -> None:
    out = tmp_path / "net.standin"
    assert main(["export", checkpoint, "--runtime", "standin", "--out", str(out), "--size", "32x64"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert f"wrote {out}" in first and "net.standin.json" in first and "MB, fp32, takes float32 [1,3,32,64]" in first
    assert "run once by standin: differs from PyTorch by 0.0e+00" in second
    facts = answer(capsys, "export", checkpoint, "--runtime", "standin", "--out", out, "--frame", "60x80")
    assert (facts["frame"], facts["precision"], facts["runtime"]) == ([60, 80], "fp32", "standin")
    assert facts["difference"] < 1e-6 and facts["bytes"] >= out.stat().st_size
    assert read_manifest(out).frame == (60, 80) and read_manifest(out).size == SIZE


def test_export_without_a_place_writes_into_the_current_folder(
    capsys: Captured, backend: StandIn, checkpoint: str, rooms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    flags = ("--precision", "int8", "--calibration", rooms / "images", "--images", "3", "--keep", "head.conv, other")
    answer(capsys, "export", checkpoint, "--runtime", "standin", *flags)
    assert (tmp_path / "small-int8.standin").is_file()
    (options,) = backend.compiled
    assert [image.shape for image in options.calibration] == [(1, 3, *SIZE)] * 3
    assert options.keep == ("head.conv", "other")


def test_a_file_in_lower_precision_is_told_in_pixels_and_metres(
    capsys: Captured, backend: StandIn, checkpoint: str, rooms: Path, tmp_path: Path
) -> None:
    words = ["export", checkpoint, "--runtime", "standin", "--out", str(tmp_path / "net.standin")]
    words += ["--precision", "int8", "--calibration", str(rooms / "images"), "--images", "2"]
    assert main(words) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert "on 2 of the calibration images: 100.0 % of the pixels within 1.25 of the float32 net, 0.000 m" in last
    assert answer(capsys, *words)["agreement"]["within_125"] == 1.0


def test_quiet_leaves_the_files_and_says_nothing(
    capsys: Captured, backend: StandIn, checkpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leadline.core.progress.AFTER_S", 0.0)
    words = ["export", checkpoint, "--runtime", "standin", "--out", str(tmp_path / "net.standin")]
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert "wrote" in out and "leadline: exporting" in err
    assert main([*words, "--quiet"]) == 0 and (tmp_path / "net.standin").is_file()
    assert capsys.readouterr() == ("", "")
    assert main(["export", "no-such-net", "--quiet", *words[2:]]) == 1
    assert capsys.readouterr().err.count("\n") == 1  # errors stay
    assert answer(capsys, *words, "--quiet")["precision"] == "fp32"  # so does what was asked for


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--runtime", "standinn"), "nearest: standin"),
        (("--runtime", "standin", "--frame", "480"), "--frame is '480'; HEIGHTxWIDTH"),
        (("--runtime", "standin", "--size", "0x5"), "--size is '0x5'"),
        (("--runtime", "standin", "--out", "net.onnx"), "end in .standin"),
        (("--runtime", "standin", "--precision", "int8"), "--calibration"),
        (("--runtime", "standin", "--precision", "int8", "--calibration", "none"), "there is no none"),
        (("--runtime", "standin", "--keep", "head"), "keep is for int8"),
        (("--runtime", "standin", "--trials", "3"), "tvm"),
    ],
)
def test_export_refuses_in_one_line_and_writes_nothing(
    capsys: Captured,
    backend: StandIn,
    checkpoint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    flags: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in failure(capsys, "export", checkpoint, *flags)
    assert not list(tmp_path.iterdir())


def test_an_unknown_precision_is_told_what_is_allowed(capsys: Captured, checkpoint: str) -> None:
    said = failure(capsys, "export", checkpoint, "--runtime", "onnx", "--precision", "fp8", code=2)
    assert "fp32" in said and "int8" in said


def test_sizes_are_typed_height_by_width() -> None:
    assert parse_size("frame", "480x640") == (480, 640)
    assert parse_size("frame", None) is None
    for text in ("480", "480 x 640", "480X640", "-1x5", "axb", "480x640x3", ""):
        with pytest.raises(ValueError, match="such as 480x640"):
            parse_size("frame", text)


def test_predict_and_val_take_an_exported_file(
    capsys: Captured, backend: StandIn, checkpoint: str, rooms: Path, tmp_path: Path
) -> None:
    file, out = tmp_path / "net.standin", tmp_path / "out"
    answer(capsys, "export", checkpoint, "--runtime", "standin", "--out", file, "--frame", "96x128")
    found = answer(capsys, "predict", rooms / "images", "-m", file, "-o", out, "--save", "npy")
    assert (found["runtime"], found["n"], found["n_failed"]) == ("standin", 5, 0)
    assert np.load(out / "000_depth.npy").shape == (96, 128)
    report = answer(capsys, "val", "-m", file, "--data", rooms, "--split", "all")
    expected = answer(capsys, "val", "-m", checkpoint, "--data", rooms, "--split", "all")
    assert (report["context"]["runtime"], report["context"]["precision"]) == ("standin", "fp32")
    assert expected["context"]["runtime"] == "eager"
    assert np.isclose(report["metrics"]["rmse"], expected["metrics"]["rmse"], rtol=0.01)


def test_predict_names_the_picture_that_a_whole_frame_file_does_not_fit(
    capsys: Captured, backend: StandIn, checkpoint: str, tmp_path: Path
) -> None:
    file, photo = tmp_path / "net.standin", tmp_path / "a.png"
    answer(capsys, "export", checkpoint, "--runtime", "standin", "--out", file, "--frame", "96x128")
    Image.fromarray(np.zeros((30, 40, 3), np.uint8)).save(photo)
    said = failure(capsys, "predict", photo, "-m", file, "-o", tmp_path / "out")
    assert f"{photo}: the picture is 30x40" in said and "--frame 30x40" in said


def test_runtime_exports_on_the_way_and_only_once(
    capsys: Captured, backend: StandIn, checkpoint: str, rooms: Path, tmp_path: Path
) -> None:
    for _ in range(2):
        found = answer(capsys, "val", "-m", checkpoint, "--data", rooms, "--runtime", "standin")
        assert found["context"]["runtime"] == "standin"
    assert len(backend.compiled) == 1
    assert "nearest: standin" in failure(capsys, "val", "-m", checkpoint, "--data", rooms, "--runtime", "standinn")
    backend.fault = "missing"
    assert "pip install stand-in" in failure(capsys, "val", "-m", checkpoint, "--data", rooms, "--runtime", "standin")


def test_auto_says_what_it_chose_and_why(
    capsys: Captured, backend: StandIn, checkpoint: str, rooms: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from leadline.runtime.export import export

    def choose(model: str, **_: object) -> types.SimpleNamespace:
        return types.SimpleNamespace(file=export(model, "standin"), why="standin fp32 2.0 ms, fastest of 2")

    monkeypatch.setitem(sys.modules, "leadline.bench.fastest", types.SimpleNamespace(choose=choose))
    assert main(["val", "-m", checkpoint, "--data", str(rooms), "--runtime", "auto", "--json"]) == 0
    out, err = capsys.readouterr()
    assert err == "leadline: standin fp32 2.0 ms, fastest of 2\n"
    assert json.loads(out)["context"]["runtime"] == "standin"


@pytest.mark.slow
def test_doctor_names_every_runtime_and_the_command_that_brings_a_missing_one(
    capsys: Captured, backend: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(health.NEEDS, "standin", health.Needs("numpy", "leadline_has_no_such_module"))
    for name in BACKENDS:
        if name not in ("eager", "standin"):
            monkeypatch.setitem(BACKENDS, name, "stand_in_backend")
            monkeypatch.setitem(health.NEEDS, name, health.Needs("numpy", "numpy", ("no_such_exporter",)))
    found = answer(capsys, "doctor")
    rows = {row["runtime"]: row for row in found["runtimes"]}
    assert list(rows) == list(BACKENDS)
    assert rows["eager"]["ready"] and rows["eager"]["exports"] and rows["eager"]["version"].startswith("2.")
    assert "broken: ModuleNotFoundError" in rows["standin"]["needs"] and not rows["standin"]["exports"]
    assert (rows["onnx"]["ready"], rows["onnx"]["export_needs"]) == (True, "pip install 'leadline[onnx-export]'")
    assert found["device"]["usable_cores"] >= 1
    backend.fault = "missing"
    assert main(["doctor"]) == 0
    assert "pip install stand-in" in capsys.readouterr().out


def test_what_makes_the_files_of_an_absent_runtime_is_its_export_extra(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leadline.core.machine.importlib.util.find_spec", lambda name: None)
    rows = {row["runtime"]: row for row in answer(capsys, "doctor")["runtimes"]}
    assert {row["export_needs"] for name, row in rows.items() if name != "eager"} == {
        f"pip install 'leadline[{name}-export]'" for name in rows if name != "eager"
    }
    assert rows["eager"]["export_needs"] == "pip install 'leadline[train]'"
    assert rows["openvino"]["needs"] == "pip install 'leadline[openvino]'"


def test_every_runtime_has_its_needs_listed() -> None:
    assert health.NEEDS.keys() == BACKENDS.keys()


def test_parity_asks_for_the_checkpoint_of_a_file(capsys: Captured, backend: StandIn, checkpoint: str) -> None:
    assert "--reference" in failure(capsys, "parity", "net.standin")
    assert "--reference is for exported" in failure(capsys, "parity", checkpoint, "--reference", checkpoint)
    assert "there is no file net.standin" in failure(capsys, "parity", "net.standin", "--reference", checkpoint)


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_parity_prints_a_table_and_passes_where_files_agree(
    capsys: Captured, checkpoint: str, rooms: Path, runtime: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from leadline.runtime import backend

    if (command := backend(runtime).missing()) is not None:
        pytest.skip(command)
    monkeypatch.setenv("LEADLINE_CACHE", str(tmp_path))
    flags = ("--runtime", runtime, "--frame", "96x128", "--data", str(rooms), "--limit", "2", "--threads", "1")
    assert main(["parity", checkpoint, str(rooms / "images"), *flags]) == 0
    out = capsys.readouterr().out
    assert "| verdict |" in out and "delta1" in out and out.count("| agrees ") == 3
    assert out.endswith("passed: 2 of 2 float32 files agree to 0.0001 (rel. max) on 2 pictures\n")
    found = answer(capsys, "parity", checkpoint, str(rooms / "images"), *flags, "--tolerance", "1e-12", code=1)
    assert found["passed"] is False
    assert [row["verdict"] for row in found["rows"]][1:] == ["differs", "differs"]


@pytest.mark.slow
def test_a_device_without_torch_predicts_with_an_exported_file(
    capsys: Captured, checkpoint: str, rooms: Path, tmp_path: Path
) -> None:
    from leadline.runtime import backend

    if (command := backend("openvino").missing()) is not None:
        pytest.skip(command)
    answer(capsys, "export", checkpoint, "--runtime", "openvino", "--out", tmp_path / "net.xml")
    code = (
        "import sys\n"
        "class Gone:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] == 'torch': raise ImportError('there is no torch')\n"
        "sys.meta_path.insert(0, Gone())\n"
        "from leadline.cli.main import main\n"
        f"args = ['-m', {str(tmp_path / 'net.xml')!r}]\n"
        f"sys.exit(main(['predict', {str(rooms / 'images')!r}, '-o', {str(tmp_path / 'out')!r}, *args])\n"
        f"    or main(['val', '--data', {str(rooms)!r}, *args]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("_vis.png") == 5 and "indoor-metric@1" in done.stdout
