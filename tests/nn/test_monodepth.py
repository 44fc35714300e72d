"""monodepth's nets: the published sizes, odd images, what their maps mean; the merged second look of its authors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from leadline.cli.main import main
from leadline.compress.cost import count as cost
from leadline.core.geometry import merge_mirrored
from leadline.core.spec import Head, Preprocess, Spec
from leadline.nn import checkpoint, zoo
from leadline.nn.build import build, calibrated
from leadline.predict.predictor import Predictor
from leadline.runtime.backends import eager


@pytest.mark.parametrize(
    ("spec", "parameters", "macs"),
    [(zoo.monodepth_vgg(), 31600072, 14974189568), (zoo.monodepth_pruned(), 5951842, 4728595400)],
    ids=["vgg", "pruned"],
)
def test_parameters_and_macs_are_the_published_ones(spec: Spec, parameters: int, macs: int) -> None:
    net = build(spec, seed=0)
    assert cost.parameters(net) == parameters
    assert cost.macs(net, (256, 512)) == macs


def small(metres: float = 0.0) -> Spec:
    spec = zoo.monodepth_pruned()
    kind = "metric" if metres else "relative_disparity"
    head = replace(spec.head, kind=kind, unit="m" if metres else kind, focal_times_baseline=metres)  # type: ignore[arg-type]
    widths = tuple(max(4, w // 16) for w in spec.encoder.widths)
    decoder = replace(spec.decoder, widths=tuple(max(4, w // 16) for w in spec.decoder.widths))
    return replace(spec, encoder=replace(spec.encoder, widths=widths), decoder=decoder, head=head)


@pytest.mark.parametrize("size", [(256, 512), (97, 33), (3, 5), (1, 1)])
def test_four_scales_of_left_and_right_disparities_of_any_image(size: tuple[int, int]) -> None:
    with torch.no_grad():
        maps = build(small(), seed=0)(torch.rand(2, 3, *size), raw=True)
    sizes = [tuple(-(-side // 2**s) for side in size) for s in range(4)]
    assert [tuple(m.shape) for m in maps] == [(2, 2, *s) for s in sizes]
    assert all(float(m.min()) > 0 and float(m.max()) < 0.3 for m in maps)


def test_an_untrained_net_starts_in_the_middle_of_its_range() -> None:
    net = build(small(), seed=0)
    for convolution in net.decoder.disparities:
        torch.nn.init.zeros_(convolution.weight)
    with torch.no_grad():
        assert torch.equal(net(torch.rand(1, 3, 8, 8)), torch.full((1, 1, 8, 8), 0.15))


def test_depth_is_metres_over_the_finest_left_disparity() -> None:
    image = torch.rand(1, 3, 32, 64)
    relative, metric = build(small(), seed=0), build(small(0.3), seed=0)
    with torch.no_grad():
        maps = relative(image, raw=True)
        assert torch.equal(relative(image), maps[0][:, :1])
        torch.testing.assert_close(metric(image), 0.3 / maps[0][:, :1])
        torch.testing.assert_close(calibrated(relative, 0.3)(image), metric(image))


def test_coarse_disparities_reach_the_finer_ones() -> None:
    net, image = build(small(), seed=0), torch.rand(1, 3, 32, 64)
    with torch.no_grad():
        before = net(image)
        net.decoder.disparities[0].bias.fill_(3.0)
        assert not torch.equal(before, net(image))


def test_widths_and_kinds_that_do_not_fit_are_refused() -> None:
    spec = small()
    with pytest.raises(ValueError, match="vgg has 14 convolutions, 3 widths"):
        build(replace(spec, encoder=replace(spec.encoder, widths=(1, 2, 3))))
    with pytest.raises(ValueError, match="7 upconvs and 7 iconvs"):
        build(replace(spec, decoder=replace(spec.decoder, widths=(1, 2, 3))))
    for head in (replace(spec.head, focal_times_baseline=0.3), replace(spec.head, kind="metric")):
        with pytest.raises(ValueError, match="metric with focal_times_baseline above 0"):
            build(replace(spec, head=head))


def test_a_calibrated_net_is_saved_with_its_metres(tmp_path: Path) -> None:
    net = calibrated(build(small(), seed=0), 0.31, (32, 64)).eval()
    again = checkpoint.load(checkpoint.save(net, tmp_path / "net.safetensors"))
    assert again.spec.head.focal_times_baseline == 0.31 and again.spec.preprocess.size == (32, 64)
    image = torch.rand(1, 3, 32, 64)
    with torch.no_grad():
        assert torch.equal(net(image), again(image))


def test_borders_are_of_one_look_and_the_middle_of_both() -> None:
    own, other = np.full((2, 101), 1.0), np.full((2, 101), 3.0)
    merged = merge_mirrored(own, other)[0]
    assert (merged[:6] == 3).all() and (merged[-6:] == 1).all() and (merged[10:-10] == 2).all()
    assert merged[7] == pytest.approx(0.6 * 3 + 0.4 * 2)  # at 7 %: 1 - 20 * (0.07 - 0.05)
    assert np.array_equal(merge_mirrored(own, own), own)
    assert merge_mirrored(own[:, :1], other[:, :1])[0, 0] == 2


def look(head: Head, values: np.ndarray) -> Predictor:
    """A net that answers `values`, whatever it sees."""
    how = Preprocess((4, 20))
    return Predictor("fixed", lambda x: np.broadcast_to(values, (len(x), 1, 4, 20)).copy(), how, head, flip=True)


def test_disparities_are_merged_as_disparities_and_depths_as_depths() -> None:
    frame = np.zeros((4, 20, 3), np.uint8)
    values = np.linspace(1, 3, 20, dtype=np.float32)  # the second look says the same, mirrored: 3 to 1
    depth = look(Head(), values)(frame).values[0]
    assert np.allclose(depth, 2)
    disparity = look(Head("relative_disparity", layer="disparity"), values)(frame).values[0]
    assert np.allclose(disparity, merge_mirrored(values[None], values[None, ::-1])[0], atol=1e-5)
    metric = look(Head(layer="disparity", focal_times_baseline=0.3), values)(frame).values[0]
    merged = merge_mirrored(1 / values[None], 1 / values[None, ::-1])[0]
    assert np.allclose(metric, 1 / merged, atol=1e-5)


def test_the_second_look_sees_the_mirrored_picture() -> None:
    net = build(small(0.3), seed=0).eval()
    frame = np.random.default_rng(0).integers(0, 255, (40, 64, 3), dtype=np.uint8)
    plain = Predictor("net", eager.runner(net), Preprocess((32, 64)), net.spec.head)
    both = replace(plain, flip=True)
    here, there = both(frame).values, both(np.ascontiguousarray(frame[:, ::-1])).values
    assert np.allclose(here, there[:, ::-1], rtol=1e-4)  # so a mirror changes nothing
    assert not np.allclose(plain(frame).values, here, rtol=1e-4)
    assert np.allclose(plain(frame).values[:, -2:], here[:, -2:], rtol=1e-3)  # the right border is the first look's


def test_flip_is_a_flag_of_predict(tmp_path: Path) -> None:
    from PIL import Image

    file = checkpoint.save(build(small(0.3), seed=0), tmp_path / "net.safetensors")
    Image.new("RGB", (64, 32), (90, 120, 150)).save(tmp_path / "a.png")
    for name, more in (("one", ""), ("two", " --flip")):
        words = f"predict {tmp_path / 'a.png'} --model {file} --out {tmp_path / name} --save npy --json{more}"
        assert main(words.split()) == 0
    one, two = (np.load(tmp_path / name / "a_depth.npy") for name in ("one", "two"))
    assert one.shape == two.shape == (32, 64) and not np.array_equal(one, two)


def test_disparities_are_float32_under_autocast() -> None:
    """Far things have a logit of -4 and less, where bfloat16 counts in steps of 1/32."""
    net, image = build(small(), seed=0), torch.rand(1, 3, 32, 64)
    for convolution in net.decoder.disparities:
        torch.nn.init.constant_(convolution.bias, -5.0)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        maps = net(image, raw=True)
    assert all(m.dtype == torch.float32 for m in maps)
    assert len(maps[0].unique()) > maps[0].numel() / 2
