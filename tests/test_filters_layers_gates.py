"""Filters, layers or gates: rows that learn alike, nothing chosen on the test part, a page that invents no figure."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.tiny_classes import write_batches
from support.tiny_pruning_nets import IMAGE, trace_once

from benchmarks.filters_page import NOT, PUBLISHED, dynamic_table, filters_page, rows_table
from benchmarks.make_results import FILTERS, FILTERS_PICTURE, REPORTS, read_reports
from leadline.compress.options import CRITERIA
from leadline.core.report import from_json
from leadline.core.spec import Encoder, Spec
from leadline.data.dataset import subset
from leadline.data.layouts.detect import open_dataset
from leadline.evaluation.evaluate import ImageResult, evaluate
from leadline.nn import zoo
from leadline.nn.build import build
from leadline.nn.checkpoint import load, save
from leadline.predict.predictor import predictor_of
from recipes import filters_layers_gates as recipe
from recipes import filters_plan
from recipes.filters_dynamic import _Seen, accuracy_of, oracle
from recipes.filters_measure import spearman
from recipes.filters_plan import STUDIES, Learning, Row, Study, checked, pruning_of, smaller, training_of, with_length
from recipes.filters_rows import net_file
from recipes.filters_table import filters_report, merged, plot, points, time_of

DATA, OUT = Path("data"), Path("out")
WIDE = zoo.vgg16_bn()
THIN = Spec("vgg16_bn", Encoder("vgg16_bn", (8,) * 13), WIDE.decoder, WIDE.head, WIDE.preprocess)


def training(study: Study, seed: int = 0) -> Any:
    fit = with_length(study.fit, study, 45_000, study.epochs, 0)
    return training_of(study, DATA, OUT, fit, Learning(seed=seed, precision="no", workers=0))


@pytest.mark.parametrize("net", STUDIES)
def test_every_row_of_a_net_learns_for_the_same_time_after_the_same_start(net: str) -> None:
    study = STUDIES[net]
    plain = training(study)
    for row in study.rows:
        if row.method == "handcrafted":
            assert smaller(study, row.budget).head.kind == zoo.spec(net).head.kind
            continue
        options = pruning_of(checked(row), plain, Path("dense.safetensors"), Path("x.safetensors"))
        steps = options.training.fit.steps + (options.masks.fit.steps if row.method == "masks" else 0)
        assert steps == plain.fit.steps and options.training.model == "dense.safetensors"
        fit = replace(options.training.fit, steps=plain.fit.steps)
        assert replace(options.training, fit=fit, model=net) == plain
        timed = row.budget.startswith("latency")
        assert (options.runtime, options.threads) == (("onnx", 1) if timed else (None, None))


def test_the_whole_table_has_every_way_at_three_budgets_and_every_criterion() -> None:
    rows = STUDIES["resnet56"].rows
    for method in ("l2", "taylor", "masks", "netadapt", "widths"):
        assert len({row.budget for row in rows if row.method == method}) == 3
    layers = {(row.criterion, row.budget) for row in rows if row.method == "layers"}
    assert {criterion for criterion, _ in layers} == set(CRITERIA) and len(layers) == 3 * len(CRITERIA)
    assert [row.budget for row in rows if row.method == "handcrafted"] == ["resnet44", "resnet32", "resnet20"]
    assert {row.budget for row in STUDIES["vgg16_bn"].rows if row.method == "gates"} == {"r=0.92", "r=0.85"}
    assert len({row.name for row in rows}) == len(rows)


def test_a_baseline_of_cifar_learns_twenty_epochs_with_a_tenth_of_them_for_the_rate_to_rise() -> None:
    study = STUDIES["resnet56"]
    fit = with_length(study.start, study, 45_000, study.start_epochs, 0, 0.1)
    assert (fit.steps, fit.warmup, fit.lr, fit.weight_decay, study.batch) == (7031, 703, 0.1, 5e-4, 128)
    assert (fit.optimizer, fit.momentum, fit.schedule) == ("sgd", 0.9, "cosine")
    assert with_length(study.fit, study, 45_000, study.epochs, 0).steps == 1758
    assert with_length(STUDIES["fastdepth"].fit, STUDIES["fastdepth"], 720, 0, 0).steps == 600


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (Row(method="gate", budget="macs=0.5x"), "the method 'gate' is unknown; known: netadapt, masks, layers"),
        (Row(method="l2", budget="macs=0.5x", criterion="bn"), "the method l2; only layers have one"),
        (Row(method="layers", budget="macs=0.5x", criterion="l2"), "the criterion 'l2' is unknown; known: imprinting"),
        (Row(method="widths", budget="r=0.5"), "a ratio of gates, and the method widths; give macs=0.5x"),
    ],
)
def test_a_row_that_cannot_be_is_told_with_what_can(row: Row, said: str) -> None:
    with pytest.raises(SystemExit, match=said):
        checked(row)


def test_unknown_nets_and_a_missing_baseline_are_told(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="'resnet5' is unknown; known: resnet56, fastdepth"):
        recipe.latency("resnet5", out=tmp_path)
    with pytest.raises(SystemExit, match="holds no measured net; `baseline resnet56` is the first"):
        recipe.latency("resnet56", out=tmp_path)
    with pytest.raises(SystemExit, match="`baseline resnet56` makes it, or takes a finished one with --from"):
        net_file(STUDIES["resnet56"], tmp_path)
    with pytest.raises(SystemExit, match="'resnet8' is no smaller resnet56; known: resnet44, resnet32, resnet20"):
        smaller(STUDIES["resnet56"], "resnet8")


def test_the_rank_correlation_sees_order_alone_and_equal_values_share_their_rank() -> None:
    assert spearman([1, 2, 3, 4], [10, 20, 30, 1000]) == pytest.approx(1)
    assert spearman([1, 2, 3, 4], [4, 3, 2, 1]) == pytest.approx(-1)
    # ranks 1.5 1.5 3 4 and 1 2 3 4
    expected = float(np.corrcoef([1.5, 1.5, 3, 4], [1, 2, 3, 4])[0, 1])
    assert spearman([5, 5, 6, 7], [0, 1, 2, 3]) == pytest.approx(expected)
    assert spearman([1, 1, 1], [1, 2, 3]) is None


def test_the_oracle_takes_the_cheapest_width_that_is_as_good_as_the_widest() -> None:
    study = STUDIES["resnet56"]

    def seen(good: list[float], ms: float) -> _Seen:
        return _Seen([ImageResult("x", {"top1@1": {"top1": one}}) for one in good], [ms] * len(good))

    both = {"width 0": seen([1, 0, 0], 1.0), "width 1": seen([1, 1, 0], 4.0)}
    assert oracle(["width 0", "width 1"], both, study) == pytest.approx((1 + 4 + 1) / 3)
    assert accuracy_of(both["width 1"].results, study) == pytest.approx(2 / 3)


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Few images, and the measured baseline of a thin vgg16_bn."""
    write_batches(tmp_path / "data" / "cifar10", "data_batch_1", 220, 0)
    write_batches(tmp_path / "data" / "cifar10", "test_batch", 20, 1)
    monkeypatch.setitem(STUDIES, "vgg16_bn", replace(STUDIES["vgg16_bn"], batch=8))
    monkeypatch.setattr(zoo, "spec", lambda name: THIN)
    monkeypatch.setattr("leadline.pipelines.prune_methods.traced", lambda net: trace_once(net, IMAGE))
    places = {"data": tmp_path / "data", "out": tmp_path / "out"}
    recipe.baseline("vgg16_bn", source=save(build(THIN, seed=0), tmp_path / "thin.safetensors"), **places)
    return places


