"""Evaluation: one prediction for each image, judged under any number of protocols."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace

import numpy as np

from leadline.core.answers import Answer
from leadline.core.errors import BadData, BadImage
from leadline.core.report import Report
from leadline.core.spec import Kind
from leadline.core.types import ClassScores, Depth, Item, Joint, Labels
from leadline.data.dataset import Dataset, first_readable
from leadline.evaluation.classes import measure_class
from leadline.evaluation.labels import confusion, intersection_over_union, measure_labels
from leadline.evaluation.metrics import METRICS
from leadline.evaluation.protocols import Protocol, find, match, measure_matched, misfit, protocol_hash

Prediction = Answer
Predict = Callable[[np.ndarray], Prediction]
"""A frame uint8 [H,W,3] -> its depth: a net, a loaded artefact or another program's file."""
PredictSample = Callable[[Item], Prediction]
"""An Item -> its depth, for predictions that are found by its name, see `predictions.pair`."""

Samples = Dataset | Sequence[Item] | Iterable[Item]


@dataclass(frozen=True)
class ImageResult:
    """One image: its metrics under each protocol (by id), how many pixels counted, how many of those the prediction had
    left out. Where a protocol could not be measured, `problems` says why and `metrics` lacks it.
    """

    name: str
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    n_pixels: dict[str, int] = field(default_factory=dict)
    n_filled: dict[str, int] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    confusion: np.ndarray | None = None
    """Of segmentation, see `labels.confusion`."""


def evaluate(
    predict: Predict,
    samples: Samples,
    protocol: Protocol | str,
    *,
    name: str = "model",
    on_image: Callable[[ImageResult], None] | None = None,
) -> Report:
    """The mean over images of the metrics that `protocol` (or `name@version`) asks for. See `evaluate_all`."""
    return evaluate_all(predict, samples, [protocol], name=name, on_image=on_image)[0]


def check_protocols(names: Sequence[str], kind: Kind, data: Dataset) -> None:
    """A ValueError if one of these protocols is unknown or cannot judge a net of that `kind` on the first of `data`."""
    first = first_readable(data)
    size = (first.target if first.target.ndim == 2 else first.image).shape
    for name in names:
        if why := misfit(find(name), kind, (size[0], size[1])):
            raise ValueError(why)


def evaluate_all(
    predict: Predict | PredictSample,
    samples: Samples,
    protocols: Sequence[Protocol | str],
    *,
    name: str = "model",
    on_image: Callable[[ImageResult], None] | None = None,
    by_sample: bool = False,
) -> list[Report]:
    """One Report for each protocol, from the same predictions; `predict` runs once for each image. It is given the
    image, or with `by_sample` the whole Item.

    An image that cannot be read, has no pixel to count or has a metric that is not finite is left out of the mean, and
    `context["skipped"]` names it and the reason; if no image is left, that is BadData. `on_image` is called with each
    image's result, for a progress bar or a table of images. A prediction that does not fit a protocol is a ValueError.
    """
    chosen = [find(p) if isinstance(p, str) else p for p in protocols]
    results = []
    for result in evaluate_images(predict, samples, chosen, by_sample=by_sample):
        results.append(result)
        if on_image is not None:
            on_image(result)
    return [_report(name, protocol, results) for protocol in chosen]


def evaluate_images(
    predict: Predict | PredictSample,
    samples: Samples,
    protocols: Sequence[Protocol | str],
    *,
    by_sample: bool = False,
) -> Iterator[ImageResult]:
    """Each image's result under each protocol, in the order of `samples`."""
    chosen = [find(p) if isinstance(p, str) else p for p in protocols]
    for name, read in _readers(samples):
        try:
            sample = read()
            name = str(sample.name)
            pred = predict(sample if by_sample else sample.image)  # type: ignore[arg-type]
        except (BadData, BadImage, OSError) as error:
            yield ImageResult(name, problems={p.id: str(error) for p in chosen})
            continue
        yield _scored(name, pred, sample, chosen)


def _readers(samples: Samples) -> Iterator[tuple[str, Callable[[], Item]]]:
    """A name or number of each sample, and its reader; what can be indexed survives an item that fails."""
    if isinstance(samples, Dataset | Sequence):
        indexed = samples
        for index in range(len(indexed)):
            key = indexed.keys[index] if isinstance(indexed, Dataset) else None
            name = str(getattr(key, "name", f"item {index}"))
            yield name, lambda index=index: indexed[index]  # type: ignore[misc]
    else:
        for index, sample in enumerate(samples):
            yield f"item {index}", lambda sample=sample: sample  # type: ignore[misc]


