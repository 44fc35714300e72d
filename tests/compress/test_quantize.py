"""Lower precision is handed over only when the file is faster and as accurate; the steps that help it keep the net."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support.tiny_runtime_nets import SIZE, images, small_net
from torch import nn

from leadline.compress.options import AcceptanceCriteria
from leadline.compress.quantization import search as quantize_module
from leadline.compress.quantization.equalize import equalized
from leadline.compress.quantization.search import quantize
from leadline.compress.quantization.sensitivity import (
    quantized_input,
    quantized_weight,
    ranges,
    sensitivity,
    simulated,
    with_corrected_biases,
)
from leadline.core.errors import AcceptanceFailed
from leadline.core.preprocess import Runner
from leadline.core.timing import Times
from leadline.core.types import Item
from leadline.data.dataset import Dataset
from leadline.nn.build import Net
from leadline.nn.checkpoint import save
from leadline.nn.fold import convolutions, fold
from leadline.runtime import backend
from leadline.runtime.backends import eager
from leadline.runtime.manifest import Manifest, write_beside
from leadline.runtime.options import CompileOptions

EXAMPLE = torch.zeros(1, 3, *SIZE)


@pytest.fixture(scope="module")
def net() -> Net:
    return small_net()


def output(net: nn.Module, image: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return net(torch.tensor(image)).numpy()


def test_folding_keeps_the_function_and_leaves_no_batch_norm(net: Net) -> None:
    folded = fold(net)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())
    assert any(isinstance(m, nn.BatchNorm2d) for m in net.modules())
    for image in images(2):
        assert np.allclose(output(folded, image), output(net, image), atol=1e-5)
    with_gradient = folded(torch.tensor(images(1)[0])).detach().numpy()
    assert np.allclose(with_gradient, output(net, images(1)[0]), atol=1e-5)


def test_convolutions_come_in_the_order_in_which_they_run(net: Net) -> None:
    names = convolutions(net, EXAMPLE)
    assert names[0].startswith("encoder") and names[-1] == "head.conv"
    assert sorted(names) == sorted(n for n, m in net.named_modules() if isinstance(m, nn.Conv2d))
    assert names == convolutions(fold(net), EXAMPLE)


def test_int8_weights_differ_by_at_most_half_a_step_of_their_channel() -> None:
    weight = torch.randn(5, 4, 3, 3) * torch.tensor([0.0, 1e-3, 1.0, 10.0, 1e3]).view(-1, 1, 1, 1)
    step = weight.abs().amax(dim=(1, 2, 3), keepdim=True) / 127
    assert ((quantized_weight(weight) - weight).abs() <= step * 0.501).all()


@pytest.mark.parametrize(("low", "high"), [(0.0, 6.0), (-1.0, 3.0), (0.5, 2.0), (0.0, 0.0)])
def test_uint8_inputs_keep_zero_exactly_and_clip_outside_the_range(low: float, high: float) -> None:
    x = torch.linspace(-5, 10, 301)
    found = quantized_input(x, low, high)
    step = (max(high, 0) - min(low, 0)) / 255 or 1.0
    inside = (x >= min(low, 0)) & (x <= max(high, 0))
    assert ((found - x).abs()[inside] <= step * 0.51).all()
    assert quantized_input(torch.zeros(1), low, high) == 0
    assert found.unique().numel() <= 256


def test_a_simulated_layer_is_restored_even_after_an_error(net: Net) -> None:
    folded = fold(net)
    seen = ranges(folded, images(2))
    before = output(folded, images(1)[0])
    with pytest.raises(KeyError), simulated(folded, seen):
        assert not np.array_equal(output(folded, images(1)[0]), before)
        raise KeyError
    assert np.array_equal(output(folded, images(1)[0]), before)


def test_a_layer_whose_inputs_share_one_range_unfairly_is_the_most_sensitive_and_equalising_helps_it(net: Net) -> None:
    folded = fold(net)
    name = "decoder.blocks.2.3"
    before, conv = folded.get_submodule("decoder.blocks.2.0"), folded.get_submodule(name)
    with torch.no_grad():  # the same function, but one input's range swallows the others'
        before.weight[0] *= 1000.0
        before.bias[0] *= 1000.0
        conv.weight[:, 0] /= 1000.0
    ranked = sensitivity(folded, images(2))
    assert list(ranked.values()) == sorted(ranked.values(), reverse=True)
    assert set(ranked) == set(convolutions(folded, EXAMPLE))
    assert next(iter(ranked)) == name
    assert sensitivity(equalized(folded), images(2))[name] < 0.2 * ranked[name]


def test_equalising_keeps_the_function_and_evens_the_ranges(net: Net) -> None:
    folded = fold(net)
    first, second = folded.get_submodule("decoder.blocks.1.0"), folded.get_submodule("decoder.blocks.1.3")
    with torch.no_grad():
        factor = torch.logspace(-2, 2, first.out_channels)
        first.weight.mul_(factor.view(-1, 1, 1, 1))
        first.bias.mul_(factor)
        second.weight.div_(factor.view(1, -1, 1, 1))
    even = equalized(folded)
    for image in images(2):
        assert np.allclose(output(even, image), output(folded, image), rtol=1e-4, atol=1e-4)
    ours, theirs = even.get_submodule("decoder.blocks.1.0"), even.get_submodule("decoder.blocks.1.3")
    assert torch.allclose(
        ours.weight.abs().amax(dim=(1, 2, 3)), theirs.weight.abs().amax(dim=(0, 2, 3)), rtol=1e-3, atol=1e-6
    )


def test_equalising_does_not_touch_what_a_relu6_bounds(net: Net) -> None:
    folded = fold(net)
    even = equalized(folded)
    encoder = [n for n, m in folded.encoder.named_modules() if isinstance(m, nn.Conv2d)]
    assert encoder
    for name in encoder:
        assert torch.equal(even.encoder.get_submodule(name).weight, folded.encoder.get_submodule(name).weight)


def test_corrected_biases_take_back_the_mean_shift_of_rounded_weights(net: Net) -> None:
    folded = fold(net)
    corrected = with_corrected_biases(folded, images(4))

    def shift(candidate: Net) -> float:
        rounded = fold(candidate)
        with torch.no_grad():
            for module in rounded.modules():
                if isinstance(module, nn.Conv2d):
                    module.weight.copy_(quantized_weight(module.weight))
        return abs(float(np.mean([output(rounded, i) - output(folded, i) for i in images(4)])))

    assert shift(corrected) < 0.5 * shift(folded)


def rooms(net: Net) -> Dataset:
    """Pictures whose true depth is what the net itself says."""
    run = eager.runner(net)

    def read(image: np.ndarray) -> Item:
        frame = (image[0].transpose(1, 2, 0) * 255).astype(np.uint8)
        depth = run(frame.transpose(2, 0, 1)[None].astype(np.float32) / 255)[0, 0]
        return Item(frame, depth, np.ones(SIZE, bool), "room")

    return Dataset("rooms", tuple(images(3)), read)


def stand_in(monkeypatch: pytest.MonkeyPatch, *, error: Mapping[int, float], slower: bool = False) -> list[int]:
    """A runtime whose int8 files are off by the factor error[number of kept layers]; returns the numbers tried."""
    tried: list[int] = []

    def compile(net: Net, example: torch.Tensor, out: Path, options: CompileOptions) -> Path:
        factor = 1.0
        if options.precision == "int8":
            tried.append(len(options.keep))
            factor = 1 + error.get(len(options.keep), 0.0)
        out.write_text(str(factor))
        write_beside(out, Manifest(net.spec, "onnx", options.precision, SIZE, options.frame, options.keep))
        FILES[out.parent.name] = (net, factor)
        return out

    def load(path: Path, threads: int | None) -> Runner:
        net, factor = FILES[path.parent.name]
        run = eager.runner(net)
        return lambda batch: run(batch) * np.float32(factor)

    def measure(calls: Mapping[str, object], **_: object) -> dict[str, Times]:
        low, high = (2.0, 1.0) if slower else (1.0, 2.0)
        return {"int8": Times(low, low, low, low, 5), "fp32": Times(high, high, high, high, 5)}

    module = SimpleNamespace(PRECISIONS=("fp32", "int8"), compile=compile, load=load)
    monkeypatch.setattr(quantize_module, "installed", lambda name: module)
    monkeypatch.setattr(quantize_module, "measure", measure)
    return tried


FILES: dict[str, tuple[Net, float]] = {}


def run_quantize(net: Net, folder: Path, **criteria: object) -> object:
    model, out = save(net, folder / "net.safetensors"), folder / "net.onnx"
    said: list[str] = []
    report = quantize(
        model, "onnx", out, rooms(net), calibration=images(2), criteria=AcceptanceCriteria(**criteria), say=said.append
    )
    assert out.is_file() and said
    return report


def test_a_good_file_is_handed_over_at_once(net: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = stand_in(monkeypatch, error={})
    report = run_quantize(net, tmp_path)
    assert tried == [0]
    assert report.metrics["drop"] <= 0.01 and report.context["method"] == "all layers" and not report.context["forced"]
    assert (report.metrics["within_125"], report.metrics["mean_difference"]) == (1.0, 0.0)  # the stand-in is exact
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.onnx", "net.onnx.json", "net.safetensors"]


def test_sensitive_layers_stay_in_float_until_it_is_good(
    net: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = stand_in(monkeypatch, error={0: 0.5, 1: 0.5, 2: 0.5})
    report = run_quantize(net, tmp_path)
    assert tried == [0, 0, 1, 2, 4]
    assert len(report.context["keep"]) == 4
    assert [len(c["keep"]) for c in report.context["candidates"]] == tried


def test_a_file_that_loses_too_much_is_refused_with_its_figures(
    net: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch, error=dict.fromkeys(range(40), 0.5))
    with pytest.raises(AcceptanceFailed, match=r"delta1 -1\.0000, 2\.00 times as fast as float32"):
        run_quantize(net, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["net.safetensors"]


@pytest.mark.parametrize("metric", ["rmse", "abs_rel", "silog"])
def test_of_an_error_more_is_worse(metric: str, net: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # a factor does not change silog
    tried = stand_in(monkeypatch, error={0: 2.0, 1: 2.0} if metric != "silog" else {0: float("nan")})
    report = run_quantize(net, tmp_path, metric=metric)
    assert tried[:2] == [0, 0] and report.context["candidates"][0]["drop"] > 0.01
    assert report.metrics["drop"] <= 0.01 and report.metrics[metric] <= report.metrics[f"{metric}_float"] + 0.01


@pytest.mark.slow
def test_an_error_that_grows_is_shown_with_its_sign(net: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, error=dict.fromkeys(range(40), 2.0))
    with pytest.raises(
        AcceptanceFailed, match=r"worse by at most 0\.01 in abs_rel and faster .*: all layers: abs_rel \+\d"
    ):
        run_quantize(net, tmp_path, metric="abs_rel")


@pytest.mark.slow
def test_a_file_that_gives_nothing_to_measure_is_the_worst_of_all(
    net: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = float("nan")
    tried = stand_in(monkeypatch, error={0: nothing, 1: 0.5, 2: 0.0})
    report = run_quantize(net, tmp_path)
    assert tried == [0, 0, 1, 2] and report.metrics["drop"] <= 0.01
    stand_in(monkeypatch, error=dict.fromkeys(range(40), nothing) | {2: 0.5})
    report = run_quantize(net, tmp_path, force=True)
    assert report.context["forced"] and len(report.context["keep"]) == 2


@pytest.mark.slow
def test_a_slower_file_is_refused_and_force_hands_it_over(
    net: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch, error={}, slower=True)
    with pytest.raises(AcceptanceFailed, match=r"0\.50 times as fast"):
        run_quantize(net, tmp_path)
    report = run_quantize(net, tmp_path, force=True)
    assert report.context["forced"] is True


def test_a_runtime_without_the_precision_says_what_it_has(net: Net, tmp_path: Path) -> None:
    if backend("tvm").missing() is not None:
        pytest.skip("needs TVM")
    model = save(net, tmp_path / "net.safetensors")
    with pytest.raises(ValueError, match="tvm cannot be quantised to int8; it makes nothing below fp32"):
        quantize(model, "tvm", tmp_path / "net.so", rooms(net), calibration=images(1))
