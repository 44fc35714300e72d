"""A whole frame's module is preprocess, net and the way back, for every rule of resizing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.tiny_runtime_nets import SIZE, small_net

from leadline.core.preprocess import prepare, restore
from leadline.core.spec import Preprocess
from leadline.nn import zoo
from leadline.nn.build import Net, build
from leadline.nn.fold import fold
from leadline.runtime.graph import prepared
from leadline.runtime.options import CompileOptions
from leadline.runtime.whole_frame import Framed


def frame_of(size: tuple[int, int]) -> np.ndarray:
    """A smooth picture with a little noise."""
    draw = np.random.default_rng(0)
    coarse = draw.integers(0, 255, (size[0] // 8 + 1, size[1] // 8 + 1, 3))
    fine = np.kron(coarse, np.ones((8, 8, 1)))[: size[0], : size[1]] + draw.normal(0, 3, (*size, 3))
    return fine.clip(0, 255).astype(np.uint8)


def by_steps(net: Net, frame: np.ndarray, how: Preprocess) -> tuple[np.ndarray, np.ndarray]:
    with torch.no_grad():
        return restore(fold(net)(torch.tensor(prepare(frame, how)))[0, 0].numpy(), frame.shape[:2], how)


@pytest.mark.parametrize("picks", [True, False], ids=["picks", "matrices"])
@pytest.mark.parametrize("view", [(1.0, 1.0), (0.9, 0.8)], ids=["all of the frame", "its centre"])
@pytest.mark.parametrize("back", ["bilinear", "nearest", "corners"])
@pytest.mark.parametrize("size", [(150, 200), (97, 131), (40, 50)])
def test_a_framed_net_is_prepare_net_and_restore(
    size: tuple[int, int], back: str, view: tuple[float, float], picks: bool
) -> None:
    how = Preprocess(SIZE, "corners", back, view, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25))
    net, frame = small_net(preprocess=how), frame_of(size)
    expected, valid = by_steps(net, frame, how)
    with torch.no_grad():
        found = Framed(fold(net), size, how, picks).eval()(torch.tensor(frame[None]))[0, 0].numpy()
    np.testing.assert_allclose(found[valid], expected[valid], atol=1e-4 * expected.max())
    assert (found[~valid] == 0).all()


def test_litedepth_in_whole_frames_is_litedepth_by_steps() -> None:
    net, frame = build(zoo.litedepth(), seed=0).eval(), frame_of((480, 640))
    net.head.start_at(2.0)
    how = net.spec.preprocess
    expected, valid = by_steps(net, frame, how)
    module, example = prepared(net, torch.zeros(1, 3, *how.size), CompileOptions(frame=(480, 640)))
    assert example.shape == (1, 480, 640, 3) and example.dtype == torch.uint8
    with torch.no_grad():
        found = module(torch.tensor(frame[None]))[0, 0].numpy()
    assert found.shape == (480, 640) and valid.all() and expected.std() > 0.01
    np.testing.assert_allclose(found, expected, atol=1e-4 * expected.max())
    # 32x40 inside: every 15x16 pixels are one of the net's
    np.testing.assert_array_equal(found.reshape(32, 15, 40, 16).std(axis=(1, 3)) < 1e-6, True)


def test_resizing_between_corners_stores_no_weights_worth_mentioning() -> None:
    net = build(zoo.litedepth(), seed=0).eval()
    module, _ = prepared(net, torch.zeros(1, 3, 128, 160), CompileOptions(frame=(480, 640)))
    inside = sum(x.numel() for x in fold(net).state_dict().values())
    assert sum(x.numel() for x in module.state_dict().values()) - inside < 5000
