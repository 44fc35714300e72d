"""The table shows what was measured, leaves out what was not, and says below what failed and how it was done."""

from __future__ import annotations

from support.fake_bench import bench_of, row

from leadline.bench.table import is_better_high, main_metric, table


def test_a_row_is_a_line_under_its_headings() -> None:
    found = table(bench_of(row("eager", 20.0, ratio=1.0), row("onnx", 8.04, ratio=2.4876))).splitlines()
    assert " ".join(found[0].split()) == "runtime precision threads ms p10 p90 x parity load first peak MiB file MB"
    assert found[2].split()[:7] == ["eager", "fp32", "2", "20", "18", "24", "1"]
    assert found[3].split()[:8] == ["onnx", "fp32", "2", "8.04", "7.24", "9.65", "2.49", "1.0e-06"]


def test_lower_precision_is_told_in_shares_of_pixels_and_metres() -> None:
    near = {"within_125": 0.98765, "depth_mean": 0.0312}
    rows = [row("eager", 20.0, **near), row("onnx", 8.0, parity=0.39, **near) | {"precision": "int8"}]
    head, _, eager, int8, *_ = table(bench_of(*rows)).splitlines()
    assert "within 1.25" in head and "apart" in head
    assert "98.77%" in int8 and "0.031" in int8 and "3.9e-01" not in int8
    assert "%" not in eager


def test_numbers_stand_right_below_each_other_and_words_left() -> None:
    lines = table(bench_of(row("eager", 123.4), row("onnx", 8.04))).splitlines()
    ends = {line.index("  ", line.index(ms)) for line, ms in ((lines[2], "123"), (lines[3], "8.04"))}
    assert len(ends) == 1 and lines[3].startswith("onnx     fp32")


def test_columns_come_with_what_was_measured() -> None:
    metrics = {"rmse": 0.51234, "delta1": 0.77123}
    rows = [row("eager", 20.0, metrics=metrics), row("onnx", 9.0, frame=(480, 640), fraction=0.416, model="dir/other")]
    found = table(bench_of(*rows)).splitlines()
    assert found[0].split()[:5] == ["model", "runtime", "precision", "takes", "threads"]
    assert "delta1" in found[0] and "rmse" not in found[0] and "0.7712" in found[2]
    assert "480x640" in found[3] and "42%" in found[3] and found[3].startswith("other")


def test_what_failed_is_said_below() -> None:
    rows = [row("eager", 20.0), row("tvm", 0, error="no such thing"), row("onnx", 9.0, n=40)]
    rows.append(row("ncnn", 9.0, frame=(30, 40), metrics=None, metrics_error="the frames differ"))
    found = table(bench_of(*rows))
    assert "tvm fp32, threads 2: no such thing" in found
    assert "ncnn fp32 30x40, threads 2: no accuracy: the frames differ" in found
    assert "onnx fp32, threads 2: so slow that only 40 calls were measured" in found


def test_the_last_line_says_what_was_measured_how() -> None:
    last = table(bench_of(row("eager", 20.0), data={"data": "nyu", "protocol": "p@1", "limit": None})).splitlines()[-1]
    for word in ("200 calls", "turns of 10", "480x640", "Any CPU", "0123456789ab", "p@1 on all images of nyu"):
        assert word in last
    assert "busy" not in last


def test_a_busy_machine_is_told() -> None:
    timing = bench_of().context["timing"] | {"load_before": 3.4}
    assert "busy with other work (load 3.4)" in table(bench_of(row("eager", 20.0), timing=timing))


def test_the_main_metric_is_delta1_where_there_is_one() -> None:
    assert main_metric({"rmse": 1, "delta1": 2}) == "delta1" and main_metric({"si_rmse": 1, "rmse": 2}) == "si_rmse"
    assert all(map(is_better_high, ("delta1", "boundary_f1", "score"))) and not is_better_high("rmse")


def test_memory_is_read_from_older_results_too() -> None:
    old = {key: value for key, value in row("onnx", 9.0).items() if key != "peak_mib"} | {"peak_mb": 123.0}
    assert [line.split()[-2] for line in table(bench_of(old)).splitlines()[2:3]] == ["123"]
