"""The weights in the package: small, honest about their origin, and good for what they claim."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from leadline.data.dataset import subset
from leadline.data.layouts.detect import open_dataset
from leadline.evaluation.evaluate import evaluate
from leadline.nn import checkpoint, zoo
from leadline.predict.predictor import load_predictor

LIMITS = {"fastdepth": 8_000_000, "litedepth": 1_600_000, "fastdepth_small": 4_000_000}  # bytes
DELTA1 = {"fastdepth": 0.70, "litedepth": 0.69, "fastdepth_small": 0.70}

every_model = pytest.mark.parametrize("name", sorted(checkpoint.shipped()))


def test_what_should_ship_ships() -> None:
    assert set(checkpoint.shipped()) == set(LIMITS)


@every_model
def test_the_file_is_small(name: str) -> None:
    assert checkpoint.shipped()[name].stat().st_size <= LIMITS[name]


@every_model
def test_the_file_says_where_it_comes_from(name: str) -> None:
    said = checkpoint.read_provenance(name)
    assert {"images", "licences", "command", "commit", "versions", "device", "metrics"} <= set(said)
    assert any("research use only" in licence for licence in said["licences"])
    assert not any("/" in word and word.startswith(("/", "..")) for word in said["command"])


@every_model
def test_it_is_the_net_of_the_zoo_or_a_narrower_one(name: str) -> None:
    spec = checkpoint.load(name).spec
    if name in zoo.names():
        assert spec == zoo.spec(name)
    else:
        whole = checkpoint.load(name.removesuffix("_small")).spec
        assert spec.preprocess == whole.preprocess and spec.head == whole.head
        assert all(a <= b for a, b in zip(spec.encoder.widths, whole.encoder.widths, strict=True))


@every_model
def test_a_photograph_that_nobody_trained_on_gets_plausible_metres(name: str) -> None:
    skimage_data = pytest.importorskip("skimage.data")
    image = skimage_data.stereo_motorcycle()[0]
    depth = load_predictor(name)(image)
    assert depth.kind == "metric" and depth.unit == "m"
    assert depth.values.shape == image.shape[:2]
    assert depth.valid is not None and depth.valid.all()
    # a motorcycle in a workshop: a few metres, and the floor at the bottom is nearer than the wall at the top
    assert 0.8 < np.median(depth.values) < 6
    rows = len(depth.values)
    assert np.median(depth.values[-rows // 8 :]) < np.median(depth.values[: rows // 4])


@every_model
@pytest.mark.slow
def test_accuracy_on_the_real_test_part_is_what_the_file_says(name: str, shared_data: Path) -> None:
    data = open_dataset(shared_data / "nyu", "test")
    some = subset(data, range(0, len(data), 4))
    found = evaluate(load_predictor(name), some, "nyu-eigen@1").metrics
    said = checkpoint.read_provenance(name)["metrics"]["test part"]["nyu-eigen@1"]
    assert said["delta1"] >= DELTA1[name]
    assert abs(found["delta1"] - said["delta1"]) < 0.04  # a quarter of the images
