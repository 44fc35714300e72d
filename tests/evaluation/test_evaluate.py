"""Evaluation predicts once for each image, averages over images, and says what it left out."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator

import numpy as np
import pytest

from leadline.core.errors import BadData, BadImage
from leadline.core.types import Depth, Item
from leadline.data.dataset import Dataset
from leadline.evaluation.evaluate import ImageResult, evaluate, evaluate_all, evaluate_images
from leadline.evaluation.protocols import PROTOCOLS, apply, protocol_hash


def sample(index: int) -> Item:
    rng = np.random.default_rng(index)
    image = rng.integers(0, 255, (12, 16, 3), np.uint8)
    valid = rng.random((12, 16)) < 0.8
    return Item(image, np.where(valid, rng.uniform(1, 8, (12, 16)), 0).astype(np.float32), valid, f"img{index}")


def guess(image: np.ndarray) -> Depth:
    return Depth(1 + image.mean(axis=2).astype(np.float32) / 40)


SAMPLES = [sample(i) for i in range(4)]


def failing(key: int) -> Item:
    if key == 2:
        raise BadData("img2.png is cut short")
    return SAMPLES[key]


def test_the_report_holds_the_mean_of_the_images() -> None:
    report = evaluate(guess, SAMPLES, "indoor-metric@1", name="guess")
    each = [apply(PROTOCOLS["indoor-metric@1"], guess(s.image), s.target, s.valid) for s in SAMPLES]
    assert (report.name, report.protocol, report.n) == ("guess", "indoor-metric@1", 4)
    assert report.metrics == pytest.approx({m: np.mean([e[m] for e in each]) for m in each[0]})
    assert report.context["protocol_hash"] == protocol_hash(PROTOCOLS["indoor-metric@1"])
    assert report.context["n_pixels"] == sum(int(s.valid.sum()) for s in SAMPLES)
    assert report.context["skipped"] == []
    assert json.loads(json.dumps(report.to_json()))["metrics"] == report.metrics


def test_several_protocols_share_one_prediction_of_each_image() -> None:
    calls = []

    def counted(image: np.ndarray) -> Depth:
        calls.append(image)
        return guess(image)

    names = ["indoor-metric@1", "zeroshot-disparity@1", "mai2022@1"]
    reports = evaluate_all(counted, SAMPLES, names)
    assert len(calls) == 4
    assert [r.protocol for r in reports] == names
    assert reports[1] == evaluate(guess, SAMPLES, PROTOCOLS["zeroshot-disparity@1"])


def test_datasets_lists_and_generators_give_the_same() -> None:
    dataset = Dataset("four", (0, 1, 2, 3), lambda key: SAMPLES[key])
    expected = evaluate(guess, SAMPLES, "indoor-metric@1")
    assert evaluate(guess, dataset, "indoor-metric@1") == expected
    assert evaluate(guess, (s for s in SAMPLES), "indoor-metric@1") == expected


def test_one_bad_sample_is_named_and_the_rest_is_done() -> None:
    report = evaluate(guess, Dataset("broken", (0, 1, 2, 3), failing), "indoor-metric@1")
    assert report.n == 3
    assert report.context["skipped"] == ["item 2: img2.png is cut short"]
    good = [SAMPLES[i] for i in (0, 1, 3)]
    assert report.metrics == evaluate(guess, good, "indoor-metric@1").metrics


def test_an_image_that_cannot_be_predicted_is_named() -> None:
    def picky(image: np.ndarray) -> Depth:
        if (image == SAMPLES[1].image).all():
            raise BadImage("too dark")
        return guess(image)

    report = evaluate(picky, SAMPLES, "indoor-metric@1")
    assert (report.n, report.context["skipped"]) == (3, ["img1: too dark"])


def test_images_without_truth_and_numbers_that_are_not_finite_are_named() -> None:
    blank = Item(SAMPLES[0].image, np.zeros((12, 16), np.float32), np.zeros((12, 16), bool), "blank")
    report = evaluate(guess, [*SAMPLES, blank], "indoor-metric@1")
    assert report.n == 4
    assert report.context["skipped"] == ["blank: it has no depth to measure against"]
    assert all(math.isfinite(v) for v in report.metrics.values())

    blind = evaluate(
        lambda image: Depth(np.full((12, 16), np.nan, np.float32)) if image is SAMPLES[3].image else guess(image),
        SAMPLES,
        "indoor-metric@1",
    )
    assert (blind.n, len(blind.context["skipped"])) == (3, 1)
    assert blind.context["skipped"][0].startswith("img3: no pixel counts")


def test_left_out_pixels_are_counted_in_the_report() -> None:
    def half(image: np.ndarray) -> Depth:
        seen = np.zeros((12, 16), bool)
        seen[:, :8] = True
        return Depth(guess(image).values, "metric", seen)

    report = evaluate(half, SAMPLES, "indoor-metric@1")
    assert report.context["n_filled"] == sum(int(s.valid[:, 8:].sum()) for s in SAMPLES)
    assert report.context["n_pixels"] == sum(int(s.valid.sum()) for s in SAMPLES)


def test_nothing_to_measure_is_an_error_with_the_first_reason() -> None:
    def broken(key: int) -> Item:
        raise BadData(f"{key}.png is empty")

    with pytest.raises(
        BadData, match=r"no image could be measured under indoor-metric@1; the first of 2: item 0: 0\.png"
    ):
        evaluate(guess, Dataset("broken", (0, 1), broken), "indoor-metric@1")
    with pytest.raises(BadData, match="there are no samples"):
        evaluate(guess, [], "indoor-metric@1")


def test_each_image_is_told_as_it_is_done() -> None:
    told: list[ImageResult] = []
    report = evaluate(guess, Dataset("broken", (0, 1, 2, 3), failing), "indoor-metric@1", on_image=told.append)
    assert [t.name for t in told] == ["img0", "img1", "item 2", "img3"]
    rows = [t.metrics["indoor-metric@1"]["rmse"] for t in told if t.metrics]
    assert report.metrics["rmse"] == pytest.approx(np.mean(rows))
    assert list(evaluate_images(guess, SAMPLES[:2], ["indoor-metric@1"])) == told[:2]


def test_wrong_arguments_and_broken_iterators_are_not_swallowed() -> None:
    with pytest.raises(ValueError, match="is unknown; nearest: indoor-metric@1"):
        evaluate(guess, SAMPLES, "indoor-metric")
    with pytest.raises(ValueError, match="is defined on 480x640 targets"):
        evaluate(guess, SAMPLES, "nyu-eigen@1")

    def stops() -> Iterator[Item]:
        yield SAMPLES[0]
        raise BadData("the archive ends here")

    with pytest.raises(BadData, match="the archive ends here"):
        evaluate(guess, stops(), "indoor-metric@1")
