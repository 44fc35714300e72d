"""ncnn: made by pnnx from a traced module, run on the processor. An artefact is `net.param` and `net.param.bin`.

fp16 files are half the size; the arithmetic is float16 where ncnn has such kernels (ARM) and float32 elsewhere (x86).
bf16 files hold float32 weights, which ncnn rounds when it loads them; every layer then stores bfloat16. On x86 that was
slower than float32 (1.2 times on a processor with AMX), so measure before you take it.
There is no int8: its calibration and quantisation programs (ncnn2table, ncnn2int8) are in neither wheel.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from leadline.core.errors import BadArtefact, ExportFailed
from leadline.core.machine import check_threads, lacking
from leadline.core.preprocess import Runner
from leadline.core.quiet import quiet
from leadline.runtime.manifest import Manifest, opened, write_beside
from leadline.runtime.options import CompileOptions, Precision
from leadline.runtime.runner import runner

if TYPE_CHECKING:
    import torch

    from leadline.nn.build import Net

PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "bf16")

_PACKAGES = ("torch", "ncnn", "pnnx")
_FLAGS = {  # of ncnn's options: those of other precisions are off, whatever the processor can do
    "fp32": (),
    "fp16": ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic"),
    "bf16": ("use_bf16_packed", "use_bf16_storage"),
}


def missing() -> str | None:
    """None if ncnn is installed, otherwise the command that installs it."""
    return lacking(("ncnn",), "ncnn")


def compile(net: Net, example: torch.Tensor, out: Path, options: CompileOptions) -> Path:
    """The layers at `out` (.param), their weights in .param.bin beside it, and the manifest."""
    from leadline.runtime.graph import compiling

    start = compiling("ncnn", net, example, options, PRECISIONS, _PACKAGES, picks=False)  # ncnn has no index_select
    with start as source, tempfile.TemporaryDirectory() as folder:
        param, weights = _converted(source.module, source.inputs.float(), options.precision == "fp16", Path(folder))
        _check_layers(param)
    out.with_name(out.name + ".bin").write_bytes(weights)
    out.write_text(param, "utf-8")
    write_beside(out, source.manifest)
    return out


def load(path: Path, threads: int | None = None) -> Runner:
    """The artefact at `path` as a Runner with its own `threads`. Whole frames are cast to float32, which ncnn takes."""
    import ncnn

    manifest = opened(path, "ncnn")
    net = _opened(path, manifest, check_threads(threads))
    # A frame goes in as the matrix [H, W*3], whose rows lie one after the other; planes [3,h,w] are padded to 16 bytes.
    shape = (3, *manifest.size) if manifest.frame is None else (manifest.frame[0], manifest.frame[1] * 3)
    entry = ncnn.Mat(*reversed(shape))
    window = np.array(entry, copy=False)

    def call(image: np.ndarray) -> np.ndarray:
        window[...] = image.reshape(shape)
        extractor = net.create_extractor()
        extractor.input("in0", entry)
        failed, output = extractor.extract("out0")
        if failed:
            raise MemoryError(f"ncnn failed while it ran {path}: it most likely had too little memory")
        depth = np.array(output, np.float32)  # a copy
        return depth.reshape(1, 1, *depth.shape[-2:])

    return runner(manifest, call)


def _opened(path: Path, manifest: Manifest, threads: int) -> Any:
    """The net in `path` and its .bin; both are read completely, so that later changes of the files do not matter."""
    import ncnn

    weights = path.with_name(path.name + ".bin")
    if not weights.is_file():
        raise BadArtefact(f"{path} lacks its weights, {weights.name}; keep the two together, or export the file anew")
    net = ncnn.Net()
    net.opt.num_threads = threads
    net.opt.use_vulkan_compute = False
    for flag in {name for flags in _FLAGS.values() for name in flags}:
        setattr(net.opt, flag, flag in _FLAGS[manifest.precision])
    with quiet():  # ncnn prints its errors to stderr
        failed = net.load_param(str(path)) or net.load_model(str(weights))
    if failed or (net.input_names(), net.output_names()) != (["in0"], ["out0"]):
        raise BadArtefact(f"{path} or its weights, {weights.name}, are damaged or cut short; export the file anew")
    return net


def _converted(module: torch.nn.Module, example: torch.Tensor, half: bool, folder: Path) -> tuple[str, bytes]:
    """What pnnx makes of the module: the text of the .param and the bytes of the .bin."""
    import pnnx
    import torch

    with torch.no_grad():
        traced = torch.jit.trace(module, (example,), check_trace=False)  # type: ignore[no-untyped-call]
        traced.save(str(folder / "net.pt"))
    shape = ",".join(str(n) for n in example.shape)
    command = [pnnx.EXEC_PATH, "net.pt", f"inputshape=[{shape}]f32", f"fp16={int(half)}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ExportFailed(f"pnnx fails with status {done.returncode}: {' '.join(done.stderr.split())[-300:]}")
    return (folder / "net.ncnn.param").read_text("utf-8"), (folder / "net.ncnn.bin").read_bytes()


def _check_layers(param: str) -> None:
    """An ExportFailed if pnnx has left in an operation of PyTorch's for which ncnn has no layer."""
    import ncnn

    for line in param.splitlines()[2:]:
        operation, name, *_ = line.split()
        if ncnn.layer_to_index(operation) < 0:
            raise ExportFailed(f"ncnn has no layer for the operation {operation} (layer {name}); take another runtime")
