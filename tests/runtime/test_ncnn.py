"""What is ncnn's own: two files, padded planes, layers that it lacks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from support.tiny_runtime_nets import SIZE, Made, copied, images, small_net, unbound
from torch import nn

from leadline.core.errors import BadArtefact, ExportFailed
from leadline.core.preprocess import prepare, restore
from leadline.runtime.backends import ncnn
from leadline.runtime.options import CompileOptions

if (command := ncnn.missing()) is not None:
    pytest.skip(f"ncnn is not installed: {command}", allow_module_level=True)


def compiled(folder: Path, net: nn.Module | None = None, **options: object) -> Path:
    example = torch.zeros(1, 3, *SIZE)
    return ncnn.compile(net or small_net(), example, folder / "net.param", CompileOptions(**options))


def test_without_its_weights_it_says_so(made: Made, tmp_path: Path) -> None:
    path = copied(made("ncnn"), tmp_path)
    path.with_name("net.param.bin").unlink()
    with pytest.raises(BadArtefact, match=r"net\.param lacks its weights, net\.param\.bin"):
        ncnn.load(path)


@pytest.mark.parametrize("part", [0.0, 0.5, 0.999])
def test_weights_that_are_cut_short_are_refused(part: float, made: Made, tmp_path: Path) -> None:
    path = unbound(copied(made("ncnn"), tmp_path))
    weights = path.with_name("net.param.bin")
    weights.write_bytes(weights.read_bytes()[: int(part * weights.stat().st_size)])
    with pytest.raises(BadArtefact, match=r"net\.param\.bin, are damaged or cut short"):
        ncnn.load(path)


def test_half_precision_halves_the_file(tmp_path: Path) -> None:
    sizes = []
    for precision in ("fp32", "fp16"):
        compiled(tmp_path, precision=precision)
        sizes.append((tmp_path / "net.param.bin").stat().st_size)
    assert sizes[1] < 0.6 * sizes[0]


def test_frames_whose_rows_fill_no_whole_16_bytes_are_read_right(tmp_path: Path) -> None:
    size, net = (151, 67), small_net()
    frame = np.random.default_rng(0).integers(0, 256, (151, 67, 3)).astype(np.uint8)
    output = ncnn.load(compiled(tmp_path, net, frame=size), threads=1)(frame[None])
    with torch.no_grad():
        depth = net(torch.tensor(prepare(frame, net.spec.preprocess))).numpy()[0, 0]
    expected, _ = restore(depth, size, net.spec.preprocess)
    assert np.abs(output[0, 0] - expected).mean() < 0.002 * np.abs(expected).max()


def test_an_operation_that_ncnn_lacks_is_named(tmp_path: Path) -> None:
    class Lgamma(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.special.gammaln(x + 1)

    net = small_net()
    net.head = nn.Sequential(net.head, Lgamma())
    with pytest.raises(ExportFailed, match=r"ncnn has no layer for the operation \S*gamma"):
        compiled(tmp_path, net)
    assert not list(tmp_path.iterdir())


def test_runners_do_not_share_buffers(made: Made) -> None:
    path = made("ncnn")
    first, second = ncnn.load(path, threads=1), ncnn.load(path, threads=2)
    one, other = images(2)
    expected = first(one)
    second(other)
    assert (first(one) == expected).all()
