"""Depth and labels from one net, from files to figures."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.tiny_labelled_rooms import TINY_DEPTH, TINY_JOINT, write
from support.tiny_streets import write as write_streets
from support.tiny_training import trained_by_command

from leadline.bench import worker
from leadline.cli.main import main
from leadline.compress.options import AcceptanceCriteria
from leadline.compress.quantization.search import of_task
from leadline.core.agreement import agreement_of, in_words, mean_agreement
from leadline.core.answers import answer, n_channels
from leadline.core.own_results import is_own_picture
from leadline.core.spec import Head, Preprocess
from leadline.core.tasks import JOINT, NYU40
from leadline.core.types import Depth, Item, Joint, Labels
from leadline.core.viz_labels import coloured_labels
from leadline.data.depth_io import read_depth
from leadline.data.layouts.detect import open_dataset
from leadline.data.options import Reading, View
from leadline.evaluation.evaluate import evaluate
from leadline.nn.build import build
from leadline.nn.checkpoint import load, save
from leadline.pipelines.train import train
from leadline.pipelines.training_setup import parts
from leadline.predict.predictor import load_predictor, predictor_of
from leadline.runtime.export import agreement_with_net, export
from leadline.training.options import FitOptions, JointLoss, Training

pytestmark = pytest.mark.usefixtures("one_thread")
CLASSES = ("a", "b", "c")


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("rooms"))


def training(rooms: Path, out: Path, **changes: Any) -> Training:
    fit = FitOptions(steps=60, optimizer="adam", lr=0.02, weight_decay=0.0, precision="no", log_every=100)
    view = View(size=(48, 64), rotate=0, zoom=(1, 1.2), shift=0.2, jitter=0, colour_shift=0)
    plain = Training(data=(str(rooms),), out=out, batch=4, fit=fit, view=view, workers=0, val_every=0, cache_gb=0)
    return replace(plain, **changes)


def small(spec: Any) -> Any:
    return replace(spec, preprocess=replace(spec.preprocess, size=(48, 64)))


def test_what_an_output_of_both_says() -> None:
    rng = np.random.default_rng(0)
    output = rng.normal(size=(1, 4, 5, 6)).astype(np.float32)
    head = Head("joint", layer="joint", classes=CLASSES)
    seen = answer(output, (5, 6), head, Preprocess((5, 6)))
    assert isinstance(seen, Joint) and n_channels(head) == 4
    assert seen.depth.kind == "metric" and np.array_equal(seen.depth.values, output[0, 0])
    assert np.array_equal(seen.labels.values, output[0, 1:].argmax(0)) and seen.labels.classes == CLASSES


def test_a_file_of_lower_precision_is_told_by_both() -> None:
    expected = np.ones((1, 4, 2, 2), np.float32)
    expected[:, 1] = 2
    found = expected.copy()
    found[0, 0, 0, 0], found[0, 2, 1, 1] = 2, 9
    near = mean_agreement([agreement_of("joint")(found, expected)])
    assert near["within_125"] == near["same_class"] == 0.75 and near["mean_difference"] == 0.25
    told = in_words(near, metric=True)
    assert told == (
        "75.0 % of the pixels within 1.25 of the float32 net, 0.250 m apart on average; "
        "75.0 % of the classes are those of the float32 net"
    )


def test_each_part_is_measured_as_its_own_protocol_does() -> None:
    rng = np.random.default_rng(0)
    depth, labels = rng.uniform(1, 3, (2, 6, 8)).astype(np.float32), rng.integers(0, 3, (2, 6, 8))
    valid = rng.random((2, 2, 6, 8)) < 0.8
    image = np.zeros((6, 8, 3), np.uint8)
    target = np.where(valid, np.stack([depth, labels], 1), 0).astype(np.float32)
    items = [Item(image + i, target[i], valid[i], str(i)) for i in range(2)]
    guesses = [
        Joint(
            Depth(rng.uniform(1, 3, (6, 8)).astype(np.float32)),
            Labels(rng.integers(0, 3, (6, 8)), CLASSES, np.ones((6, 8), bool)),
        )
        for _ in items
    ]
    report = evaluate(lambda frame: guesses[int(frame[0, 0, 0])], items, "joint@1")
    alone = [
        evaluate(
            lambda frame, name=name: getattr(guesses[int(frame[0, 0, 0])], name),
            [replace(item, target=item.target[i], valid=item.valid[i]) for item in items],
            protocol,
        )
        for i, (name, protocol) in enumerate((("depth", "indoor-metric@1"), ("labels", "miou@1")))
    ]
    expected = {**alone[0].metrics, **alone[1].metrics}
    assert set(report.metrics) == {"delta1", "abs_rel", "rmse", "miou", "pixel_accuracy"} and report.n == 2
    assert report.metrics == pytest.approx({name: expected[name] for name in report.metrics})
    assert len(report.context["iou"]) == 3


def test_an_image_without_one_of_them_does_not_count() -> None:
    image, valid = np.zeros((4, 4, 3), np.uint8), np.ones((2, 4, 4), bool)
    void = valid.copy()
    void[1] = False
    items = [Item(image, np.ones((2, 4, 4), np.float32), use, name) for name, use in (("whole", valid), ("void", void))]
    guess = Joint(Depth(np.ones((4, 4), np.float32)), Labels(np.ones((4, 4), np.uint8), CLASSES, valid[0]))
    report = evaluate(lambda _: guess, items, "joint@1")
    assert report.n == 1 and report.metrics["miou"] == report.metrics["delta1"] == 1
    assert report.context["skipped"] == ["void: no pixel counts: all are void"]
    with pytest.raises(ValueError, match="joint@1 measures depth and labels, and the prediction is Depth"):
        evaluate(lambda _: guess.depth, items, "joint@1")


def test_a_net_learns_both(rooms: Path, tmp_path: Path) -> None:
    start = build(small(TINY_JOINT), seed=0)
    start.head.start_at(4.0)
    net, report = train(training(rooms, tmp_path / "run", val_every=10), start)
    assert report.protocol == "joint@1" and report.n == 4
    assert report.metrics["delta1"] > 0.7 and report.metrics["pixel_accuracy"] > 0.8
    found = evaluate(predictor_of(net).joint, open_dataset(rooms, "test", items="joint"), "joint@1")
    assert found.metrics["delta1"] > 0.7 and found.metrics["miou"] > 0.4
    assert len([*(tmp_path / "run/pictures").glob("*.jpg")]) == 1


@pytest.mark.parametrize("kind", ["joint", "labels"])
def test_a_net_of_depth_learns_on_with_another_head(rooms: Path, tmp_path: Path, kind: Any) -> None:
    source = save(build(small(TINY_DEPTH), seed=0), tmp_path / "depth.safetensors")
    fit = FitOptions(steps=2, precision="no")
    run = training(rooms, tmp_path / "run", model=str(source), head=kind, fit=fit)
    made = parts(run)
    depth = load(source)
    image = torch.rand(1, 3, 48, 64)
    with torch.no_grad():
        assert kind == "labels" or torch.allclose(made.net.eval()(image)[:, :1], depth(image), atol=1e-5)
    net, _ = train(run)
    assert net.spec.head.kind == kind and net.spec.head.classes == NYU40
    again = load(tmp_path / f"run/tiny_depth_{kind}.safetensors")
    with torch.no_grad():
        assert torch.allclose(again(image), net.eval()(image), atol=1e-5)
    resumed, report = train(replace(run, resume=True, fit=replace(fit, steps=3)))
    assert report.context["steps_now"] == 1 and resumed.spec == net.spec


def test_a_fresh_net_of_both_starts_at_the_mean_depth(rooms: Path, tmp_path: Path) -> None:
    made = parts(training(rooms, tmp_path / "run", model="fastdepth", head="joint"))
    data = open_dataset(rooms)
    mean = float(np.mean([data[i].target.mean() for i in range(len(data))]))
    assert made.net.spec.name == "fastdepth_joint"
    assert float(made.net.head.conv.bias.detach()) == pytest.approx(mean, rel=1e-4)


def test_what_does_not_fit_is_one_clear_line(rooms: Path, tmp_path: Path) -> None:
    joint = build(small(TINY_JOINT), seed=0)
    plain, streets = write(tmp_path / "plain", annotations=None), tmp_path / "streets"
    write_streets(streets, "train", 3, 0)
    run = training(rooms, tmp_path / "run")
    for data, message in (
        (plain, "has no folder labels40 with a class in each pixel"),
        (streets, "holds 11 classes, and the net gives joint; give data or a net that fits"),
    ):
        with pytest.raises(Exception, match=message):
            train(replace(run, data=(str(data),)), joint)
    depth = build(small(TINY_DEPTH), seed=0)
    with pytest.raises(ValueError, match="holds depth and 40 classes, and the net gives metric"):
        train(replace(run, reading=Reading(items="joint")), depth)
    with pytest.raises(ValueError, match="tiny_depth gives metric, and the loss 'joint' is not for those"):
        train(replace(run, loss=("joint",)), depth)
    with pytest.raises(
        ValueError, match="tiny_joint gives joint, and the loss 'cross_entropy' is not for those; use joint"
    ):
        train(replace(run, loss=("cross_entropy",)), joint)
    with pytest.raises(ValueError, match=r"joint\.depth is l1@map"):
        train(replace(run, joint=JointLoss(depth=("l1@map",))), joint)
    three = build(small(replace(TINY_JOINT, head=replace(TINY_JOINT.head, classes=CLASSES))), seed=0)
    with pytest.raises(ValueError, match=r"tiny_joint knows 3 classes, and '.*' has 40; a net of depth gets a layer"):
        train(run, three)
    with pytest.raises(ValueError, match="tiny_joint gives joint by a head 'joint'; only a net of metric depth"):
        train(replace(run, head="joint"), joint)
    with pytest.raises(ValueError, match="tiny_joint gives joint, not labels; `answer` fits each model"):
        predictor_of(joint).labels(np.zeros((48, 64, 3), np.uint8))
    with pytest.raises(ValueError, match="tiny_joint gives joint, not depth"):
        predictor_of(joint)(np.zeros((48, 64, 3), np.uint8))


def test_quantize_and_bench_measure_by_the_task_s_own_protocol(rooms: Path, tmp_path: Path) -> None:
    plain = AcceptanceCriteria()
    assert of_task(plain, JOINT) == replace(plain, protocol="joint@1", metric="delta1")
    net = build(small(TINY_JOINT), seed=0)
    file = save(net, tmp_path / "net.safetensors")
    found = worker.metrics(str(file), 1, str(rooms), "test", "indoor-metric@1", None)
    expected = evaluate(predictor_of(net.eval()).joint, open_dataset(rooms, "test", items="joint"), "joint@1")
    assert found["metrics"] == pytest.approx(expected.metrics)


def test_an_exported_file_answers_as_the_net_does(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    net = build(small(TINY_JOINT), seed=0).eval()
    net.head.start_at(2.0)
    path = export(net, "onnx", tmp_path / "net.onnx")
    photo = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    expected, found = predictor_of(net).joint(photo), load_predictor(path).joint(photo)
    np.testing.assert_allclose(found.depth.values, expected.depth.values, rtol=1e-3)
    assert (found.labels.values == expected.labels.values).mean() > 0.99
    near = agreement_with_net(path, net)
    assert near["within_125"] > 0.99 and near["same_class"] > 0.99


def test_the_command_line_trains_and_measures_both(rooms: Path, tmp_path: Path, capsys: Any) -> None:
    net = trained_by_command(small(TINY_JOINT), rooms, tmp_path / "run", batch=4)
    capsys.readouterr()
    assert main(["val", "--data", str(rooms), "--model", net, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["protocol"] == "joint@1" and report["n"] == 4 and len(report["context"]["iou"]) == 40
    assert main(["val", "--data", str(rooms), "--model", net]) == 0
    told = capsys.readouterr().out
    assert "delta1" in told and "miou" in told
    assert main(["info", net, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "joint"
    plain = write(tmp_path / "plain", annotations=None)
    assert main(["val", "--data", str(plain), "--model", net]) == 1
    assert "has no folder labels40" in capsys.readouterr().err


def test_predict_writes_depth_labels_and_one_picture_of_both(rooms: Path, tmp_path: Path, capsys: Any) -> None:
    net = build(small(TINY_JOINT), seed=0)
    net.head.start_at(2.0)
    file, photo = save(net, tmp_path / "net.safetensors"), rooms / "data/nyu2_test/00012_colors.png"
    out = tmp_path / "out"
    assert main(["predict", str(photo), "--model", str(file), "--out", str(out), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["files"]
    seen = predictor_of(load(file)).joint(photo)
    names = [out / f"00012_colors{ending}" for ending in ("_depth.png", "_labels.png", "_vis.png")]
    assert row["files"] == [str(name) for name in names] and all(is_own_picture(name) for name in names)
    assert row["median"] == pytest.approx(float(np.median(seen.depth.values)))
    assert row["classes"] == pytest.approx(dict(list(seen.labels.shares().items())[:5]))
    np.testing.assert_allclose(read_depth(names[0])[0], seen.depth.values, atol=6e-4)
    assert np.array_equal(np.asarray(Image.open(names[1])), seen.labels.values)
    picture = np.asarray(Image.open(names[2]))
    assert picture.shape[0] == 48 and np.array_equal(picture[:, :64], np.asarray(Image.open(photo)))
    assert np.array_equal(picture[:, 128:192], coloured_labels(seen.labels))  # without a legend: 48 rows are too few
    assert main(["predict", str(photo), "--model", str(file), "--out", str(out), "--save", "npy"]) == 0
    told = capsys.readouterr().out
    assert "; depth " in told and " m, median " in told
    assert np.array_equal(np.load(out / "00012_colors_depth.npy"), seen.depth.values)