SHORT = Learning(steps=1, precision="no", workers=0)


def read(table: Path, name: str) -> Any:
    return json.loads((table / f"{name}-0" / "row.json").read_text())


@pytest.mark.usefixtures("one_thread")
def test_rows_are_made_measured_once_and_put_together(given: dict[str, Any], tmp_path: Path) -> None:
    table = given["out"] / "vgg16_bn"
    for budget in ("macs=0.95x", "macs=0.94x", "macs=0.01x"):
        recipe.row("vgg16_bn", "layers", budget, criterion="weight", **given, learning=SHORT)
    recipe.row("vgg16_bn", "gates", "r=0.9", **given, learning=SHORT)

    first, twin = read(table, "layers-weight-macs-0.95x"), read(table, "layers-weight-macs-0.94x")
    assert first["removed"] and (first["val"]["n"], first["test"]["n"]) == (20, 20)
    net = load(table / "layers-weight-macs-0.95x-0" / first["file"])
    again = evaluate(predictor_of(net).answer, open_dataset(given["data"] / "cifar10", "test"), "top1@1")
    assert first["test"]["top1"] == again.metrics["top1"] and sorted(net.spec.skipped) == first["removed"]
    assert twin["removed"] == first["removed"] and twin["same_as"] == "layers-weight-macs-0.95x-0"
    assert twin["test"] == first["test"] and not twin["file"]
    assert "cannot be reached" in read(table, "layers-weight-macs-0.01x")["infeasible"]
    gates, dense = read(table, "gates-r-0.9"), read(table, "baseline")
    predictors = gates["parameters"] - dense["parameters"]
    assert 0 < gates["macs"] <= dense["macs"] + predictors and predictors > 0
    assert gates["ratio"] == 0.9 and 0 < gates["expected_macs"]["0.9"] < dense["macs"]
    before = (table / "gates-r-0.9-0" / "row.json").stat().st_mtime_ns
    recipe.row("vgg16_bn", "gates", "r=0.9", resume=True, **given, learning=SHORT)
    assert (table / "gates-r-0.9-0" / "row.json").stat().st_mtime_ns == before

    recipe.latency("vgg16_bn", out=given["out"], runtimes=("eager",), n=2, threads=(1,))
    timed = json.loads((table / "latency.json").read_text())
    assert {one["row"] for one in timed["rows"]} == {"baseline-0", "layers-weight-macs-0.95x-0"}
    recipe.table(out=given["out"], report=tmp_path / "r.json", picture=tmp_path / "p.png")
    (report,) = read_reports(tmp_path)
    assert report.metrics["vgg16_bn/baseline-0"] == dense["test"]["top1"]
    assert str(tmp_path) not in (tmp_path / "r.json").read_text()
    (study,) = (study for study in report.context["studies"] if study["net"] == "vgg16_bn")
    own = time_of(study, "layers-weight-macs-0.95x-0", "eager")
    assert own is not None and own == time_of(study, "layers-weight-macs-0.94x-0", "eager")


