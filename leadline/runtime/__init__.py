"""Backends: ways to run a net. Each is a module with three functions; this dict is the registry."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Protocol, cast

from leadline.core.errors import BadArtefact, NoRuntime
from leadline.core.text import nearest
from leadline.runtime.options import CompileOptions, Precision

if TYPE_CHECKING:
    import torch

    from leadline.core.preprocess import Runner
    from leadline.nn.build import Net
    from leadline.runtime.manifest import Manifest

BACKENDS: dict[str, str] = {
    name: f"leadline.runtime.backends.{name}"
    for name in ("eager", "inductor", "onnx", "openvino", "tvm", "litert", "executorch", "ncnn")
}
"""Name -> module; imported only when asked for, so that a missing package hurts nobody else."""

SUFFIXES: dict[str, str] = {
    ".safetensors": "eager",
    ".pt2": "inductor",
    ".onnx": "onnx",
    ".xml": "openvino",
    ".so": "tvm",
    ".tflite": "litert",
    ".pte": "executorch",
    ".param": "ncnn",
}
"""How an artefact's name ends -> the backend that runs it."""


def add_packaged() -> None:
    """Add the runtimes that installed packages bring, in every process that uses leadline: each entry point `NAME =
    MODULE` of the group `leadline.runtimes` is one, whose files end in .NAME. Its module is imported when it is asked
    for. A name that is taken, or is not of letters and digits alone, is passed over.
    """
    for point in metadata.entry_points(group=GROUP):
        ending = f".{point.name}"
        if point.name.isalnum() and point.name not in BACKENDS and ending not in SUFFIXES:
            BACKENDS[point.name], SUFFIXES[ending] = point.value, point.name


GROUP = "leadline.runtimes"
add_packaged()


class Backend(Protocol):
    """What such a module offers."""

    PRECISIONS: Sequence[Precision]
    """What `compile` can make."""

    def missing(self) -> str | None:
        """None where the backend can run here, otherwise the command that installs what it lacks."""

    def compile(self, net: Net, example: torch.Tensor, out: Path, options: CompileOptions) -> Path:
        """The artefact written at `out`, with its manifest: the net for inputs float32 [1,3,h,w] shaped as `example`.

        `net` is left as it is. What the backend cannot do is a ValueError; a compiler that fails is an ExportFailed.
        """

    def load(self, path: Path, threads: int | None) -> Runner:
        """The artefact as a function, see `Runner` and `calls.runner`. `threads` None: every core that the process may
        use. A BadArtefact if its files or this machine are not those of its manifest."""


class OnDevices(Protocol):
    """What the module of a runtime offers besides that can compute elsewhere than on the processor."""

    def devices(self) -> tuple[str, ...]:
        """Where it can on this machine, in lower case, "cpu" first."""

    def load(self, path: Path, threads: int | None, device: str) -> Runner:
        """As `Backend.load`, on one of `devices`."""


def register(name: str, module: ModuleType | str, suffix: str) -> None:
    """Add a runtime of your own to this process: every function that takes a runtime's name then takes `name`.

    `module`, or the module of that name, has what `Backend` says: PRECISIONS, `missing`, `compile` and `load`. Its
    files end in `suffix`, such as ".toy". ValueError if something is lacking, or if the name or the ending is taken.
    """
    found = importlib.import_module(module) if isinstance(module, str) else module
    if lacking := [part for part in ("PRECISIONS", "missing", "compile", "load") if not hasattr(found, part)]:
        raise ValueError(f"the module {found.__name__} has no {', '.join(lacking)}; a runtime needs all four")
    if not (suffix.startswith(".") and suffix[1:].isalnum()):
        raise ValueError(f"suffix is {suffix!r}; a dot and letters or digits are needed, such as .toy")
    known = BACKENDS.get(name), SUFFIXES.get(suffix)
    if known not in ((None, None), (found.__name__, name)):
        taken = f"the runtime {name!r}" if known[0] else f"the ending {suffix!r}"
        raise ValueError(f"{taken} is there already; runtimes: {', '.join(BACKENDS)}; endings: {', '.join(SUFFIXES)}")
    sys.modules.setdefault(found.__name__, found)
    BACKENDS[name], SUFFIXES[suffix] = found.__name__, name


def check_name(name: str) -> None:
    """A ValueError that names the nearest ones unless `name` is a runtime's; nothing is loaded."""
    if name not in BACKENDS:
        raise ValueError(f"the runtime {name!r} is unknown; {nearest(name, BACKENDS)}")


def backend(name: str) -> Backend:
    """The backend's module; an unknown name is a ValueError that names the nearest ones."""
    check_name(name)
    return cast(Backend, importlib.import_module(BACKENDS[name]))


def installed(name: str) -> Backend:
    """The backend's module, ready to use here; NoRuntime, with the command to type, where it is not."""
    module = backend(name)
    if (needed := module.missing()) is not None:
        raise NoRuntime(f"the runtime {name} cannot run here; this brings what it lacks: {needed}")
    return module


def suffix(name: str) -> str:
    """How the artefacts of the backend `name` end."""
    return next(ending for ending, other in SUFFIXES.items() if other == name)


def read_manifest(path: Path) -> Manifest:
    """The artefact's manifest; BadArtefact if it has none."""
    from leadline.runtime.manifest import check_runtime, read_beside

    name = SUFFIXES.get(path.suffix)
    if name in (None, "eager"):
        endings = [ending for ending, other in SUFFIXES.items() if other != "eager"]
        raise BadArtefact(f"{path} is not an exported file; those end in {', '.join(endings)}")
    if name == "onnx":
        from leadline.runtime.backends import onnx

        found = onnx.read_manifest(path)
    else:
        found = read_beside(path)
    check_runtime(path, found, str(name))
    return found


def devices(name: str) -> tuple[str, ...]:
    """Where the runtime `name`, which must be installed, can compute on this machine, in lower case, "cpu" first."""
    found = getattr(installed(name), "devices", None)
    return ("cpu",) if found is None else found()


def check_device(name: str, device: str) -> None:
    """ValueError if the runtime `name` cannot compute on `device` here, NoRuntime if it is not installed."""
    installed(name)
    if device != "cpu" and device not in (here := devices(name)):
        raise ValueError(f"device is {device!r}; on this machine {name} computes on {', '.join(here)}")


def load(path: Path, threads: int | None = None, device: str = "cpu") -> tuple[Runner, Manifest]:
    """The artefact at `path`, ready to run on `device` (see `devices`), and its manifest. The runtime's package must be
    installed.

    The Runner can be pickled: that is the path, which is loaded anew; a BadArtefact if another artefact lies there.
    """
    from leadline.runtime.runner import Loaded

    found = read_manifest(path)
    check_device(found.runtime, device)
    module = installed(found.runtime)
    run = module.load(path, threads) if device == "cpu" else cast(OnDevices, module).load(path, threads, device)
    return Loaded(run, _again, path.absolute(), threads, found, device), found


def _again(path: Path, threads: int | None, expected: Manifest, device: str) -> Runner:
    run, found = load(path, threads, device)
    if found != expected:
        raise BadArtefact(f"{path} is no longer the file that was loaded before; load the model anew")
    return run
