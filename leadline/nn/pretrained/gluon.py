"""Read ImageNet weights with MXNet Gluon's names, a safetensors file, into MobileNetV2 and ResNet-50 v2.

Layer for layer the same function, but for two things, which are estimated from images:

1. MXNet's MobileNetV2 has a 1x1 convolution with ReLU6 between the first convolution and the first depthwise one; the
   published net has none. Our first convolution imitates both.
2. A file may lack the last batch norm of a stage's first block, as the one in `data/init` does. The next batch norm in
   the file holds mean and variance of what that block gives; scale and shift are found that give the same.

A stage that the file does not have, and the last batch norm, keep their fresh weights.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from leadline.core.errors import BadCheckpoint
from leadline.core.text import short_repr
from leadline.nn.encoders.mobilenet_v2 import MobileNetV2
from leadline.nn.encoders.resnet import PreBottleneck, ResNetV2
from leadline.nn.pretrained.estimate import imitate_, match_

_PREFIX = re.compile(r"(mobilenetv2\d+_features|mobilenetv2\d+|resnetv2\d+)_")
_IMAGES = 16  # as many say enough
Places = dict[str, Tensor]
"""Gluon's name, without the net's own, and the tensor of ours that it belongs to."""


def read_gluon(path: Path | str) -> dict[str, Tensor]:
    """The file's tensors as float32, by their names without the net's own: `stage1_conv0_weight`.

    BadCheckpoint if the file is another one or damaged.
    """
    try:
        tensors = load_file(str(path))
    except OSError:
        raise
    except Exception as error:  # SafetensorError, and what torch says of types that it does not have
        raise BadCheckpoint(f"{path} is not a whole safetensors file: {error}") from error
    found = {_PREFIX.sub("", name, count=1): t.float() for name, t in tensors.items() if _PREFIX.match(name)}
    if not found:
        first = min(tensors, default="")
        raise BadCheckpoint(
            f"{path} has no tensor of MXNet's MobileNetV2 or ResNet v2; its first is {short_repr(first)}"
        )
    return found


def give_gluon_(encoder: nn.Module, tensors: Mapping[str, Tensor], images: Tensor) -> None:
    """Put Gluon's tensors into `encoder`, in place. `images` are the encoder's own inputs [B,3,H,W], normalised.

    A tensor that is missing, has another shape or no place is a BadCheckpoint, another encoder a ValueError.
    """
    images = images[:: max(1, len(images) // _IMAGES)]
    if isinstance(encoder, MobileNetV2):
        _give_mobilenet_(encoder, tensors, images)
    elif isinstance(encoder, ResNetV2):
        _give_resnet_(encoder, tensors, images)
    else:
        raise ValueError(f"MXNet's weights are for mobilenet_v2 and resnet50v2, not for {type(encoder).__name__}")


def _give_mobilenet_(encoder: MobileNetV2, tensors: Mapping[str, Tensor], images: Tensor) -> None:
    stem = encoder.blocks[0]
    assert isinstance(stem, nn.Sequential) and isinstance(stem[0], nn.Conv2d)
    width = stem[0].out_channels
    extra = nn.Sequential(nn.Conv2d(width, width, 1, bias=False), nn.BatchNorm2d(width))
    places = _layers("", stem) | _layers("linearbottleneck0_", extra)
    for i, block in enumerate(list(encoder.blocks)[1:]):
        places |= _layers(f"linearbottleneck{i}_", block, first=int(i == 0))
    _fill_(places, tensors, unused=("conv1_", "batchnorm1_", "linearbottleneck16_", "output_"))
    imitate_(stem, extra, images)


def _give_resnet_(encoder: ResNetV2, tensors: Mapping[str, Tensor], images: Tensor) -> None:
    places, lost = _layers("", encoder.stem), []
    if any(name.startswith("batchnorm2_") for name in tensors):
        places |= _layers("", encoder.norm, first=2)
    for i, stage in enumerate(encoder.stages, 1):
        if any(name.startswith(f"stage{i}_") for name in tensors):
            here = _layers(f"stage{i}_", stage)
            if not any(name.startswith(f"stage{i}_batchnorm2_") for name in tensors):  # rule 2
                here = {name: place for name, place in here.items() if not name.startswith(f"stage{i}_batchnorm2_")}
                lost.append(i)
            places |= here
    _fill_(places, tensors, unused=("dense0_",))
    was_training = encoder.training
    with torch.no_grad():
        x = F.max_pool2d(encoder.eval().stem(images), 3, 2, 1)
        for i in range(1, max(lost, default=0) + 1):
            stage = encoder.stages[i - 1]
            assert isinstance(stage, nn.Sequential)
            block, following = stage[0], stage[1]
            assert isinstance(block, PreBottleneck) and isinstance(following, PreBottleneck)
            if i in lost:
                match_(block.norm3, block.conv3, *block.parts(x), following.norm1)
            x = stage(x)
    encoder.train(was_training)


def _layers(start: str, module: nn.Module, first: int = 0) -> Places:
    """The tensors of the convolutions and batch norms in `module`, numbered in their order, from `first` on."""
    places, convs, norms = Places(), first, first
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            places[f"{start}conv{convs}_weight"] = layer.weight
            convs += 1
        elif isinstance(layer, nn.BatchNorm2d):
            assert layer.running_mean is not None and layer.running_var is not None
            name, mean = f"{start}batchnorm{norms}", layer.running_mean
            places |= {f"{name}_running_mean": mean, f"{name}_running_var": layer.running_var}
            places[f"{name}_gamma"] = layer.weight if layer.affine else torch.ones_like(mean)
            places[f"{name}_beta"] = layer.bias if layer.affine else torch.zeros_like(mean)
            norms += 1
    return places


def _fill_(places: Places, tensors: Mapping[str, Tensor], unused: tuple[str, ...]) -> None:
    for name, place in places.items():
        if name not in tensors:
            raise BadCheckpoint(f"the tensor {name!r} is missing; the file is cut down or of another net")
        found = tensors[name]
        if found.shape != place.shape or not torch.isfinite(found).all():
            was = f"shape {tuple(found.shape)}" if found.shape != place.shape else "values that are not finite"
            raise BadCheckpoint(f"the tensor {name!r} has {was}; {tuple(place.shape)} finite numbers are needed")
    odd = [name for name in sorted(tensors) if name not in places and not name.startswith(unused)]
    if odd:
        raise BadCheckpoint(f"the tensor {odd[0]!r} has no place in this encoder; the file is of another net")
    with torch.no_grad():
        for name, place in places.items():
            if not isinstance(place, nn.Parameter) and name.endswith(("_gamma", "_beta")):  # a norm without weights
                if not torch.equal(tensors[name], place):
                    raise BadCheckpoint(f"the tensor {name!r} is not {place[0]:g} everywhere, as this encoder has it")
            else:
                place.copy_(tensors[name])
