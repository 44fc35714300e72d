"""A net of nested widths on the test part, end to end: one photograph after the other, beside the dense net's file."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from leadline.core.preprocess import prepare
from leadline.core.timing import no_collection, one
from leadline.data.dataset import Dataset
from leadline.evaluation.evaluate import ImageResult, evaluate_images
from leadline.evaluation.labels import measure_labels
from leadline.pipelines.export_dynamic import DynamicOptions, export_dynamic
from leadline.predict.predictor import Predictor, load_predictor
from leadline.runtime import suffix
from leadline.runtime.dynamic import Following, Widths, hardness, read_manifest
from leadline.runtime.export import export
from recipes.filters_plan import Study

Say = Callable[[str], None]
_OF_IMAGE = {"miou": "pixel_accuracy"}
"""The figure of a single image, where the study's own is of the whole set."""
_HARDNESS = 200
"""On so many images the time of the rule itself is measured."""


@dataclass
class _Seen:
    """What one predictor did on the test part: a result and the milliseconds of each image."""

    results: list[ImageResult] = field(default_factory=list)
    ms: list[float] = field(default_factory=list)


def on_test_part(
    source: Path, dense: Path, study: Study, data: Path, test: Dataset, runtime: str, threads: int, out: Path, say: Say
) -> dict[str, Any]:
    """Figures of the widths of checkpoint `source` in `runtime`, and of the checkpoint `dense` beside them.

    The rule is chosen on the validation split, the figures are of `test`. All run in turns, one image after the other,
    from the photograph to the answer: the dense net's file, each width alone, the rule, and the rule that follows a
    video (`runtime.dynamic.Following`), for which the part's own order stands.
    """
    part = "val" if study.own_validation else ""
    options = DynamicOptions(data=str(data / study.folder), part=part, threads=threads)
    folder = out / f"dynamic-{runtime}"
    manifest = export_dynamic(source, runtime, folder, options, say=say)
    whole = export(dense, runtime, out / f"dense-{runtime}{suffix(runtime)}")
    ruled, followed = load_predictor(folder, threads=threads), load_predictor(folder, threads=threads)
    widths, video = _widths_of(ruled), Following(_widths_of(followed))
    alone = {
        f"width {i}": load_predictor(folder / name, threads=threads)
        for i, name in enumerate(read_manifest(folder).files)
    }
    runs = {
        "dense": load_predictor(whole, threads=threads),
        **alone,
        "dynamic": ruled,
        "video": replace(followed, runner=video),
    }
    widths.counts = [0] * len(widths.counts)  # loading has run it once
    video.counts, video.switches = [0] * len(widths.counts), 0
    say(f"{len(test)} images of the test part by {len(runs)} nets in turns")
    seen = in_turns(runs, test, study.protocol)
    figures = {name: _figures(one, study) for name, one in seen.items()}
    n = len(test)
    return {
        "runtime": runtime,
        "threads": threads,
        "n": n,
        "choice": {"start": manifest.choice.start, "thresholds": list(manifest.choice.thresholds)},
        "validation": {k: v for k, v in manifest.measured.items() if k != "data"},
        **figures,
        "share_of_widths": [count / n for count in widths.counts],
        "share_of_widths_video": [count / n for count in video.counts],
        "switch_rate": video.switches / max(1, n - 1),
        "oracle_ms": oracle(list(alone), seen, study),
        "hardness_ms": hardness_ms(ruled, test),
    }


def in_turns(runs: Mapping[str, Predictor], test: Dataset, protocol: str) -> dict[str, _Seen]:
    """What each predictor does on each image of `test`, all of them on one image before the next."""
    seen = {name: _Seen() for name in runs}

    def timed(name: str) -> Callable[[np.ndarray], Any]:
        def predict(frame: np.ndarray) -> Any:
            start = time.perf_counter_ns()
            answer = runs[name].answer(frame)
            seen[name].ms.append((time.perf_counter_ns() - start) / 1e6)
            return answer

        return predict

    streams: list[Iterator[ImageResult]] = [evaluate_images(timed(name), test, [protocol]) for name in runs]
    with no_collection():
        for results in zip(*streams, strict=True):
            for name, result in zip(runs, results, strict=True):
                seen[name].results.append(result)
    return seen


def oracle(widths: Sequence[str], seen: Mapping[str, _Seen], study: Study) -> float:
    """Mean milliseconds if each image were run by its cheapest width that is as good as the widest: nothing that
    chooses can be faster.
    """
    metric = _OF_IMAGE.get(study.metric, study.metric)
    protocol = study.protocol
    good = np.array([[r.metrics.get(protocol, {}).get(metric, np.nan) for r in seen[name].results] for name in widths])
    ms = np.array([np.median(seen[name].ms) for name in widths])
    enough = good >= good[-1] - 1e-12
    enough[-1] = True
    return float(np.where(enough, ms[:, None], np.inf).min(axis=0).mean())


def hardness_ms(predictor: Predictor, test: Dataset) -> float:
    """Median milliseconds of looking at an answer and saying how hard its image is: what the rule itself costs."""
    widths = _widths_of(predictor)
    first = widths.runners[widths.choice.start]
    found = []
    for i in range(min(_HARDNESS, len(test))):
        output = first(prepare(test[i].image, predictor.preprocess))
        found.append(one(lambda output=output: hardness(output, widths.kind)))  # type: ignore[misc]
    return float(np.median(found))


def _widths_of(predictor: Predictor) -> Widths:
    assert isinstance(predictor.runner, Widths)
    return predictor.runner


def _figures(seen: _Seen, study: Study) -> dict[str, float]:
    """Accuracy over the part, and milliseconds of an image: mean, median, 95th percentile."""
    p50, p95 = (float(x) for x in np.percentile(seen.ms, (50, 95)))
    return {
        "accuracy": accuracy_of(seen.results, study),
        "mean_ms": float(np.mean(seen.ms)),
        "p50_ms": p50,
        "p95_ms": p95,
    }


def accuracy_of(results: Sequence[ImageResult], study: Study) -> float:
    """The study's metric over all images, as `evaluate` has it."""
    maps = [result.confusion for result in results if result.confusion is not None]
    if maps:
        return float(measure_labels(np.sum(maps, axis=0))[study.metric])
    found = [r.metrics[study.protocol][study.metric] for r in results if study.protocol in r.metrics]
    return float(np.mean(found))
