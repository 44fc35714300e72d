"""LiteRT (TensorFlow Lite): made by litert-torch, quantised by ai-edge-quantizer, run by XNNPACK.

fp16 files hold the weights of the convolutions as float16, half the size; the arithmetic stays float32, and so does the
speed. int8 files have 8-bit activations and 8-bit weights with a scale for each output channel, from the first
convolution to the last; normalisation, the whole-frame part and layers that are kept are float32.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from leadline.core.errors import BadArtefact, ExportFailed
from leadline.core.machine import check_threads, lacking
from leadline.core.preprocess import Runner
from leadline.core.quiet import quiet
from leadline.runtime.manifest import opened, write_beside
from leadline.runtime.options import CompileOptions, Precision
from leadline.runtime.runner import runner

if TYPE_CHECKING:
    import torch

    from leadline.nn.build import Net
    from leadline.runtime.graph import Layers

PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")

_PACKAGES = ("litert-torch", "ai-edge-litert", "ai-edge-quantizer")
_MAGIC = slice(4, 8), b"TFL3"
_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")


class Step(NamedTuple):
    """One operation of a flatbuffer: its name ("" if it can only be float), its scope (which recipes match) and the
    names of its tensors, inputs before outputs.
    """

    name: str
    scope: str
    tensors: tuple[str, ...]


def missing() -> str | None:
    """None if LiteRT is installed, otherwise the command that installs it."""
    return lacking(("ai_edge_litert",), "litert")


def compile(net: Net, example: torch.Tensor, out: Path, options: CompileOptions) -> Path:
    """The flatbuffer at `out`, its manifest beside it."""
    from leadline.runtime.graph import compiling

    with compiling("litert", net, example, options, PRECISIONS, _PACKAGES) as source:
        content = _converted(source.module, source.inputs)
        if options.precision == "fp16":
            content = _half(content)
        if options.precision == "int8":
            bare = content if options.frame is None else _converted(source.net, example)
            content = _integers(content, bare, options.calibration, source.layers)
        content = _unnamed(content)
    out.write_bytes(content)
    write_beside(out, source.manifest)
    return out


def load(path: Path, threads: int | None = None) -> Runner:
    """The flatbuffer at `path` as a Runner with its own interpreter and its own `threads`."""
    manifest, n_threads = opened(path, "litert"), check_threads(threads)
    content = path.read_bytes()
    where, magic = _MAGIC
    if content[where] != magic:
        raise BadArtefact(f"{path} is not a LiteRT file, or its start is damaged; export it anew")
    with quiet():  # LiteRT prints which delegate it uses
        from ai_edge_litert.interpreter import Interpreter

        try:
            interpreter = Interpreter(model_content=content, num_threads=n_threads)
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise BadArtefact(f"{path} is damaged or cut short, or too new for the installed LiteRT") from error
    entry = interpreter.get_input_details()[0]["index"]
    exit_ = interpreter.get_output_details()[0]["index"]

    def call(image: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(entry, image)
        interpreter.invoke()
        return cast(np.ndarray, interpreter.get_tensor(exit_))  # a copy

    return runner(manifest, call)


def _converted(module: torch.nn.Module, example: torch.Tensor) -> bytes:
    import litert_torch

    return bytes(litert_torch.convert(module, (example,)).model_content())


def _unnamed(content: bytes) -> bytes:
    """The flatbuffer without the names of what lies between input and output, and with every constant at a multiple of
    16 bytes, as the format asks.

    Nobody reads these names once all is quantised, and in a small net's file they take a thirtieth.
    """
    from ai_edge_litert.tools.flatbuffer_utils import convert_object_to_bytearray, read_model_from_bytearray

    model = read_model_from_bytearray(bytearray(content))
    for subgraph in model.subgraphs:
        ends = {*subgraph.inputs, *subgraph.outputs}
        for i, tensor in enumerate(subgraph.tensors):
            if i not in ends:
                tensor.name = b""
    for buffer in model.buffers:
        if buffer.data is not None:
            buffer.data = np.asarray(buffer.data, np.uint8)  # bytearrays of the quantiser would be written byte by byte
            buffer.Pack = partial(_aligned, buffer)
    return bytes(convert_object_to_bytearray(model))


def _aligned(buffer: Any, builder: Any) -> int:
    """Where `builder` put `buffer`, its data at a multiple of 16 bytes, which Python's `Pack` alone does not see to."""
    builder.Prep(16, buffer.data.nbytes)
    return cast(int, type(buffer).Pack(buffer, builder))


