"""PyTorch's own compiler ahead of time (AOTInductor): a .pt2 archive with C++ code compiled for this processor.

Weights are frozen into the code's own layouts, and convolutions go to oneDNN. bf16 runs the net, not the whole-frame
part, in bfloat16. int8 is PT2E with the quantiser that torchao makes for x86: uint8 activations, int8 weights with a
scale for each output channel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from leadline.core.errors import BadArtefact, ExportFailed
from leadline.core.machine import NO_COMPILER, check_threads, compiler, lacking, native
from leadline.core.preprocess import Runner
from leadline.core.quiet import quiet
from leadline.runtime.manifest import opened, write_beside
from leadline.runtime.options import CompileOptions, Precision
from leadline.runtime.runner import runner

if TYPE_CHECKING:
    import torch

    from leadline.nn.build import Net
    from leadline.runtime.graph import Layers

PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16", "int8")


def missing() -> str | None:
    """None if PyTorch is installed, otherwise the command that installs it. Compiling needs g++ besides."""
    return lacking(("torch",), "inductor")


def compile(net: Net, example: torch.Tensor, out: Path, options: CompileOptions) -> Path:
    """The archive at `out` for this machine's processor, its manifest beside it."""
    from leadline.runtime.graph import compiling, exported

    with compiling("inductor", net, example, options, PRECISIONS, ("torch",)) as source:
        import torch

        if compiler() is None:
            raise ExportFailed(f"inductor compiles C++: {NO_COMPILER}")
        module = source.module
        if options.precision == "bf16":
            module = source.with_net(_half(source.net))
        elif options.precision == "int8":
            module = source.with_net(_integers(source.net, example, options.calibration, source.layers))
        out.parent.mkdir(parents=True, exist_ok=True)
        with torch.no_grad():
            torch._inductor.aoti_compile_and_package(
                exported(module, source.inputs), package_path=str(out), inductor_configs={"freezing": True}
            )
    write_beside(out, replace(source.manifest, machine=native()))
    return out


def load(path: Path, threads: int | None = None) -> Runner:
    """The archive at `path` as a Runner. A call computes with `threads` of PyTorch's threads, and leaves that number to
    the whole process.
    """
    manifest, n_threads = opened(path, "inductor"), check_threads(threads)
    import torch

    from leadline.runtime.torch_threads import use_threads

    try:
        with quiet():
            model: Any = torch._inductor.aoti_load_package(str(path))
    except Exception as error:  # zip, JSON, dynamic linker: each has its own way to fail
        raise BadArtefact(f"PyTorch cannot load {path}, it is damaged or of another version or machine") from error

    def call(image: np.ndarray) -> np.ndarray:
        use_threads(n_threads)
        with torch.inference_mode():
            output = model(torch.from_numpy(image if image.flags.writeable else image.copy()))
        return cast(np.ndarray, output.numpy())  # each call allocates its output

    return runner(manifest, call)


def _half(net: torch.nn.Module) -> torch.nn.Module:
    """`net` in bfloat16 between float32 ends."""
    import torch

    class Half(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net.to(torch.bfloat16)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return cast("torch.Tensor", self.net(image.to(torch.bfloat16)).float())

    return Half()


def _integers(
    module: torch.nn.Module, example: torch.Tensor, calibration: Sequence[np.ndarray], layers: Layers
) -> torch.nn.Module:
    """The module in int8, with ranges learned from `calibration`."""
    import torch
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.quantization.pt2e.quantizer.x86_inductor_quantizer import (
        X86InductorQuantizer,
        get_default_x86_inductor_quantization_config,
    )

    from leadline.runtime import graph

    plain: Any = graph.exported(module, example).module()

    class Sparing(X86InductorQuantizer):  # type: ignore[misc]
        """torchao's, which then forgets the layers that are kept: it knows whole patterns, not single layers."""

        def annotate(self, model: Any) -> Any:
            annotated = super().annotate(model)
            found = [n for n in annotated.graph.nodes if n.target is torch.ops.aten.conv2d.default]
            layers.check(len(found), "its exported graph")
            for position in layers.kept:
                found[position].meta.pop("quantization_annotation", None)
            return annotated

    quantizer = Sparing().set_global(get_default_x86_inductor_quantization_config())
    learning = prepare_pt2e(plain, quantizer)
    return cast("torch.nn.Module", convert_pt2e(graph.calibrated(learning, calibration)))
