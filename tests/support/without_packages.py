"""A Python in which packages are not there, as on a machine that has never installed them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HEAVY = (
    "torch", "accelerate", "tensorboard", "filelock", "matplotlib", "h5py", "scipy", "embreex", "skimage", "onnx",
    "onnxscript", "openvino", "nncf", "ai_edge_litert", "litert_torch", "executorch", "torchao", "tvm", "ncnn", "pnnx",
    "transformers", "ray", "cv2", "OpenEXR", "timm",
)  # fmt: skip
"""What `leadline[onnx]` does not bring."""

# Read by every Python that starts, before anything else: of those below it, too, such as a benchmark's workers.
_SITE = """
from importlib.machinery import PathFinder

lacking = {names!r}
find = PathFinder.find_spec
PathFinder.find_spec = classmethod(
    lambda cls, name, path=None, target=None: None if name in lacking else find(name, path, target)
)
"""


def environment(folder: Path, lacking: Sequence[str] = HEAVY) -> dict[str, str]:
    """The environment of a process that finds leadline, but none of `lacking`; `folder` is for a file of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(_SITE.format(names=tuple(lacking)))
    return os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", "LEADLINE_CACHE": str(folder / "cache")}


def leadline(*words: str | Path, env: dict[str, str], cwd: Path) -> subprocess.CompletedProcess[str]:
    """The command line, in a process of its own."""
    command = [sys.executable, "-m", "leadline", *map(str, words)]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
