"""Packages that only some work needs: which extra brings each, and the one line that says so where one is missing."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator

from leadline.core.errors import MissingPackage

EXTRAS: dict[str, str] = {
    "torch": "train",
    "accelerate": "train",
    "filelock": "train",
    "tensorboard": "train",
    "h5py": "data",
    "scipy": "data",
    "pyarrow": "data",
    "embreex": "synthetic",
    "matplotlib": "plot",
    "OpenEXR": "exr",
    "timm": "timm",
    "transformers": "teachers",
    "ray": "label",
    "onnxruntime": "onnx",
    "openvino": "openvino",
    "ai_edge_litert": "litert",
    "executorch": "executorch",
    "torchao": "inductor",
    "tvm": "tvm",
    "ncnn": "ncnn",
}
"""Name of an import -> the extra of leadline's that brings it."""


def is_installed(package: str) -> bool:
    """Whether `package`, a name to import, is there; it is not imported."""
    return importlib.util.find_spec(package) is not None


def need(package: str, purpose: str) -> None:
    """MissingPackage if `package`, one of EXTRAS, is not there; said before the work that ends in `purpose`."""
    if not is_installed(package):
        raise MissingPackage(package, EXTRAS[package], purpose)


@contextlib.contextmanager
def needing(purpose: str) -> Iterator[None]:
    """An import inside that fails for want of one of EXTRAS is a MissingPackage: it says what `purpose` needs, and the
    command that brings it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if package not in EXTRAS or is_installed(package):  # installed, and broken: its own words say more
            raise
        raise MissingPackage(package, EXTRAS[package], purpose) from error
