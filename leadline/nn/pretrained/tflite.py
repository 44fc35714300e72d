"""Give an encoder the weights of an ImageNet classifier: an int8 .tflite file, or MXNet's (`nn/gluon.py`).

A .tflite file has batch norm folded into the convolutions: y = W x + b. To train on, batch norm is re-created: its
statistics are those of W x measured on images, its scale and shift are set so that in eval mode the layer is again
W x + b, and in train mode it is so up to the difference between a batch's statistics and the measured ones.

TensorFlow's SAME padding of a stride-2 layer adds pixels on the right and below only; ours pads all sides, so the
features of the two programs lie half a stride apart. The weights are the same: turned by 180 degrees, kernels and image
alike, our net lies where TensorFlow's does, and the tests compare the two that way.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from leadline.core.errors import BadCheckpoint, MissingPackage
from leadline.nn.pretrained.gluon import give_gluon_, read_gluon


@dataclass(frozen=True)
class Folded:
    """One convolution with batch norm folded in: weight [outputs, inputs / groups, k, k], bias [outputs]."""

    weight: np.ndarray
    bias: np.ndarray


def give_from_file_(encoder: nn.Module, path: Path | str, images: Tensor) -> None:
    """Put the weights of a classifier's file into `encoder`, in place; the ending says how it is read.

    `images` are some of the encoder's own inputs [B,3,H,W], normalised: what the file lacks is measured on them.
    """
    ending = Path(path).suffix.lower()
    if ending == ".tflite":
        give_(encoder, read_tflite(path))
        recreate_batch_norm_(encoder, images)
    elif ending == ".safetensors":
        give_gluon_(encoder, read_gluon(path), images)
    else:
        raise ValueError(f"{path} ends in {ending!r}; an encoder starts from a .tflite or .safetensors file")


def read_tflite(path: Path | str) -> list[Folded]:
    """The convolutions of a .tflite file, dequantised, in the order they run; one scale each or one a channel.

    BadCheckpoint if the file is another one, damaged, or holds values that are not finite.
    """
    try:
        from ai_edge_litert import schema_py_generated as schema
    except ImportError as error:
        raise MissingPackage("ai-edge-litert", "litert", "reading a .tflite file") from error
    content = Path(path).read_bytes()
    if content[4:8] != b"TFL3":
        raise BadCheckpoint(f"{path} is not a .tflite file (its bytes 4 to 8 are {content[4:8]!r}, not b'TFL3')")
    try:
        found = _convolutions(content, schema)
    except BadCheckpoint:
        raise
    except Exception as error:  # a damaged file's numbers are places in it, or beyond
        raise BadCheckpoint(f"{path} is damaged: {' '.join(f'{type(error).__name__}: {error}'.split())}") from error
    if not all(np.isfinite(layer.weight).all() and np.isfinite(layer.bias).all() for layer in found):
        raise BadCheckpoint(f"{path} holds values that are not finite: it is damaged")
    return found


def _convolutions(content: bytes, schema: Any) -> list[Folded]:
    model = schema.Model.GetRootAs(content, 0)
    graph = model.Subgraphs(0)
    found = []
    for i in range(graph.OperatorsLength()):
        operator = graph.Operators(i)
        code = model.OperatorCodes(operator.OpcodeIndex())
        kind = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        if kind not in (schema.BuiltinOperator.CONV_2D, schema.BuiltinOperator.DEPTHWISE_CONV_2D):
            continue
        weight = _values(model, graph.Tensors(operator.Inputs(1)), schema)
        bias = _values(model, graph.Tensors(operator.Inputs(2)), schema)
        # [outputs, k, k, inputs], or for depthwise [1, k, k, channels]: in both the last becomes dimension 0 or 1
        depthwise = kind == schema.BuiltinOperator.DEPTHWISE_CONV_2D
        found.append(Folded(weight.transpose((3, 0, 1, 2) if depthwise else (0, 3, 1, 2)), bias))
    return found


def give_(encoder: nn.Module, layers: list[Folded]) -> None:
    """Put folded layers into the convolutions of `encoder`, in place and in order; its batch norms become W x + b.

    A different number of layers, another shape, or a convolution that no batch norm follows is a ValueError.
    """
    pairs = list(_pairs(encoder))
    if len(pairs) != len(layers):
        raise ValueError(f"the file has {len(layers)} convolutions, the encoder {len(pairs)}")
    with torch.no_grad():
        for (conv, norm), layer in zip(pairs, layers, strict=True):
            if tuple(conv.weight.shape) != layer.weight.shape:
                raise ValueError(f"the file has a kernel {layer.weight.shape}, the encoder {tuple(conv.weight.shape)}")
            conv.weight.copy_(torch.from_numpy(layer.weight.copy()))
            _set(norm, torch.from_numpy(layer.bias), torch.zeros_like(norm.bias), torch.ones_like(norm.bias))


def recreate_batch_norm_(encoder: nn.Module, image: Tensor) -> None:
    """Measure each batch norm's statistics on `image` (the encoder's own input, [B,3,H,W]) and keep the function.

    Kernels are scaled to unit output variance at the same time, so that every statistic is of the order of 1 and fits
    half precision. A channel that never varies keeps variance 1.
    """
    measured: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    def look(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        values = inputs[0].transpose(0, 1).flatten(1)
        measured[module] = values.mean(1), values.var(1, correction=0)

    pairs = list(_pairs(encoder))
    hooks = [norm.register_forward_pre_hook(look) for _, norm in pairs]
    was_training = encoder.training
    with torch.no_grad():
        encoder.eval()(image)
        for hook in hooks:
            hook.remove()
        for conv, norm in pairs:
            mean, variance = measured[norm]
            assert norm.running_mean is not None and norm.running_var is not None
            gain = norm.weight / torch.sqrt(norm.running_var + norm.eps)
            bias = norm.bias - gain * norm.running_mean
            deviation = torch.where(variance > 1e-8, variance.sqrt(), torch.ones_like(variance))
            conv.weight.div_(deviation.view(-1, 1, 1, 1))
            _set(norm, bias, mean / deviation, torch.ones_like(mean), gain * deviation)
    encoder.train(was_training)


def _set(norm: nn.BatchNorm2d, bias: Tensor, mean: Tensor, variance: Tensor, gain: Tensor | None = None) -> None:
    """Let `norm` compute gain * x + bias in eval mode, with the given statistics."""
    assert norm.running_mean is not None and norm.running_var is not None
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
    root = torch.sqrt(variance + norm.eps)
    gain = torch.ones_like(bias) if gain is None else gain
    norm.weight.copy_(gain * root)
    norm.bias.copy_(bias + gain * mean)


def _pairs(module: nn.Module) -> Iterator[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    layers = [(name, m) for name, m in module.named_modules() if isinstance(m, nn.Conv2d | nn.BatchNorm2d)]
    for (name, conv), (_, norm) in zip_longest(layers[::2], layers[1::2], fillvalue=("", None)):
        if not (isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d) and norm.affine):
            raise ValueError(
                "a classifier's .tflite file fits an encoder of convolutions that are each followed by a batch norm "
                f"with scale and shift; this encoder is otherwise at its layer {name}: start it without the file"
            )
        yield conv, norm


def _values(model: Any, tensor: Any, schema: Any) -> np.ndarray:
    kinds = schema.TensorType
    types: dict[int, type[np.generic]] = {kinds.UINT8: np.uint8, kinds.INT8: np.int8, kinds.INT32: np.int32}
    types[kinds.FLOAT32] = np.float32
    if tensor.Type() not in types:
        raise BadCheckpoint(f"the tensor {tensor.Name()!r} has the type {tensor.Type()}, which is not read")
    shape = tuple(int(n) for n in tensor.ShapeAsNumpy())
    raw = model.Buffers(tensor.Buffer()).DataAsNumpy()
    values = np.frombuffer(raw.tobytes(), types[tensor.Type()]).reshape(shape).astype(np.float32)
    quantisation = tensor.Quantization()
    if quantisation is None or quantisation.ScaleLength() == 0:
        return values
    scale = quantisation.ScaleAsNumpy().astype(np.float32)
    zero = quantisation.ZeroPointAsNumpy().astype(np.float32)
    around = [1] * len(shape)
    if len(scale) > 1:
        around[quantisation.QuantizedDimension()] = len(scale)
    result: np.ndarray = (values - zero.reshape(around)) * scale.reshape(around)
    return result
