"""The comparison of nets for driving: one schedule for all, and a page that invents no figure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from support.tiny_streets import write

from benchmarks.make_results import PICTURE, REPORTS, STREETS, read_reports
from benchmarks.street_page import NOT, speed_table, street_page
from leadline.bench.rows import BenchOptions
from leadline.core.report import from_json
from leadline.core.tasks import CAMVID
from leadline.data.layouts.detect import open_dataset
from leadline.evaluation.evaluate import evaluate
from leadline.nn import zoo
from leadline.nn.checkpoint import load
from leadline.predict.predictor import predictor_of
from leadline.runtime import backend
from recipes import street_nets
from recipes.street_table import plot, points, street_report

DATA, OUT = Path("data"), Path("out")
NAMES = zoo.names("segment")


def test_nets_differ_in_size_length_and_start_alone() -> None:
    table = {name: street_nets.run(name, DATA, OUT) for name in NAMES}
    for run in table.values():
        plain = asdict(replace(run, out=OUT, model="", init=None, view=replace(run.view, size=None), licences=()))
        first = table["enet"]
        other = asdict(replace(first, out=OUT, model="", init=None, view=replace(first.view, size=None), licences=()))
        for fields in (plain, other):
            for key in ("steps", "warmup", "save_every"):
                del fields["fit"][key]
        assert plain == other
    assert len({run.out for run in table.values()}) == len(NAMES)
    assert {name for name in NAMES if street_nets.is_large(name)} == {"segnet", "unet", "fcn8s", "dilated_front_end"}
    assert {name: table[name].fit.steps for name in ("enet", "segnet")} == {"enet": 4000, "segnet": 300}
    assert {name for name in NAMES if table[name].init is not None} == {"skipnet_mobilenet"}
    assert table["enet"].view.size == (288, 384) and table["segnet"].view.size == (144, 192)


def timed(runtime: str, precision: str, threads: int, ms: float, **more: Any) -> dict[str, Any]:
    latency = {"median": ms, "p10": ms, "p90": ms}
    return {"runtime": runtime, "precision": precision, "threads": threads, "latency_ms": latency, **more}


def accuracy(miou: float) -> dict[str, Any]:
    part = {"n": 3, "miou": miou, "pixel_accuracy": 0.9, "iou": [miou] * (len(CAMVID) - 1) + [None]}
    return {"samples": 32000, "device": "a machine", "date": "2026-01-02", "val": part, "test": part}


def row(name: str, **known: Any) -> dict[str, Any]:
    plain = {"net": name, "large": False, "imagenet": False, "size": [360, 480], "parameters": 1, "macs": 10**9}
    return {**plain, "accuracy": None, "speed": None, **known}


def test_nothing_measured_gives_a_page_of_blanks_and_no_picture(tmp_path: Path) -> None:
    rows = [row(name) for name in NAMES]
    report = street_report(rows, 0)
    page = street_page(report, tmp_path / "none.png")
    assert not report.metrics and "No net of this table is trained yet." in page and "](../pictures" not in page
    cells = [cell.strip() for line in page.splitlines() if line.startswith("| `") for cell in line.split("|")[2:-1]]
    figures = [cell for cell in cells if cell not in (NOT, "no", "360x480", "0.00 M", "1.00")]
    assert not figures
    assert not plot(rows, tmp_path / "none.png") and not (tmp_path / "none.png").exists()


def test_what_is_measured_stands_on_the_page_and_nothing_else(tmp_path: Path) -> None:
    speed = {
        "device": "a machine",
        "date": "2026-01-03",
        "rows": [
            timed("eager", "fp32", 1, 50.0, miou=0.6),
            timed("onnx", "fp32", 1, 20.0, miou=0.6),
            timed("onnx", "int8", 1, 40.0, miou=0.55),
            timed("litert", "fp32", 1, 25.0),
            {"runtime": "litert", "precision": "int8", "threads": 1, "error": "no such layer"},
        ],
    }
    first = {key: value for key, value in accuracy(0.5).items() if key not in ("device", "date")}  # of an older run
    rows = [row("enet", accuracy=first), row("fast_scnn", accuracy=accuracy(0.6), speed=speed), row("unet")]
    report = street_report(rows, 0)
    assert from_json(json.loads(json.dumps(report.to_json()))) == report
    assert report.metrics == {"enet": 0.5, "fast_scnn": 0.6} and report.n == 3
    assert (report.context["device"], report.context["date"]) == ("a machine", "2026-01-03")
    page = street_page(report, tmp_path / "none.png")
    assert "`fast_scnn` has the highest mIoU of the nets that are trained: 60.0 % on the test part (`unet`: " in page
    assert "`fast_scnn` is the fastest of them: 50.0 frames/s on one thread at 60.0 %." in page
    lines = {
        line.split("|")[1].strip() + line.split("|")[2].strip(): line
        for line in speed_table(rows).splitlines()
        if "|" in line
    }
    assert [cell.strip() for cell in lines["`fast_scnn`onnx"].split("|")[3:-1]] == [
        "1",
        "50.0",
        "25.0",
        "0.50",
        "60.0",
        "55.0",
    ]
    assert [cell.strip() for cell in lines["`fast_scnn`litert"].split("|")[3:-1]] == ["1", "40.0", NOT, NOT, NOT, NOT]
    assert "- `fast_scnn`, litert, int8: no such layer" in page
    assert [(r["net"], fps, miou) for r, fps, miou in points(rows)] == [("fast_scnn", 50.0, 60.0)]
    assert not plot(rows, tmp_path / "a.png") and not (tmp_path / "a.png").exists()  # one net is no comparison
    more = [*rows, row("unet", accuracy=accuracy(0.7), speed=speed)]
    assert plot(more, tmp_path / "a.png") and (tmp_path / "a.png").stat().st_size > 1000


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """DATA with drawn streets; nets see 64x96 at most."""
    for part, n, seed in (("train", 9, 0), ("val", 2, 50), ("test", 3, 90)):
        write(tmp_path / "data" / "camvid", part, n, seed)
    monkeypatch.setattr(street_nets, "size_of", lambda name: (64, 96))
    yield tmp_path / "data"


@pytest.mark.usefixtures("one_thread")
def test_a_net_is_trained_on_crops_and_measured_on_whole_frames(tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "runs"
    street_nets.train("enet", data=tiny, out=out, steps=2, precision="no", workers=0)
    net = load(out / "enet-0" / "enet.safetensors")
    assert net.spec.preprocess.size == (64, 96)
    found = json.loads((out / "enet-0" / "street.json").read_text())
    assert found["crop"] == [48, 80] and (found["val"]["n"], found["test"]["n"]) == (2, 3)
    again = evaluate(predictor_of(net).labels, open_dataset(tiny / "camvid", "test"), "miou@1")
    assert found["test"]["miou"] == again.metrics["miou"] and found["test"]["iou"] == again.context["iou"]
    before = (out / "enet-0" / "street.json").stat().st_mtime_ns
    street_nets.train("enet", data=tiny, out=out, steps=2, precision="no", workers=0, resume=True)
    assert (out / "enet-0" / "street.json").stat().st_mtime_ns == before
    street_nets.table(out=out, report=tmp_path / "r.json", picture=tmp_path / "p.png")
    (report,) = read_reports(tmp_path)
    assert report.metrics == {"enet": found["test"]["miou"]} and not (tmp_path / "p.png").exists()
    assert str(tmp_path) not in (tmp_path / "r.json").read_text()


def test_an_unknown_net_is_named_with_those_that_are_known(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="the net 'fastdepth' is unknown; known: dilated_front_end, enet"):
        street_nets.train("fastdepth", data=DATA, out=tmp_path)


def test_large_nets_and_those_without_training_are_timed_apart(tmp_path: Path) -> None:
    (tmp_path / "enet-0").mkdir()
    (tmp_path / "enet-0" / "street.json").write_text("{}")
    found = street_nets.groups(("enet", "unet", "fast_scnn", "segnet"), tmp_path, 0)
    assert found == [("enet",), ("fast_scnn",), ("unet",), ("segnet",)]
    assert street_nets.bench_options(None, DATA, 100).data is None
    assert street_nets.bench_options(DATA, DATA, 100).data == DATA / "camvid"


@pytest.mark.slow
def test_times_of_a_trained_and_a_fresh_net_are_kept_by_net(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if (needed := backend("onnx").missing()) is not None:
        pytest.skip(needed)
    plain = street_nets.bench_options

    def short(*given: Any) -> BenchOptions:
        return replace(plain(*given), runtimes=("onnx",), threads=(1,), n_calibration=4)

    monkeypatch.setattr(street_nets, "bench_options", short)
    out = tmp_path / "runs"
    street_nets.train("fast_scnn", data=tiny, out=out, steps=2, precision="no", workers=0)
    street_nets.speed(("fast_scnn", "enet"), data=tiny, out=out, n=10)
    for name, trained in (("fast_scnn", True), ("enet", False)):
        found = json.loads((out / f"{name}-0" / "speed.json").read_text())
        assert {(row["runtime"], row["precision"]) for row in found["rows"]} == {
            ("eager", "fp32"), ("onnx", "fp32"), ("onnx", "int8"),
        }  # fmt: skip
        assert all(row["latency_ms"]["median"] > 0 and ("miou" in row) is trained for row in found["rows"])
    street_nets.table(out=out, report=tmp_path / "r.json", picture=tmp_path / "p.png")
    assert not (tmp_path / "p.png").exists() and str(tmp_path) not in (tmp_path / "r.json").read_text()


def test_the_page_of_the_study_is_made_from_its_report() -> None:
    (report,) = (report for report in read_reports(REPORTS) if report.context["section"] == "street")
    assert STREETS.read_text("utf-8") == street_page(report, PICTURE), "run `make results`"