def _measure_class(result: ImageResult, protocol: Protocol, pred: Prediction, sample: Item) -> ImageResult:
    if not isinstance(pred, ClassScores):
        raise ValueError(f"{protocol.id} measures classes, and the prediction is {type(pred).__name__}")
    found = measure_class(pred.values, int(sample.target))
    result.metrics[protocol.id] = {name: found[name] for name in protocol.metrics}
    result.n_pixels[protocol.id], result.n_filled[protocol.id] = 1, 0
    return result


def _measure_labels(result: ImageResult, protocol: Protocol, pred: Prediction, sample: Item) -> ImageResult:
    if not isinstance(pred, Labels):
        raise ValueError(f"{protocol.id} measures labels, and the prediction is {type(pred).__name__}")
    counts = confusion(pred.values, sample.target, sample.valid, len(pred.classes))
    result.n_pixels[protocol.id], result.n_filled[protocol.id] = int(counts.sum()), 0
    if counts.any():
        result.metrics[protocol.id] = measure_labels(counts)
    else:
        result.problems[protocol.id] = "no pixel counts: all are void"
    return replace(result, confusion=counts)


def _measure_depth(result: ImageResult, protocol: Protocol, pred: Prediction, sample: Item) -> ImageResult:
    if not isinstance(pred, Depth):
        raise ValueError(f"{protocol.id} measures depth, and the prediction is {type(pred).__name__}")
    matched = match(protocol, pred, sample.target, sample.valid)
    result.n_pixels[protocol.id] = int(np.count_nonzero(matched.counts))
    result.n_filled[protocol.id] = matched.n_filled
    metrics = measure_matched(protocol, matched)
    wild = [key for key, value in metrics.items() if not np.isfinite(value)]
    if not sample.valid.any():
        result.problems[protocol.id] = "it has no depth to measure against"
    elif not matched.counts.any():
        result.problems[protocol.id] = "no pixel counts: target or prediction has no valid one in range"
    elif wild:
        result.problems[protocol.id] = f"not finite: {', '.join(wild)}"
    else:
        result.metrics[protocol.id] = metrics
    return result


def _measure_joint(result: ImageResult, protocol: Protocol, pred: Prediction, sample: Item) -> ImageResult:
    if not isinstance(pred, Joint):
        raise ValueError(f"{protocol.id} measures depth and labels, and the prediction is {type(pred).__name__}")
    if sample.target.ndim != 3:
        raise ValueError(f"{protocol.id} needs depth and labels; the target of {sample.name} is {sample.target.shape}")
    depth, labels = (replace(sample, target=sample.target[i], valid=sample.valid[i]) for i in (0, 1))
    metric = replace(protocol, task="depth", metrics=tuple(name for name in protocol.metrics if name in METRICS))
    of_depth = _measure_depth(ImageResult(result.name), metric, pred.depth, depth)
    of_labels = _measure_labels(ImageResult(result.name), protocol, pred.labels, labels)
    for name in ("n_pixels", "n_filled"):
        getattr(result, name).update(getattr(of_depth, name))
    if problems := [*of_depth.problems.values(), *of_labels.problems.values()]:
        result.problems[protocol.id] = "; ".join(problems)
    else:
        result.metrics[protocol.id] = of_depth.metrics[protocol.id] | of_labels.metrics[protocol.id]
    return replace(result, confusion=of_labels.confusion)


MEASURE: dict[str, Callable[[ImageResult, Protocol, Prediction, Item], ImageResult]] = {
    "depth": _measure_depth,
    "classify": _measure_class,
    "segment": _measure_labels,
    "joint": _measure_joint,
}
"""By task, how one image is measured."""


def _scored(name: str, pred: Prediction, sample: Item, protocols: Sequence[Protocol]) -> ImageResult:
    result = ImageResult(name)
    for protocol in protocols:
        result = MEASURE[protocol.task](result, protocol, pred, sample)
    return result


def _report(name: str, protocol: Protocol, results: Sequence[ImageResult]) -> Report:
    key = protocol.id
    good = [r for r in results if key in r.metrics]
    skipped = [f"{r.name}: {r.problems[key]}" for r in results if key in r.problems]
    if not good:
        why = f"the first of {len(skipped)}: {skipped[0]}" if skipped else "there are no samples"
        raise BadData(f"no image could be measured under {key}; {why}")
    context = {
        "protocol": asdict(protocol),
        "protocol_hash": protocol_hash(protocol),
        "n_pixels": sum(r.n_pixels[key] for r in good),
        "n_filled": sum(r.n_filled[key] for r in good),
        "skipped": skipped,
    }
    means = {metric: float(np.mean([r.metrics[key][metric] for r in good])) for metric in protocol.metrics}
    if whole := [r.confusion for r in good if r.confusion is not None]:  # over all pixels, not over images
        total = np.sum(whole, axis=0)
        means |= measure_labels(total)
        context["iou"] = [None if np.isnan(iou) else float(iou) for iou in intersection_over_union(total)]
    return Report(name, protocol=key, n=len(good), metrics=means, context=context)
