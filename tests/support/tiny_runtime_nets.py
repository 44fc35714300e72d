"""A small trained-looking FastDepth for the tests of the runtimes: every kind of layer, a few milliseconds to run."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from leadline.core.spec import Preprocess
from leadline.nn import zoo
from leadline.nn.build import Net, build
from leadline.runtime import backend, suffix
from leadline.runtime.manifest import beside, dumps, read_beside
from leadline.runtime.options import CompileOptions

SIZE = (64, 96)


def small_net(skip: str = "add", preprocess: Preprocess | None = None) -> Net:
    """FastDepth with few channels and batch norms whose folding matters."""
    spec = zoo.fastdepth()
    widths = tuple(max(8, w // 16) for w in spec.encoder.widths)
    joined = (widths[-1], *(widths[i] for i in (5, 3, 1)), 8)
    decoder = dataclasses.replace(spec.decoder, widths=tuple(joined), skip=skip)
    how = preprocess or Preprocess(size=SIZE, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25))
    spec = dataclasses.replace(
        spec, encoder=dataclasses.replace(spec.encoder, widths=widths), decoder=decoder, preprocess=how
    )
    net = build(spec, seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0.0, 0.1, generator=generator)
                module.running_var.uniform_(0.5, 1.5, generator=generator)
                module.bias.normal_(0.0, 0.1, generator=generator)
        net.head.norm.bias.fill_(2.0)
    return net.eval()


UNTOUCHED = small_net()
Made = Callable[..., Path]
"""(runtime, precision="fp32", frame=None) -> the file of UNTOUCHED, made once in a process and not to be changed."""


def needs(name: str) -> None:
    """Skip the test where the runtime is not installed."""
    if (command := backend(name).missing()) is not None:
        pytest.skip(f"{name} is not installed: {command}")


def compiled(name: str, net: nn.Module, folder: Path, **options: Any) -> Path:
    """`folder`/net of the runtime's suffix, which takes images of SIZE."""
    needs(name)
    example = torch.zeros(1, 3, *SIZE)
    return backend(name).compile(net, example, folder / f"net{suffix(name)}", CompileOptions(**options))


def copied(file: Path, folder: Path) -> Path:
    """The artefact with all that lies beside it, in a new folder: to be changed."""
    return shutil.copytree(file.parent, folder / "copy") / file.name


class Resized(nn.Module):
    """A head whose map is resized: the operation that exporters get wrong."""

    def __init__(self, head: nn.Module, size: tuple[int, int], mode: str, align_corners: bool | None) -> None:
        super().__init__()
        self.head, self.size, self.mode, self.align_corners = head, size, mode, align_corners

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        small = F.avg_pool2d(self.head(x), 4)
        return F.interpolate(small, size=self.size, mode=self.mode, align_corners=self.align_corners)


def images(n: int = 4, seed: int = 0) -> list[np.ndarray]:
    """Smooth pictures, float32 [1,3,h,w] in 0..1."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, 3, 8, 12, generator=generator)
    fine = F.interpolate(coarse, size=SIZE, mode="bicubic", align_corners=False).clamp(0, 1)
    return [image[None].numpy().copy() for image in fine]


def unbound(path: Path) -> Path:
    """The artefact with a manifest as older versions wrote it, without the hashes of its files."""
    manifest = dataclasses.replace(read_beside(path), hashes=())
    beside(path).write_text(dumps(manifest), "utf-8")
    return path
