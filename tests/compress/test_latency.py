"""The look-up table of layers: what it measures, what it keeps, and what it says of widths between. No times."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from leadline.compress.cost import latency
from leadline.compress.cost import layer_latency as layer_times
from leadline.compress.cost.count import Layer, shapes_of
from leadline.compress.cost.latency import Table, latency_cost, table, table_error, timed
from leadline.compress.cost.layer_latency import Entry, kinds
from leadline.core.errors import NoRuntime
from leadline.core.spec import Decoder, Encoder, Preprocess, Spec, from_json, to_json
from leadline.nn.build import Net, build

pytestmark = pytest.mark.usefixtures("one_thread")
SIZE = (32, 32)


def small(width: int = 16, narrow: int = 8) -> Net:
    """A net with few kinds of layers."""
    encoder = Encoder("mobilenet_v1", (width,) * 13 + (narrow,))
    return build(Spec("small", encoder, Decoder("nnconv5", (width,) * 5), preprocess=Preprocess(SIZE)), seed=0).eval()


def invented(net: Net, size: tuple[int, int] = SIZE) -> Table:
    """A table without measuring: each layer takes a microsecond for each product of its widths."""
    entries = []
    for what, one in kinds(net, size).items():
        inputs, outputs = layer_times._grids(one)
        rows = [[(i or 1) * o / 1000 for o in outputs] for i in inputs or (0,)]
        entries.append(Entry(what, inputs, outputs, tuple(map(tuple, rows))))
    return Table("a device", "onnx", "1", 1, tuple(entries))


@pytest.mark.slow
def test_a_table_is_measured_once(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Conv2d(8, 1, 1)).eval()
    said: list[str] = []
    first, again = (table(net, SIZE, "eager", threads=1, folder=tmp_path, n=2, say=said.append) for _ in range(2))
    assert again == first
    assert [line.endswith("measured before") for line in said] == [False] * 3 + [True] * 3
    assert first.runtime == "eager" and first.threads == 1
    assert [(e.inputs, e.outputs) for e in first.entries] == [((3,), (8,)), ((), (8,)), ((8,), (1,))]
    assert all(np.isfinite(e.ms).all() and np.min(e.ms) >= 0 for e in first.entries)
    assert from_json(Table, json.loads(json.dumps(to_json(first)))) == first


@pytest.mark.slow
def test_a_layer_by_itself_is_all_that_a_compiler_needs(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    net = nn.ConvTranspose2d(3, 3, 3, 2, groups=3).eval()
    (entry,) = table(net, (4, 4), "onnx", threads=1, folder=tmp_path, n=2).entries
    assert entry.what == "depthwise transposed 3x3 stride 2x2 padding 0x0 dilation 1x1 from 3 to 3 on 4x4"
    assert (entry.inputs, entry.outputs, np.shape(entry.ms)) == ((), (3,), (1, 1))


@pytest.mark.slow
def test_layers_that_are_wider_than_those_kept_are_measured_anew(tmp_path: Path) -> None:
    said: list[str] = []
    for width in (8, 32, 16):
        net = nn.Sequential(nn.Conv2d(3, width, 1), nn.Conv2d(width, 1, 1)).eval()
        table(net, (4, 4), "eager", threads=1, folder=tmp_path, n=1, say=said.append)
    assert [line.endswith("measured before") for line in said] == [False, False, False, False, True, True]


def test_a_damaged_file_is_measured_anew(tmp_path: Path) -> None:
    net = nn.Conv2d(3, 8, 1).eval()
    first = table(net, (4, 4), "eager", threads=1, folder=tmp_path, n=1)
    (path,) = tmp_path.iterdir()
    path.write_text("{")
    again = table(net, (4, 4), "eager", threads=1, folder=tmp_path, n=1)
    assert [e.what for e in again.entries] == [e.what for e in first.entries]
    assert from_json(Table, json.loads(path.read_text())) == again


@pytest.mark.parametrize(
    ("largest", "groups", "grid"),
    [
        (1, 1, (1,)),
        (3, 1, (3,)),
        (6, 1, (8,)),
        (16, 1, (8, 16)),
        (32, 1, (8, 16, 32)),
        (20, 1, (8, 16, 24)),
        (512, 1, (8, 256, 512)),
    ],
)
def test_the_grid_is_eight_a_half_and_the_whole(largest: int, groups: int, grid: tuple[int, ...]) -> None:
    assert layer_times._grid(largest, groups) == grid


@pytest.mark.parametrize("rest", ["half", "added", "scaled"])
@pytest.mark.parametrize("whole_ms", [0.5, 100.0])
def test_the_unpruned_net_takes_what_was_measured(rest: latency.Rest, whole_ms: float) -> None:
    net = small()
    cost = latency_cost(net, SIZE, invented(net), whole_ms, rest)
    assert cost(shapes_of(net)) == pytest.approx(whole_ms)
    assert 0 <= cost(shapes_of(small(8))) < whole_ms


def test_the_rest_is_added_scaled_or_half_of_each() -> None:
    net, smaller = small(), shapes_of(small(8))
    found = invented(net)
    rests: tuple[latency.Rest, ...] = ("added", "scaled", "half")
    at_50, at_100 = (
        {rest: latency_cost(net, SIZE, found, whole_ms, rest)(smaller) for rest in rests} for whole_ms in (50, 100)
    )
    assert at_100["added"] == pytest.approx(at_50["added"] + 50)
    assert at_100["scaled"] == pytest.approx(2 * at_50["scaled"])
    assert at_50["half"] == pytest.approx((at_50["added"] + at_50["scaled"]) / 2)
    assert at_50["scaled"] < at_50["added"] < 50


@given(st.integers(5, 64), st.integers(5, 64))
def test_between_and_beyond_the_grid_it_is_linear(inputs: int, outputs: int) -> None:
    grid = (8, 16, 32)
    ms = tuple(tuple(float(1 + 2 * i + 3 * o + 4 * i * o) for o in grid) for i in grid)
    found = latency._interpolated(Entry("conv", grid, grid, ms))(inputs, outputs)
    assert found == pytest.approx(1 + 2 * inputs + 3 * outputs + 4 * inputs * outputs)


def test_no_layer_takes_less_than_nothing() -> None:
    falling = Entry("depthwise", (), (8, 16), ((1.0, 5.0),))
    assert latency._interpolated(falling)(2, 2) == 0.0
    assert latency._interpolated(Entry("one", (3,), (8,), ((1.5,),)))(3, 99) == 1.5


def test_a_layer_that_the_table_lacks_is_named() -> None:
    net = small()
    with pytest.raises(ValueError, match=r"the table has no conv 3x3 stride 2x2 .* from 3 on 64x64; make it"):
        latency_cost(net, (64, 64), invented(net), 1.0)


@pytest.mark.parametrize("kind", ["conv", "depthwise", "grouped", "transposed", "transposed depthwise", "linear"])
def test_widths_are_those_of_the_module(kind: str) -> None:
    made: dict[str, nn.Module] = {
        "conv": nn.Conv2d(6, 10, 3),
        "depthwise": nn.Conv2d(6, 6, 3, groups=6),
        "grouped": nn.Conv2d(6, 10, 3, groups=2),
        "transposed": nn.ConvTranspose2d(6, 10, 3),
        "transposed depthwise": nn.ConvTranspose2d(6, 6, 3, groups=6),
        "linear": nn.Linear(6, 10),
    }
    module = made[kind]
    groups = getattr(module, "groups", 1)
    name = "transposed" if "transposed" in kind else "linear" if kind == "linear" else "conv"
    layer = Layer("weight", name, (3, 3), (1, 1), (0, 0), (1, 1), groups, (9, 9), 1)
    shape = shapes_of(module)["weight"]
    expected = (6, 6) if "depthwise" in kind else (6, 10)
    assert layer_times.widths_of(layer, "depthwise" in kind, shape) == expected


def test_nets_are_timed_in_turns_and_threads_stay_as_they_were() -> None:
    torch.set_num_threads(2)  # the fixture puts it back
    found = timed({"a": small(), "b": small(8)}, SIZE, "eager", threads=1, n=3, warmup=1)
    assert {name: times.n for name, times in found.items()} == {"a": 3, "b": 3}
    assert torch.get_num_threads() == 2


def test_nets_are_compiled_for_the_threads_they_are_timed_with() -> None:
    torch.set_num_threads(2)  # inductor compiles for as many; the first of two nets took five times as long
    with layer_times.at_bench("eager", 1) as bench:
        assert bench.threads == torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2


def test_the_error_is_that_of_what_was_predicted_and_measured() -> None:
    net = small()
    found = Table("a device", "eager", "1", 1, invented(net).entries)
    report = table_error(net, SIZE, found, {"narrow": small(8), "same": small()}, n=3)
    pairs = report.context["nets"]
    errors = [abs(predicted / measured - 1) for predicted, measured in pairs.values()]
    assert report.metrics["mean_error"] == pytest.approx(np.mean(errors))
    assert report.metrics["worst_error"] == max(errors)
    assert report.metrics["spread"] >= 0
    assert pairs["same"][0] == pytest.approx(report.latency_ms["median"])
    assert report.n == 2 and report.context["runtime"] == "eager"


def test_a_runtime_that_is_not_installed_says_so_first(monkeypatch: pytest.MonkeyPatch) -> None:
    from leadline.runtime.backends import onnx

    monkeypatch.setattr(onnx, "missing", lambda: "pip install something")
    with pytest.raises(NoRuntime, match=r"pip install something"):
        timed({"a": small()}, SIZE, "onnx")
