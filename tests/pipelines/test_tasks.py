"""What hangs on a net's task, looked at across tasks: answers, agreement, and the metric that decides."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.tiny_streets import TINY, write

from leadline.bench import worker
from leadline.compress.options import AcceptanceCriteria
from leadline.compress.quantization.search import of_task
from leadline.core.agreement import in_words, mean_agreement, same_class
from leadline.core.answers import answer
from leadline.core.spec import Head, Preprocess
from leadline.core.tasks import CLASSIFY, DEPTH, SEGMENT
from leadline.core.types import ClassScores, Depth, Labels
from leadline.data.layouts.detect import open_dataset
from leadline.evaluation.evaluate import evaluate
from leadline.evaluation.metrics import worse_by
from leadline.nn.build import build
from leadline.nn.checkpoint import save
from leadline.predict.predictor import predictor_of

pytestmark = pytest.mark.usefixtures("one_thread")
CLASSES = ("a", "b", "c")


def test_what_an_output_says_is_decided_by_the_head() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(1, 3, 5, 6)).astype(np.float32)
    how = Preprocess((5, 6))
    head = Head("labels", "score", layer="labels", classes=CLASSES)
    labels = answer(scores, (5, 6), head, how)
    assert isinstance(labels, Labels) and np.array_equal(labels.values, scores[0].argmax(0)) and labels.valid.all()
    twice = answer(scores, (10, 12), head, replace(how, resize="nearest"))
    assert isinstance(twice, Labels) and np.array_equal(twice.values, scores[0].argmax(0).repeat(2, 0).repeat(2, 1))
    of_image = answer(scores[:, :, 0, 0], (5, 6), Head("classes", "score", layer="classes", classes=CLASSES), how)
    assert isinstance(of_image, ClassScores) and np.array_equal(of_image.values, scores[0, :, 0, 0])
    depth = answer(scores[:, :1], (5, 6), Head(), how)
    assert isinstance(depth, Depth) and depth.kind == "metric" and np.array_equal(depth.values, scores[0, 0])


def test_a_file_of_lower_precision_is_told_by_the_share_of_equal_classes() -> None:
    expected = np.eye(4, dtype=np.float32)[:, :, None, None].repeat(2, 2)
    found = expected.copy()
    found[0, :, 0, 0] = (0, 9, 0, 0)
    near = mean_agreement([same_class(found, expected)])
    assert near == {"same_class": 1 - 1 / 8}
    assert in_words(near, metric=False) == "87.5 % of the classes are those of the float32 net"


def test_bench_measures_a_net_of_labels_by_its_own_protocol(tmp_path: Path) -> None:
    camvid = tmp_path / "camvid"
    write(camvid, "test", 3, 0)
    net = build(TINY, seed=0)
    file = save(net, tmp_path / "net.safetensors")
    found = worker.metrics(str(file), 1, str(camvid), "test", "indoor-metric@1", None)
    expected = evaluate(predictor_of(net.eval()).labels, open_dataset(camvid, "test"), "miou@1")
    assert found["metrics"] == pytest.approx(expected.metrics)


def test_quantize_measures_by_the_tasks_metric_where_none_is_named() -> None:
    plain = AcceptanceCriteria()
    assert of_task(plain, SEGMENT) == replace(plain, protocol="miou@1", metric="miou")
    assert of_task(plain, DEPTH) == plain
    named = AcceptanceCriteria(protocol="top1@1", metric="top5")
    assert of_task(named, CLASSIFY) == named
    assert worse_by("miou", 0.6, 0.5) == pytest.approx(0.1) and worse_by("top1", 0.5, 0.6) < 0
