"""A session of onnxruntime or LiteRT on a file of another program: what goes in, what comes out, and the call."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from leadline.core.errors import BadArtefact
from leadline.core.machine import check_threads
from leadline.core.quiet import quiet
from leadline.core.text import reason
from leadline.runtime import check_device
from leadline.runtime.backends.onnx import session_of
from leadline.runtime.onnx_file import weights_precision
from leadline.runtime.options import Precision

Named = Sequence[tuple[str, Sequence[Any], Any]]
"""Name, shape (words stand for any number) and numpy type of each input or output."""


@dataclass(frozen=True)
class Session:
    """`run` takes the one input and gives all outputs, in the order of `outputs`; `precision` is the weights'."""

    run: Callable[[np.ndarray], Sequence[Any]]
    inputs: Named
    outputs: Named
    precision: Precision


def onnx_session(path: Path, threads: int | None, device: str = "cpu") -> Session:
    """The ONNX file; BadArtefact if onnxruntime cannot open it."""
    check_device("onnx", device)
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = check_threads(threads)
    session = session_of(path, options, device)

    def named(things: Any) -> Named:
        return [(thing.name, thing.shape, _TYPES.get(thing.type, np.object_)) for thing in things]

    given = named(session.get_inputs())

    def run(image: np.ndarray) -> Sequence[Any]:
        try:
            return cast(Sequence[Any], session.run(None, {given[0][0]: image}))
        except Exception as error:
            raise _failed(path, image, error) from error

    return Session(run, given, named(session.get_outputs()), weights_precision(path))


def tflite_session(path: Path, threads: int | None, device: str = "cpu") -> Session:
    """The TFLite file; BadArtefact if LiteRT cannot open it. Quantised inputs and outputs are told as float32."""
    check_device("litert", device)
    with quiet():
        from ai_edge_litert.interpreter import Interpreter

        try:
            interpreter = Interpreter(model_content=path.read_bytes(), num_threads=check_threads(threads))
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise BadArtefact(f"{path} is damaged, or no TFLite file: {error}") from error
    given, results = interpreter.get_input_details(), interpreter.get_output_details()

    turn = threading.Lock()  # an interpreter has one set of tensors: one call at a time

    def run(image: np.ndarray) -> Sequence[Any]:
        try:
            with turn:
                interpreter.set_tensor(given[0]["index"], _coded(image, given[0]))
                interpreter.invoke()
                return [_real(interpreter.get_tensor(one["index"]), one) for one in results]
        except (ValueError, RuntimeError) as error:
            raise _failed(path, image, error) from error

    def named(things: Any) -> Named:
        return [(one["name"], one["shape"].tolist(), np.float32 if _steps(one) else one["dtype"]) for one in things]

    maps = {np.dtype(one["dtype"]).name for one in interpreter.get_tensor_details() if len(one["shape"]) == 4}
    precision: Precision = "int8" if "int8" in maps else "fp16" if "float16" in maps else "fp32"
    return Session(run, named(given), named(results), precision)


def _failed(path: Path, image: np.ndarray, error: Exception) -> BadArtefact:
    return BadArtefact(f"{path} fails on a picture {list(image.shape)}; another size? {reason(error, 200)}")


_TYPES: dict[str, Any] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(uint8)": np.uint8,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
}


def _steps(one: Any) -> tuple[float, int] | None:
    """(scale, zero point) of an integer tensor of TFLite that stands for real numbers, (q - zero) x scale."""
    scale, zero = one["quantization"]
    return (float(scale), int(zero)) if scale and np.dtype(one["dtype"]).kind in "iu" else None


def _coded(image: np.ndarray, one: Any) -> np.ndarray:
    if (steps := _steps(one)) is None:
        return image
    limits = np.iinfo(one["dtype"])
    return np.rint(image / steps[0] + steps[1]).clip(limits.min, limits.max).astype(one["dtype"])


def _real(values: np.ndarray, one: Any) -> np.ndarray:
    if (steps := _steps(one)) is None:
        return values
    return (values.astype(np.float32) - steps[1]) * np.float32(steps[0])
