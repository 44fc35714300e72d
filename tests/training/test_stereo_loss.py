"""The loss of stereo pairs: equal to its twin, lowest where the views agree, and enough to learn metres from."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support import reference
from support.stereo_drive import DATE, DRIVE, WIDTH, narrow, pair_of, write_drive
from torch import Tensor, nn

from leadline.cli.main import main
from leadline.cli.train import run_training as train
from leadline.core.errors import BadData
from leadline.data.batch import Batch
from leadline.data.options import Stereo, View
from leadline.nn import checkpoint, zoo
from leadline.nn.build import build, calibrated
from leadline.training.losses.stereo import photometric, warp
from leadline.training.options import FitOptions, Training


class Fixed(nn.Module):
    """Answers with the maps that it was given."""

    def __init__(self, *maps: Tensor) -> None:
        super().__init__()
        self.maps = list(maps)

    def forward(self, image: Tensor, raw: bool = False) -> list[Tensor]:
        return self.maps


def batch_of(left: Tensor, right: Tensor | None) -> Batch:
    nothing = torch.zeros(len(left), 1, *left.shape[-2:])
    return Batch(left, nothing, nothing > 0, ("pair",) * len(left), right=right)


def maps_of(left: float, right: float, size: tuple[int, int] = (16, WIDTH)) -> list[Tensor]:
    both = torch.tensor([left, right])[None, :, None, None] / WIDTH
    return [both.expand(1, 2, size[0] // 2**s, size[1] // 2**s) for s in range(3)]


@pytest.mark.parametrize(
    "weights",
    [
        Stereo(scales=3),
        Stereo(ssim=0.0, smoothness=0.5, consistency=0.0, scales=2),
        Stereo(ssim=1.0, vertical=False, consistency=2.0, scales=1),
    ],
)
def test_the_loss_equals_its_twin(weights: Stereo) -> None:
    draw = torch.Generator().manual_seed(1)
    left, right = torch.rand(2, 2, 3, 12, 16, generator=draw, dtype=torch.float64)
    maps = [0.3 * torch.rand(2, 2, 12 // n, 16 // n, generator=draw, dtype=torch.float64) for n in (1, 2, 4)]
    value, logs = photometric(Fixed(*maps), batch_of(left, right), weights)
    settings = {name: getattr(weights, name) for name in ("ssim", "smoothness", "consistency", "vertical")}
    used = [m.numpy() for m in maps[: weights.scales]]
    assert float(value) == pytest.approx(reference.stereo(left.numpy(), right.numpy(), used, **settings), rel=1e-9)
    parts = logs["appearance"] + weights.smoothness * logs["smoothness"] + weights.consistency * logs["consistency"]
    assert float(value) == pytest.approx(parts, rel=1e-9)


def test_the_gradient_is_that_of_the_formula() -> None:
    draw = torch.Generator().manual_seed(2)
    left, right = torch.rand(2, 1, 3, 4, 6, generator=draw, dtype=torch.float64)
    maps = (0.05 + 0.2 * torch.rand(1, 2, 4, 6, generator=draw, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(lambda m: photometric(Fixed(m), batch_of(left, right))[0], (maps,), atol=1e-4)


def test_a_right_view_fetched_by_the_left_disparity_is_the_left_view() -> None:
    left, right = pair_of(6)
    shift = torch.full((1, 1, 16, WIDTH), 6 / WIDTH)
    torch.testing.assert_close(warp(right, -shift)[..., 6:], left[..., 6:], rtol=0, atol=1e-4)
    torch.testing.assert_close(warp(left, shift)[..., :-6], right[..., :-6], rtol=0, atol=1e-4)
    # beyond the border it is the border's pixel
    torch.testing.assert_close(warp(right, -shift)[..., :6], right[..., :1].expand(-1, -1, -1, 6), rtol=0, atol=1e-4)


def test_half_a_pixel_is_the_mean_of_two() -> None:
    ramp = torch.arange(8.0).expand(1, 1, 2, 8)
    moved = warp(ramp, torch.full((1, 1, 2, 8), 0.5 / 8))
    torch.testing.assert_close(moved[0, 0, 0], torch.tensor([0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.0]))


def test_the_loss_is_lowest_at_the_true_disparity() -> None:
    batch = batch_of(*pair_of(6))
    values = {d: float(photometric(Fixed(*maps_of(d, d)), batch)[0]) for d in (0, 2, 4, 5, 6, 7, 8, 10, 14)}
    assert min(values, key=values.__getitem__) == 6
    only_left = {d: float(photometric(Fixed(*maps_of(d, 6)), batch)[0]) for d in (4, 5, 6, 7, 8)}
    only_right = {d: float(photometric(Fixed(*maps_of(6, d)), batch)[0]) for d in (4, 5, 6, 7, 8)}
    assert min(only_left, key=only_left.__getitem__) == min(only_right, key=only_right.__getitem__) == 6


def test_swapped_views_in_a_mirror_are_the_same_pair() -> None:
    left, right = pair_of(6)
    maps = [m + 0.01 * torch.rand(m.shape) for m in maps_of(6, 5)]
    turned = [m.flip(-1, 1) for m in maps]
    here, _ = photometric(Fixed(*maps), batch_of(left, right))
    there, _ = photometric(Fixed(*turned), batch_of(right.flip(-1), left.flip(-1)))
    torch.testing.assert_close(here, there, rtol=1e-4, atol=1e-4)


def test_a_perfect_pair_costs_nothing_and_edges_are_free_where_the_image_has_them() -> None:
    image = torch.rand(1, 3, 8, 16)
    value, _ = photometric(Fixed(torch.zeros(1, 2, 8, 16)), batch_of(image, image))
    assert float(value) < 1e-5
    step = torch.zeros(1, 2, 8, 16)
    step[..., 8:] = 0.1
    flat, edge = torch.full((1, 3, 8, 16), 0.5), torch.zeros(1, 3, 8, 16)
    edge[..., 8:] = 1.0
    rough = [photometric(Fixed(step), batch_of(x, x))[1]["smoothness"] for x in (flat, edge)]
    assert rough[1] == pytest.approx(rough[0] * np.exp(-1), rel=1e-4)


@pytest.mark.parametrize("size", [(1, 1), (2, 7), (9, 1)])
def test_the_smallest_images_have_a_loss(size: tuple[int, int]) -> None:
    maps = torch.full((1, 2, *size), 0.1, requires_grad=True)
    value, _ = photometric(Fixed(maps), batch_of(*torch.rand(2, 1, 3, *size)))
    value.backward()
    assert torch.isfinite(value) and maps.grad is not None and torch.isfinite(maps.grad).all()


def test_what_has_no_pairs_or_no_disparities_is_refused() -> None:
    left, right = pair_of(6)
    with pytest.raises(ValueError, match="no right views"):
        photometric(Fixed(*maps_of(6, 6)), batch_of(left, None))
    with pytest.raises(ValueError, match="maps of 1 channels"):
        photometric(Fixed(maps_of(6, 6)[0][:, :1]), batch_of(left, right))


@pytest.mark.slow
def test_a_net_learns_the_disparity_of_one_pair() -> None:
    """It starts at 0.15 of the width, which is 9.6 pixels; the truth is 6."""
    net, batch = build(narrow(), seed=0), batch_of(*pair_of(6))
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    values, far = [], []
    for _ in range(120):
        value, _ = photometric(net, batch)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(float(value.detach()))
        far.append(float((net(batch.image).detach()[..., 8:] * WIDTH - 6).abs().mean()))
    assert values[-1] < 0.6 * values[0]
    assert far[-1] < 1.0 < far[0]


@pytest.fixture
def run(tmp_path: Path) -> Training:
    write_drive(tmp_path / "data")
    checkpoint.save(build(narrow(), seed=0), tmp_path / "narrow.safetensors")
    fit = FitOptions(steps=2, optimizer="adam", precision="no", weight_decay=0.0)
    return Training(
        data=(str(tmp_path / "data"),), out=tmp_path / "run", model=str(tmp_path / "narrow.safetensors"),
        loss=("stereo",), batch=2, fit=fit, val_every=0, workers=0,
    )  # fmt: skip


def test_a_run_on_pairs_gives_metres_by_the_calibration(run: Training) -> None:
    net, report = train(replace(run, stereo=Stereo(size=(32, 64))))
    assert net.spec.head.kind == "metric" and net.spec.head.focal_times_baseline == pytest.approx(40 / 64 * 0.5)
    assert net.spec.preprocess.size == (32, 64)
    again = checkpoint.load(run.out / "narrow.safetensors").eval()
    image = torch.rand(1, 3, 32, 64)
    with torch.no_grad():
        depth, maps = again(image), again(image, raw=True)
    torch.testing.assert_close(depth, 40 / 64 * 0.5 / maps[0][:, :1])
    assert np.isfinite(report.metrics["loss"])
    said = json.loads((run.out / "run.json").read_text())["training"]["stereo"]
    assert said["ssim"] == 0.85 and said["size"] == [32, 64]


def test_stereo_is_a_word_of_the_command_line(run: Training, capsys: pytest.CaptureFixture[str]) -> None:
    words = (
        f"train --data {run.data[0]} --out {run.out} --model {run.model} --loss stereo --stereo.smoothness 0.2 --json"
    )
    words += " --batch 2 --val-every 0 --workers 0 --fit.steps 1 --fit.precision no --stereo.no-vertical"
    assert main(words.split()) == 0
    assert np.isfinite(json.loads(capsys.readouterr().out)["metrics"]["loss"])


def test_frames_of_the_validation_split_are_measured_by_their_depth(run: Training, tmp_path: Path) -> None:
    write_drive(tmp_path / "more", n=50)
    _, report = train(replace(run, data=(str(tmp_path / "more"),), val_every=2, protocol="kitti-eigen-garg@1"))
    assert "abs_rel" in report.metrics


def damage_calibration(home: Path) -> None:
    (home.parent / "calib_cam_to_cam.txt").unlink()


def damage_left(home: Path) -> None:
    (home / "image_02" / "data" / "0000000001.png").unlink()


def damage_right(home: Path) -> None:
    (home / "image_03" / "data" / "0000000002.png").unlink()


def damage_size(home: Path) -> None:
    Image.new("RGB", (60, 16)).save(home / "image_03" / "data" / "0000000001.png")


def damage_camera(home: Path) -> None:
    for date in ("2011_09_28", "2011_09_29"):  # the last drive is the test part
        write_drive(home.parents[1], date=date, baseline=0.51)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_calibration, r"has no calibration.*calib_cam_to_cam\.txt with P_rect_02 and P_rect_03 is needed"),
        (damage_left, r"1 images have no partner.*image_03/data/0000000001\.png has no left view"),
        (damage_right, r"1 images have no partner.*image_02/data/0000000002\.png has no right view"),
        (damage_size, r"0000000001\.png has 16x64 pixels and .*image_03.* 16x60; the views of a pair need one size"),
        (damage_camera, r"the cameras differ: .* 0\.3125 m in .*2011_09_26 and 0\.3187 m in .*2011_09_28"),
    ],
)
def test_bad_pairs_are_named_before_any_work(run: Training, damage: Callable[[Path], None], message: str) -> None:
    damage(Path(run.data[0]) / DATE / DRIVE)
    with pytest.raises(BadData, match=message):
        train(run)
    assert not run.out.exists()


def test_what_stereo_has_no_use_for_is_refused(run: Training) -> None:
    with pytest.raises(ValueError, match="view is View"):
        train(replace(run, view=View(flip=0.0)))
    with pytest.raises(ValueError, match="by itself"):
        train(replace(run, loss=("stereo", "l1")))
    with pytest.raises(ValueError, match="monodepth_vgg and monodepth_pruned give those"):
        train(replace(run, model="fastdepth_pruned"))


def test_only_nets_with_disparities_can_be_calibrated() -> None:
    net = build(narrow(), seed=0)
    metric = calibrated(net, 0.3)
    assert net.spec.head.kind == "relative_disparity" and metric.spec.head.kind == "metric"
    with pytest.raises(ValueError, match="fastdepth_pruned gives depth"):
        calibrated(build(zoo.fastdepth_pruned(), seed=0), 0.3)
