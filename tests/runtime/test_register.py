"""A runtime of the user's own: registered by three functions, it exports, loads and predicts like the others."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.tiny_runtime_nets import small_net

from leadline import runtime
from leadline.predict.predictor import load_predictor
from leadline.runtime import availability
from leadline.runtime.backends import eager
from leadline.runtime.export import export
from leadline.runtime.manifest import read_beside, write_beside


def toy() -> Any:
    """Its files are checkpoints with a manifest beside them."""

    def compile(net: Any, example: Any, out: Path, options: Any) -> Path:
        from leadline.nn.checkpoint import save
        from leadline.runtime import graph

        save(net, out)
        write_beside(out, graph.manifest(net, example, "toy", options, []))
        return out

    def load(path: Path, threads: int | None) -> Any:
        from leadline.runtime.runner import runner

        return runner(read_beside(path), eager.load(path, threads))

    module: Any = types.ModuleType("toy_runtime")
    module.PRECISIONS, module.missing, module.compile, module.load = ("fp32",), lambda: None, compile, load
    return module


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Nothing stays registered."""
    kept = [(known, dict(known)) for known in (runtime.BACKENDS, runtime.SUFFIXES)]
    yield
    for known, before in kept:
        known.clear()
        known.update(before)
    sys.modules.pop("toy_runtime", None)


def test_a_registered_runtime_exports_loads_and_predicts(tmp_path: Path) -> None:
    module = toy()
    runtime.register("toy", module, ".toy")
    runtime.register("toy", module, ".toy")  # a second time changes nothing
    net = small_net()
    path = export(net, "toy", tmp_path / "net.toy")
    assert runtime.read_manifest(path).runtime == "toy"
    predictor = load_predictor(path)
    assert predictor.runtime == "toy" and predictor(np.zeros((48, 64, 3), np.uint8)).values.shape == (48, 64)
    with pytest.raises(ValueError, match=r"the files of toy end in \.toy"):
        export(net, "toy", tmp_path / "net.onnx")
    with pytest.raises(ValueError, match="nearest: toy"):
        runtime.backend("toyy")


def test_doctor_asks_a_registered_runtime_what_it_lacks() -> None:
    module = toy()
    module.missing = lambda: "pip install toy"
    runtime.register("toy", module, ".toy")
    found = availability._health("toy")
    assert (found["ready"], found["needs"]) == (False, "pip install toy")


@pytest.mark.parametrize(
    ("name", "suffix", "lacks", "said"),
    [
        ("onnx", ".toy", None, "the runtime 'onnx' is there already"),
        ("toy", ".onnx", None, "the ending '.onnx' is there already"),
        ("toy", "toy", None, "a dot and letters"),
        ("toy", ".toy", "load", "has no load; a runtime needs all four"),
    ],
)
def test_what_cannot_be_registered_is_refused(name: str, suffix: str, lacks: str | None, said: str) -> None:
    module = toy()
    if lacks:
        delattr(module, lacks)
    with pytest.raises(ValueError, match=said):
        runtime.register(name, module, suffix)
    assert "toy" not in runtime.BACKENDS and ".toy" not in runtime.SUFFIXES


def package(folder: Path, points: str) -> None:
    """What an installed package with entry points looks like on the path."""
    about = folder / "toy_runtime-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-runtime\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[leadline.runtimes]\n{points}\n")


def test_a_package_s_runtime_is_known_in_every_process(tmp_path: Path) -> None:
    """So it reaches the command line and the workers of `bench`; nothing of it is imported before it is asked for."""
    package(tmp_path, "toy = toy_runtime_that_would_fail\nonnx = other\nno-name = other")
    path = os.pathsep.join([str(tmp_path), str(Path(runtime.__file__).parents[2])])
    code = "from leadline.runtime import *; from leadline import runtime as r; print(r.BACKENDS, r.SUFFIXES)"
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=True
    )
    assert "'toy': 'toy_runtime_that_would_fail'" in done.stdout and "'.toy': 'toy'" in done.stdout
    assert "'onnx': 'leadline.runtime.backends.onnx'" in done.stdout and "no-name" not in done.stdout


def test_a_package_s_runtime_works_like_a_registered_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package(tmp_path, "toy = toy_runtime")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "toy_runtime", toy())
    runtime.add_packaged()
    path = export(small_net(), "toy", tmp_path / "net.toy")
    assert load_predictor(path).runtime == "toy"
