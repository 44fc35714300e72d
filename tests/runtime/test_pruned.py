"""A pruned net is a net like any other: one file, the same to the bit, and every runtime gives its numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from support.tiny_runtime_nets import SIZE, images, needs, small_net
from test_contract import EXPORTING, eager, relative_error

from leadline.compress.pruning.surgery import prune
from leadline.compress.pruning.trace import trace
from leadline.nn import checkpoint, zoo
from leadline.nn.build import Net, build
from leadline.runtime import load, suffix
from leadline.runtime.export import export


def halved(net: Net) -> Net:
    """`net` without about half of each group's channels, in widths that no runtime would choose."""
    channels = trace(net, torch.zeros(1, 3, 128, 128))
    generator = torch.Generator().manual_seed(0)
    drop = {
        name: torch.randperm(group.size, generator=generator)[: group.size // 2 - 1].tolist()
        for name, group in channels.free.items()
    }
    return prune(net, channels, drop)


@pytest.mark.parametrize("skip", ["add", "cat"])
@pytest.mark.parametrize("name", EXPORTING)
@pytest.mark.slow
def test_a_pruned_checkpoint_exports_and_agrees(name: str, skip: str, tmp_path: Path) -> None:
    needs(name)
    pruned = halved(small_net(skip))
    file = checkpoint.save(pruned, tmp_path / "pruned.safetensors")
    again = checkpoint.load(file)
    image = images(1)[0]
    assert np.array_equal(eager(again, image), eager(pruned, image))
    run, manifest = load(export(str(file), name, tmp_path / f"net{suffix(name)}", size=SIZE), threads=2)
    assert relative_error(run(image), eager(pruned, image)) < 1e-4
    assert manifest.spec.name == pruned.spec.name


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPORTING)
@pytest.mark.parametrize("net", ["monodepth_pruned", "boosting_student"])
def test_so_do_other_nets_of_the_zoo(net: str, name: str, tmp_path: Path) -> None:
    needs(name)
    pruned = halved(build(zoo.spec(net), seed=0).eval())
    file = checkpoint.save(pruned, tmp_path / "pruned.safetensors")
    run, _ = load(export(str(file), name, tmp_path / f"net{suffix(name)}", size=(128, 128)), threads=2)
    image = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(0)).numpy()
    assert relative_error(run(image), eager(pruned, image)) < 1e-4
