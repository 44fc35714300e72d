"""Classification: augmentation, loss, measures, nets and training on CIFAR, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.tiny_classes import pictures, write_batches
from support.tiny_training import trained_by_command

from leadline.cli.main import main
from leadline.core.spec import Encoder, Head, Spec
from leadline.core.tasks import CIFAR10, CLASSIFY, TASKS, task_of
from leadline.core.types import ClassScores
from leadline.data.layouts.detect import open_dataset
from leadline.data.transforms.classify import crop_flip
from leadline.evaluation.classes import measure_class
from leadline.evaluation.evaluate import evaluate
from leadline.evaluation.protocols import PROTOCOLS, find, misfit, protocol_hash
from leadline.nn import zoo
from leadline.nn.build import build
from leadline.nn.checkpoint import load, save
from leadline.pipelines.train import train
from leadline.predict.predictor import predictor_of
from leadline.training.losses.classes import cross_entropy
from leadline.training.options import FitOptions, Training

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def cifar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cifar")
    write_batches(root, "data_batch_1", 60, 0)
    write_batches(root, "test_batch", 20, 1)
    return root


def test_the_augmentation_moves_by_at_most_four_pixels_and_mirrors() -> None:
    from leadline.core.types import Item

    image = np.arange(32 * 32 * 3, dtype=np.int64).reshape(32, 32, 3).astype(np.uint8)
    item = Item(image, np.asarray(3), np.asarray(True), "x")
    rng = np.random.default_rng(0)
    wide = np.pad(image, ((4, 4), (4, 4), (0, 0)))
    possible = {wide[t : t + 32, x : x + 32].tobytes() for t in range(9) for x in range(9)}
    possible |= {
        np.ascontiguousarray(wide[t : t + 32, x : x + 32][:, ::-1]).tobytes() for t in range(9) for x in range(9)
    }
    made = [crop_flip(item, rng) for _ in range(40)]
    assert all(one.image.tobytes() in possible and int(one.target) == 3 for one in made)
    assert len({one.image.tobytes() for one in made}) > 20


def test_the_loss_is_the_cross_entropy_of_float64() -> None:
    from leadline.data.batch import Batch

    scores = torch.randn(5, 10, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 3, 9, 9, 1])
    batch = Batch(torch.zeros(5, 3, 2, 2), labels, torch.ones(5, dtype=torch.bool), tuple("abcde"))
    value, logs = cross_entropy(lambda _: scores, batch)  # type: ignore[arg-type]
    odds = np.exp(scores.double().numpy())
    expected = -np.log((odds / odds.sum(1, keepdims=True))[np.arange(5), labels.numpy()]).mean()
    assert float(value) == pytest.approx(expected, rel=1e-6)
    assert logs["top1"] == pytest.approx(float((scores.argmax(1) == labels).float().mean()))


def test_of_equal_scores_the_first_class_counts() -> None:
    assert measure_class(np.array([1.0, 1.0, 0.0]), 0) == {"top1": 1.0, "top5": 1.0}
    assert measure_class(np.array([1.0, 1.0, 0.0]), 1) == {"top1": 0.0, "top5": 1.0}
    assert measure_class(np.arange(10.0), 4) == {"top1": 0.0, "top5": 0.0}
    with pytest.raises(ValueError, match="the label is 3; the net has the classes 0 to 2"):
        measure_class(np.zeros(3), 3)


def test_the_probabilities_of_the_best_classes_are_the_softmax() -> None:
    best = ClassScores(np.array([1000.0, 999.0, -5.0], np.float32), ("a", "b", "c")).best(2)
    assert [name for name, _ in best] == ["a", "b"]
    assert best[0][1] == pytest.approx(1 / (1 + np.exp(-1))) and sum(odds for _, odds in best) == pytest.approx(1)


def test_every_kind_has_one_task_and_its_protocol_fits() -> None:
    for task in TASKS:
        assert misfit(find(task.protocol), task.kinds[0], (32, 32)) is None
        for kind in task.kinds:
            assert task_of(kind) is task
            others = [p for p in PROTOCOLS.values() if p.task != task.name]
            assert others and all(misfit(p, kind, (480, 640)) for p in others)
    assert protocol_hash(find("nyu-eigen@1")) == "4bc0a6af8604"  # as before there were tasks


def test_heads_that_contradict_themselves_are_refused() -> None:
    for wrong in (
        {"kind": "classes"},
        {"classes": ("a", "b")},
        {"kind": "classes", "unit": "score", "layer": "classes", "classes": ("a", "a")},
        {"kind": "classes", "unit": "score", "layer": "classes", "classes": ("a", "\n")},
    ):
        with pytest.raises(ValueError, match="class"):
            Head(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", zoo.names("classify"))
def test_a_classifier_is_saved_and_loaded_with_its_classes(name: str, tmp_path: Path) -> None:
    spec = zoo.spec(name)
    small = replace(spec, encoder=replace(spec.encoder, widths=tuple(max(2, w // 16) for w in spec.encoder.widths)))
    net = build(small, seed=0).eval()
    again = load(save(net, tmp_path / "net.safetensors"))
    image = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        out = net(image)
        assert out.shape == (2, 10) and torch.equal(again(image), out)
        assert net(torch.rand(1, 3, 45, 33)).shape == (1, 10)
    assert again.spec == small and again.spec.head.classes == CIFAR10


TINY = Spec(
    "tiny_classes",
    Encoder("resnet20", (4, 4, 8, 8)),
    replace(zoo.resnet56().decoder),
    replace(zoo.resnet56().head),
    zoo.resnet56().preprocess,
)


def training(cifar: Path, out: Path, **changes: Any) -> Training:
    fit = FitOptions(steps=60, optimizer="adam", lr=0.02, weight_decay=0.0, precision="no", log_every=100)
    return replace(Training(data=(str(cifar),), out=out, batch=20, fit=fit, workers=0, val_every=0), **changes)


def test_a_net_learns_what_there_is_to_learn_and_says_how_it_was_measured(cifar: Path, tmp_path: Path) -> None:
    net, report = train(training(cifar, tmp_path / "run", val_every=10), build(TINY, seed=0))
    assert report.protocol == "top1@1" and report.n == 8 and report.metrics["top1"] > 0.4
    found = evaluate(predictor_of(net).scores, open_dataset(cifar, "test"), "top1@1")
    assert found.n == 20 and found.metrics["top1"] > 0.4 and found.metrics["top5"] >= found.metrics["top1"]
    stored = json.loads((tmp_path / "run/run.json").read_text())
    assert (stored["training"]["loss"], stored["training"]["transform"]) == (["cross_entropy"], "crop_flip")


def test_the_command_line_trains_measures_and_names_classes(cifar: Path, tmp_path: Path, capsys: Any) -> None:
    net = trained_by_command(TINY, cifar, tmp_path / "run", batch=10)
    capsys.readouterr()
    assert main(["val", "--data", str(cifar), "--model", net, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["protocol"] == "top1@1" and report["n"] == 20 and set(report["metrics"]) == {"top1", "top5"}
    Image.fromarray(pictures(1, 0)[0][0]).save(tmp_path / "a.png")
    assert main(["predict", str(tmp_path / "a.png"), "--model", net, "--out", str(tmp_path / "out")]) == 0
    line = capsys.readouterr().out.splitlines()[0]
    assert line.startswith(f"{tmp_path / 'a.png'}: ") and line.count(",") == 4


def test_losses_and_protocols_of_another_task_are_refused(cifar: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"resnet56 gives classes, and the loss 'silog_bts' .* use cross_entropy"):
        train(training(cifar, tmp_path / "a", model="resnet56", loss=("silog_bts",)))
    with pytest.raises(ValueError, match=r"fastdepth gives metric, and the loss 'cross_entropy' is not for those"):
        train(training(cifar, tmp_path / "b", model="fastdepth", loss=("cross_entropy",)))
    with pytest.raises(ValueError, match=r"nyu-eigen@1 is for the task depth, and the net gives classes; use .*: top1"):
        train(training(cifar, tmp_path / "c", model="resnet56", protocol="nyu-eigen@1", val_every=10))
    with pytest.raises(ValueError, match=r"holds 10 classes, and the net gives metric; give data or a net that fits"):
        train(training(cifar, tmp_path / "d", model="fastdepth"))
    assert CLASSIFY.losses == ("cross_entropy",)
    predictor = predictor_of(build(TINY, seed=0))
    with pytest.raises(ValueError, match="gives classes, not depth; `answer`"):
        predictor(np.zeros((32, 32, 3), np.uint8))