@pytest.mark.usefixtures("one_thread")
def test_blocks_are_left_out_and_widths_run_end_to_end(given: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    table = given["out"] / "vgg16_bn"
    monkeypatch.setattr(filters_plan, "LEVELS", 1)
    monkeypatch.setattr("leadline.pipelines.prune.traced", lambda net: trace_once(net, IMAGE))
    monkeypatch.setattr("leadline.pipelines.prune_widths.traced", lambda net: trace_once(net, IMAGE))
    with pytest.raises(SystemExit, match=r"has no net of nested widths; `row vgg16_bn widths macs=0\.5x` makes one"):
        recipe.dynamic("vgg16_bn", **given)
    monkeypatch.setattr(
        "recipes.filters_rows.pruning_of", lambda *args: replace(filters_plan.pruning_of(*args), multiple=1)
    )
    recipe.row("vgg16_bn", "widths", "macs=0.5x", **given, learning=SHORT)
    row, dense = read(table, "widths-macs-0.5x"), read(table, "baseline")
    (narrow,) = row["widths"]
    assert narrow["macs"] <= 0.5 * dense["macs"] and row["macs"] == dense["macs"] and narrow["test"]["n"] == 20

    recipe.dynamic("vgg16_bn", runtimes=("eager",), n=10, **given)
    (found,) = json.loads((table / "dynamic.json").read_text())["rows"]
    assert found["n"] == 10 and sum(found["share_of_widths"]) == sum(found["share_of_widths_video"]) == 1
    assert set(found) >= {"dense", "width 0", "width 1", "dynamic", "video"} and 0 <= found["switch_rate"] <= 1
    assert found["dense"]["p50_ms"] <= found["dense"]["p95_ms"] and found["hardness_ms"] > 0
    few = subset(open_dataset(given["data"] / "cifar10", "test"), range(10))
    net = load(table / "widths-macs-0.5x-0" / "vgg16_bn.safetensors")
    assert found["width 1"]["accuracy"] == evaluate(predictor_of(net).answer, few, "top1@1").metrics["top1"]

    recipe.alone("vgg16_bn", batches=1, images=4, **given)
    alone = json.loads((table / "alone.json").read_text())
    assert set(alone["criteria"]) == set(CRITERIA) and alone["n"] == 4
    assert all(set(scores) == set(alone["drops"]) for scores in alone["criteria"].values())


def found(**more: Any) -> dict[str, Any]:
    plain = {"seed": 0, "parameters": 1_000_000, "macs": 100_000_000, "device": "a machine", "date": "2026-01-02"}
    return {**plain, "val": {"n": 5, "top1": 0.91}, "test": {"n": 5, "top1": 0.9}, **more}


def measured_studies(tmp_path: Path) -> list[dict[str, Any]]:
    """Everything unknown but five rows of resnet56, their times, and what is known of its widths and blocks."""
    studies = merged(tmp_path)
    rows = {row["id"]: row for row in studies[0]["rows"]}
    rows["baseline-0"]["found"] = found()
    rows["l2-latency-0.65x-0"]["found"] = found(test={"n": 5, "top1": 0.85})
    rows["layers-bn-latency-0.65x-0"]["found"] = found(test={"n": 5, "top1": 0.88})
    rows["l2-latency-0.5x-0"]["found"] = {**found(), "infeasible": "cannot be reached"}
    del rows["l2-latency-0.5x-0"]["found"]["test"]
    rows["gates-macs-0.5x-0"]["found"] = found(macs=40_000_000, test={"n": 5, "top1": 0.89})
    rows["widths-macs-0.5x-0"]["found"] = found(widths=[found(macs=50_000_000, test={"n": 5, "top1": 0.8})])
    ms = {"baseline-0": 4.0, "l2-latency-0.65x-0": 2.6, "layers-bn-latency-0.65x-0": 2.5, "widths-macs-0.5x-0/0": 2.0}
    timed = [{"row": k, "runtime": "onnx", "threads": 1, "latency_ms": {"median": v}} for k, v in ms.items()]
    when = {"device": "a machine", "date": "2026-01-03"}
    studies[0]["latency"] = {**when, "rows": timed}
    studies[0]["alone"] = {**when, "n": 5, "spearman": {"bn": 0.5, "weight": None}}
    one = {"accuracy": 0.9, "mean_ms": 4.0, "p50_ms": 3.9, "p95_ms": 5.0}
    ruled = {"row": "widths-macs-0.5x-0", "runtime": "onnx", "dense": one, "width 0": one, "width 1": one}
    ruled |= {"dynamic": {**one, "mean_ms": 3.0, "accuracy": 0.895}, "video": one, "share_of_widths": [0.75, 0.25]}
    ruled |= {"share_of_widths_video": [0.5, 0.5], "switch_rate": 0.1, "oracle_ms": 2.5, "hardness_ms": 0.01}
    studies[0]["dynamic"] = {**when, "rows": [ruled]}
    return studies


def test_nothing_measured_gives_a_page_of_blanks_and_no_picture(tmp_path: Path) -> None:
    studies = merged(tmp_path)
    page = filters_page(filters_report(studies), tmp_path / "none.png")
    assert f"Which way wins on the measured clock is {NOT}." in page and "](../pictures" not in page
    cells = {cell.strip() for line in page.splitlines() if line.startswith("| `") for cell in line.split("|")[2:-1]}
    assert not [cell for cell in cells if cell not in (NOT, "") and not cell.startswith("ours: ")]
    assert all(figure in page for _, _, accuracy, saved in PUBLISHED for figure in (accuracy, saved))
    assert not plot(studies, tmp_path / "none.png") and not (tmp_path / "none.png").exists()


def test_what_is_measured_stands_on_the_page_and_decides_the_answer(tmp_path: Path) -> None:
    studies = measured_studies(tmp_path)
    report = filters_report(studies)
    assert from_json(json.loads(json.dumps(report.to_json()))) == report
    assert (
        report.metrics["resnet56/layers-bn-latency-0.65x-0"] == 0.88
        and "resnet56/l2-latency-0.5x-0" not in report.metrics
    )
    page = filters_page(report, tmp_path / "none.png")
    answer = page.partition("## Answer\n\n")[2].partition("\n\n")[0].splitlines()
    assert len(answer) == 2 and "`resnet56`: widths 1, layers 1 of 3 nets" in answer[0].replace(
        "layers 1, widths 1", "widths 1, layers 1"
    )
    assert "`resnet56` 60% at -1.0 points" in answer[1]
    assert "`resnet56` in onnx 0.75 of the dense net's time at -0.5 points" in answer[1]
    lines = {
        line.split("|")[1].strip(): [c.strip() for c in line.split("|")[2:-1]]
        for line in rows_table(studies[0]).splitlines()
    }
    assert lines["`l2 latency=0.65x`"][:7] == ["0", "1.000 M", "100.0", "91.00", "85.00", "2.60", NOT]
    assert lines["`layers bn latency=0.65x`"][-1] == "0.62"
    assert "no net meets the budget" in lines["`l2 latency=0.5x`"] and set(lines["`taylor latency=0.5x`"]) == {NOT}
    assert lines["`gates macs=0.5x`"][5:] == ["-"] * 7  # a mask saves no time
    assert lines["`widths macs=0.5x, width 1`"][5] == "2.00"
    assert "75%, 25%" in dynamic_table(studies[0]) and "the width changes at 10% of the images" in page
    assert [name for name, *_ in points(studies[0])][-1] == "widths-macs-0.5x-0/0"
    assert plot(studies, tmp_path / "a.png") and (tmp_path / "a.png").stat().st_size > 1000


def test_the_page_of_the_study_is_made_from_its_report() -> None:
    (report,) = (report for report in read_reports(REPORTS) if report.context["section"] == "filters")
    assert FILTERS.read_text("utf-8") == filters_page(report, FILTERS_PICTURE), "run `make results`"