def _half(content: bytes) -> bytes:
    from ai_edge_quantizer import qtyping
    from ai_edge_quantizer.quantizer import AlgorithmName, Quantizer

    quantizer = Quantizer(content)
    weights = qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT)
    config = qtyping.OpQuantizationConfig(
        weight_tensor_config=weights, compute_precision=qtyping.ComputePrecision.FLOAT, explicit_dequantize=True
    )
    chosen = _exactly(step.scope for step in _steps(content) if step.name in _CONVOLUTIONS)
    quantizer.update_quantization_recipe(chosen, "*", config, AlgorithmName.FLOAT_CASTING)
    return bytes(quantizer.quantize(enable_progress_report=False).quantized_model)


def _integers(content: bytes, bare: bytes, calibration: Sequence[np.ndarray], layers: Layers) -> bytes:
    """`content` in int8, with the ranges that tensors have in `bare`: the same net without the whole-frame part."""
    from ai_edge_quantizer.quantizer import Quantizer

    whole, part = _steps(content), _steps(bare)
    chosen = _chosen(whole, layers)
    twins = _chosen(part, layers)
    if [whole[i].name for i in chosen] != [part[i].name for i in twins]:
        raise ExportFailed("litert-torch made two different nets of one, with and without the whole-frame part")
    if not chosen:
        return content
    found = _ranges(bare, _exactly(part[i].scope for i in twins), calibration)
    ranges: dict[str, Any] = {}
    for i, twin in zip(chosen, twins, strict=True):
        names = zip(whole[i].tensors, part[twin].tensors, strict=True)
        ranges |= {name: found[other] for name, other in names if other in found}
    quantizer = Quantizer(content)
    quantizer.add_static_config(_exactly(whole[i].scope for i in chosen), "*", 8, 8)
    return bytes(quantizer.quantize(ranges, enable_progress_report=False).quantized_model)


def _ranges(content: bytes, chosen: str, calibration: Sequence[np.ndarray]) -> dict[str, Any]:
    """Tensor's name -> the smallest and largest value on all of `calibration`, for the steps that `chosen` matches.

    The quantiser's own `calibrate` takes a moving average instead, which cuts off the far end of a depth net's maps.
    """
    from ai_edge_quantizer.calibrator import Calibrator
    from ai_edge_quantizer.recipe_manager import RecipeManager
    from ai_edge_quantizer.utils.qsv_utils import min_max_update

    recipe = RecipeManager()
    recipe.add_static_config(chosen, "*", 8, 8)
    learning = Calibrator(content, num_threads=check_threads(None), qsv_update_func=min_max_update)
    learning.calibrate({"serving_default": [{"args_0": np.ascontiguousarray(i)} for i in calibration]}, recipe)
    return dict(learning.get_model_qsvs())


def _steps(content: bytes) -> list[Step]:
    """The operations of a flatbuffer in the order in which they run."""
    from ai_edge_quantizer.utils import tfl_flatbuffer_utils as flat

    model = flat.read_model(content)
    (subgraph,) = model.subgraphs
    steps = []
    for operation in subgraph.operators:
        indices = [j for j in (*operation.inputs, *operation.outputs) if j >= 0]
        tensors = tuple(flat.get_tensor_name(subgraph.tensors[j]) for j in indices)
        name = flat.TFL_OP_CODE_TO_NAME.get(model.operatorCodes[operation.opcodeIndex].builtinCode)
        steps.append(Step(name.value if name else "", flat.get_op_scope(operation, subgraph.tensors), tensors))
    return steps


def _chosen(steps: Sequence[Step], layers: Layers) -> list[int]:
    """The positions of the steps that become integers.

    A step between two convolutions goes with the next one, for which it prepares the input. Of what precedes the first
    only its padding does, and what follows the last stays float.
    """
    places = [i for i, step in enumerate(steps) if step.name in _CONVOLUTIONS]
    layers.check(len(places), "LiteRT's graph")
    starts = [places[0] - (steps[places[0] - 1].name == "PAD"), *(i + 1 for i in places[:-1])]
    return [
        i
        for n, (first, last) in enumerate(zip(starts, places, strict=True))
        if n not in layers.kept
        for i in range(first, last + 1)
    ]


def _exactly(scopes: Iterable[str]) -> str:
    """A regular expression that matches these scopes and no other."""
    return f"^(?:{'|'.join(re.escape(scope) for scope in scopes)})$"
