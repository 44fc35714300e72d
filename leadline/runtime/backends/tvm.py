"""TVM (Relax): a compiler that can be tuned for one processor. Artefact: a shared library .so, for this processor only.

The net is compiled channels-last: its convolutions then run along the channels, which fill a vector register at every
resolution; that alone made tuned 1x1 convolutions two to three times faster than channels-first. Untuned code is
correct but tens of times slower than tuned code: see `tvm_tuning`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from leadline.core.errors import BadArtefact
from leadline.core.machine import check_threads, lacking, native, usable_cores
from leadline.core.preprocess import Runner
from leadline.core.quiet import quiet
from leadline.runtime.manifest import opened, write_beside
from leadline.runtime.options import CompileOptions, Precision
from leadline.runtime.runner import runner

if TYPE_CHECKING:
    import torch

    from leadline.nn.build import Net

PRECISIONS: Sequence[Precision] = ("fp32",)


def missing() -> str | None:
    """None where TVM can run, otherwise the command that installs it."""
    return lacking(["tvm"], "tvm")


def compile(net: Net, example: torch.Tensor, out: Path, options: CompileOptions) -> Path:
    """A shared library at `out` for this machine's processor, its manifest beside it.

    With `options.trials` each task is first tuned until its database in `options.tuning` holds that many trials; a
    tuning that was interrupted goes on. With `options.tuning` alone the database is used as it is. Each kind of
    processor has a database of its own, a folder in that folder.
    """
    from leadline.runtime.graph import compiling

    if options.trials and options.tuning is None:
        raise ValueError("trials need a folder for the tuner's database: give tuning too")
    if options.tuning is not None and not options.trials and not options.tuning.is_dir():
        raise ValueError(f"there is no tuner's database {options.tuning}; give trials to make one")
    with compiling("tvm", net, example, options, PRECISIONS, ("apache-tvm",), tunes=True) as source:
        target = this_machine()
        from tvm import relax

        module = lowered(source.module, source.inputs, target)
        if options.tuning is not None:
            from leadline.runtime.backends import tvm_tuning

            folder = database_in(options.tuning, target)
            if options.trials:
                tvm_tuning.tune(module, target, folder, options.trials)
            if folder.is_dir():
                module = tvm_tuning.applied(module, target, folder)
        with target:
            library = relax.build(module, target)
        out.parent.mkdir(parents=True, exist_ok=True)
        library.export_library(str(out))
    write_beside(out, replace(source.manifest, machine=native()))
    return out


def load(path: Path, threads: int | None = None) -> Runner:
    """The library at `path` as a Runner. TVM's thread pool is one for the whole process: the last `load` sets it."""
    manifest = opened(path, "tvm")
    n_threads = check_threads(threads)
    with quiet():  # importing TVM raises DeprecationWarnings
        tvm = _tvm()
        from tvm import relax
    try:
        machine = relax.VirtualMachine(tvm.runtime.load_module(str(path)), tvm.cpu())
    except Exception as error:  # whatever the dynamic linker and TVM make of it
        raise BadArtefact(
            f"TVM cannot load {path}, it is damaged or of another machine: {_first_line(error)}"
        ) from None
    tvm.get_global_func("runtime.config_threadpool")(1, n_threads)
    shape = (1, 3, *manifest.size) if manifest.frame is None else (1, *manifest.frame, 3)
    held = tvm.runtime.empty(shape, "float32" if manifest.frame is None else "uint8")
    main = machine["main"]

    def call(images: np.ndarray) -> np.ndarray:
        held.copyfrom(images)
        output = main(held)
        return np.asarray((output if hasattr(output, "numpy") else output[0]).numpy())

    return runner(manifest, call)


def this_machine() -> Any:
    """The tvm.target.Target of this machine's processor and cores."""
    tvm = _tvm()
    cpu = tvm.get_global_func("target.llvm_get_system_cpu")()
    return tvm.target.Target({"kind": "llvm", "mcpu": str(cpu), "num-cores": usable_cores()})


def database_in(tuning: Path, target: Any) -> Path:
    """The folder of this processor's database: by family, cores and instructions, which a virtual machine may hide.

    One that an older version kept by family and cores alone is used on: schedules hold no instructions.
    """
    known = tuning / f"{target.attrs['mcpu']}-{target.attrs['num-cores']}"
    instructions = sha256(" ".join(native()).encode()).hexdigest()[:8]
    return known if known.is_dir() else known.with_name(f"{known.name}-{instructions}")


def lowered(module: torch.nn.Module, example: torch.Tensor, target: Any) -> Any:
    """The module as loops without a schedule (an IRModule of TensorIR functions), channels-last."""
    from tvm import relax, transform
    from tvm.relax.frontend.torch import from_exported_program

    from leadline.runtime.graph import exported

    passes = [
        relax.transform.DecomposeOpsForInference(),
        relax.transform.CanonicalizeBindings(),
        relax.transform.ConvertLayout({"relax.nn.conv2d": ["NHWC", "HWIO"], "relax.image.resize2d": ["NHWC"]}),
        relax.transform.CanonicalizeBindings(),
        relax.transform.FoldConstant(),
        relax.get_pipeline("zero"),
    ]
    program = exported(_without_clip(module), example)
    with target:
        return transform.Sequential(passes)(from_exported_program(program, keep_params_as_input=False))


def _tvm() -> Any:
    """The package, allowed to use every core: by itself it takes half of them.

    TVM reads that number from the environment alone, when its pool of threads is made. So the variable stays set for
    this process and those that it starts; one that is set already is left as it is.
    """
    os.environ.setdefault("TVM_NUM_THREADS", str(usable_cores()))
    import tvm

    return tvm


def _without_clip(module: torch.nn.Module) -> torch.nn.Module:
    """`module`, its ReLU6 written as min(relu(x), 6): TVM cannot bring a clip into another layout."""
    import torch

    class Relu6(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.minimum(torch.relu(x), torch.tensor(6.0))

    for parent in module.modules():
        for name, child in parent.named_children():
            if isinstance(child, torch.nn.ReLU6):
                setattr(parent, name, Relu6())
    return module


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
