"""What a run measures while it goes: metrics on its validation split, and pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress

import numpy as np
from PIL import Image

from leadline.core.errors import BadData, BadImage
from leadline.core.types import Depth, Item, Labels, joint_truth
from leadline.core.viz import panel
from leadline.core.viz_labels import coloured_labels, joint_panel
from leadline.data.dataset import Dataset, evenly
from leadline.evaluation.evaluate import Predict, evaluate
from leadline.nn.build import Net
from leadline.pipelines.training_data import Say
from leadline.predict.predictor import predictor_of
from leadline.training.options import Training


def measure_classes(net: Net, step: int, *, run: Training, data: Dataset, say: Say) -> Mapping[str, float]:
    """Accuracies on the validation split. Where there is nothing to measure that is said, and the training goes on."""
    return _evaluated(net, predictor_of(net).scores, step, run, data, say)


def measure_labels(net: Net, step: int, *, run: Training, data: Dataset, say: Say) -> Mapping[str, float]:
    """Overlaps on the validation split, and a picture of four of its images, each beside truth and prediction."""
    predict = predictor_of(net).labels

    def draw(item: Item) -> np.ndarray:
        truth = Labels(item.target, data.classes, item.valid)
        return np.concatenate([item.image, coloured_labels(truth), coloured_labels(predict(item.image))], axis=1)

    _save_pictures(draw, data, run, step)
    return _evaluated(net, predict, step, run, data, say)


def measure_depth(net: Net, step: int, *, run: Training, data: Dataset, say: Say) -> Mapping[str, float]:
    """Metrics on the validation split, and a picture of four of its images. Where there is nothing to measure
    that is said, and the training goes on.
    """
    predict = predictor_of(net)

    def draw(item: Item) -> np.ndarray:
        return panel(item.image, Depth(item.target, "metric", item.valid), predict(item.image))

    _save_pictures(draw, data, run, step)
    return _evaluated(net, predict, step, run, data, say)


def measure_joint(net: Net, step: int, *, run: Training, data: Dataset, say: Say) -> Mapping[str, float]:
    """Metrics of depth and labels on the validation split, and a picture of four of its images."""
    predict = predictor_of(net).joint

    def draw(item: Item) -> np.ndarray:
        return joint_panel(item.image, joint_truth(item, data.classes), predict(item.image))

    _save_pictures(draw, data, run, step)
    return _evaluated(net, predict, step, run, data, say)


def _save_pictures(draw: Callable[[Item], np.ndarray], data: Dataset, run: Training, step: int) -> None:
    """Four items, each drawn as a row of the run's picture at this step."""
    rows = []
    for i in evenly(4, len(data)):
        with suppress(BadData, BadImage):  # `evaluate` names the image
            rows.append(draw(data[i]))
    if rows:
        width = min(row.shape[1] for row in rows)
        picture = Image.fromarray(np.concatenate([row[:, :width] for row in rows]))
        folder = run.out / "pictures"
        folder.mkdir(parents=True, exist_ok=True)
        picture.save(folder / f"{step:06d}.jpg", quality=85)


def _evaluated(net: Net, predict: Predict, step: int, run: Training, data: Dataset, say: Say) -> Mapping[str, float]:
    try:
        report = evaluate(predict, data, run.protocol, name=net.spec.name)
    except BadData as error:
        say(f"after {step} steps there are no figures: {error}")
        return {}
    if left_out := report.context["skipped"]:
        say(f"{len(left_out)} of {len(data)} images of the validation split do not count, such as {left_out[0]}")
    return report.metrics


MEASURE = {"depth": measure_depth, "classify": measure_classes, "segment": measure_labels, "joint": measure_joint}
"""By task, what measures a net on the validation split."""
