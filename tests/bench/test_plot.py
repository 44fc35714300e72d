"""The picture's front holds what nothing beats, and its names can be read."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.fake_bench import bench_of, row

from leadline.bench import plot as drawing
from leadline.bench.plot import COLOURS, MARKERS, front, plot
from leadline.bench.run import Bench
from leadline.runtime import BACKENDS


def crowd(**each: Any) -> Bench:
    """Many files, some of them at nearly the same place."""
    rows = [row(name, 8 + 0.2 * i, parity=1e-6 * (i + 1), **each) for i, name in enumerate(BACKENDS)]
    rows += [row("onnx", 3.0, "int8", parity=0.05, **each), row("litert", 3.1, "int8", parity=0.06, **each)]
    return bench_of(*rows)


def test_every_runtime_and_precision_has_its_look() -> None:
    assert set(COLOURS) == set(BACKENDS) and len(set(COLOURS.values())) == len(COLOURS)
    assert set(MARKERS) == {"fp32", "fp16", "bf16", "int8"} and len(set(MARKERS.values())) == 4


@pytest.mark.parametrize(
    ("points", "upwards", "expected"),
    [
        ([(3, 0.7), (1, 0.6), (2, 0.5)], True, [1, 0]),
        ([(3, 0.7), (1, 0.6), (2, 0.5)], False, [1, 2]),
        ([(1, 0.5), (1, 0.6), (2, 0.6)], True, [1]),
        ([(1, 0.5)], False, [0]),
    ],
    ids=["more is better", "less is better", "ties go to the better", "alone"],
)
def test_the_front_is_what_nothing_beats(points: list[Any], upwards: bool, expected: list[int]) -> None:
    assert front(points, upwards) == expected


@pytest.mark.parametrize("metrics", [{"delta1": 0.77, "rmse": 0.5}, {"rmse": 0.5}, None])
def test_a_picture_is_written(metrics: dict[str, float] | None, tmp_path: Path) -> None:
    path = plot(crowd(metrics=metrics), tmp_path / "new" / "pareto.png")
    with Image.open(path) as picture:
        assert min(picture.size) > 500


def test_no_name_hides_another_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    boxes: list[Any] = []
    whole = drawing._label

    def label(axes: Any, points: Any) -> None:
        whole(axes, points)
        notes = [note for note in axes.texts if note.get_text().split()[0] in BACKENDS]
        boxes.extend(drawing._text_box(note) for note in notes)

    monkeypatch.setattr(drawing, "_label", label)
    plot(crowd(metrics={"delta1": 0.77}), tmp_path / "crowded.png")
    assert len(boxes) == 10
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))


def test_whole_frame_files_and_failures_are_left_out(tmp_path: Path) -> None:
    rows = [row("eager", 20.0), row("onnx", 9.0, frame=(30, 40)), row("tvm", 0, error="none")]
    with pytest.raises(ValueError, match="nothing to draw"):
        plot(bench_of(*rows), tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()
