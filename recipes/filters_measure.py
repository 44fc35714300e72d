"""What `recipes.filters_layers_gates` measures of a net: accuracy, cost, latency, and what each block is worth."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from leadline.bench.device import fingerprint
from leadline.compress.cost.count import macs, parameters
from leadline.compress.layers.remove import block_scores
from leadline.compress.layers.scores import removed_alone
from leadline.compress.options import CRITERIA
from leadline.core.errors import LeadlineError
from leadline.core.report import Report
from leadline.core.timing import measure
from leadline.data.dataset import evenly, subset
from leadline.data.layouts.detect import open_dataset
from leadline.evaluation.evaluate import evaluate
from leadline.nn.build import Net
from leadline.nn.skip import removable
from leadline.pipelines.prune_gates import macs_on
from leadline.pipelines.prune_methods import seen
from leadline.pipelines.training_setup import parts
from leadline.predict.predictor import predictor_of
from leadline.runtime import backend, installed, suffix
from leadline.runtime.options import CompileOptions
from leadline.runtime.torch_threads import torch_threads
from leadline.training.options import Training
from recipes.filters_plan import Study, parts_of
from recipes.street_table import said_device, today

RUNTIMES = ("onnx", "openvino", "litert")
Say = Callable[[str], None]


def here() -> dict[str, Any]:
    """Where and when something is measured: the machine in words, its packages, the date."""
    facts = fingerprint()
    return {"device": said_device(facts), "packages": facts["packages"], "date": today()}


def accuracies(net: Net, study: Study, data: Path) -> dict[str, dict[str, float]]:
    """The metrics of a net on the validation split and, once, on the test part."""
    found = {}
    for part, images in (("val", parts_of(study, data)[1]), ("test", open_dataset(data / study.folder, "test"))):
        report: Report = evaluate(predictor_of(net).answer, images, study.protocol, name=net.spec.name)
        found[part] = {"n": report.n or 0, **report.metrics}
    return found


def costs(net: Net, study: Study, data: Path) -> dict[str, int]:
    """Parameters and multiply-accumulates; of a net with gates the mean over images of the test part."""
    whole = macs(net, net.spec.preprocess.size)
    if net.spec.gates:
        whole = round(macs_on(net, open_dataset(data / study.folder, "test")))
    return {"parameters": parameters(net), "macs": whole}


def runtimes_here() -> tuple[str, ...]:
    """Those of RUNTIMES that are installed."""
    return tuple(name for name in RUNTIMES if backend(name).missing() is None)


def timings(nets: Mapping[str, Net], runtime: str, threads: int, n: int, say: Say) -> list[dict[str, Any]]:
    """Milliseconds of each net for one image, compiled for `runtime` and called in turns: median, 10th and 90th
    percentile. A net that cannot be compiled is a row with its `error`.
    """
    calls: dict[str, Callable[[], object]] = {}
    failed: dict[str, str] = {}
    module = installed(runtime)
    with tempfile.TemporaryDirectory() as folder, torch_threads(threads):
        for i, (name, net) in enumerate(nets.items()):
            say(f"{runtime}, {threads} threads: compiling {name}")
            size = net.spec.preprocess.size
            place = Path(folder) / str(i) / f"net{suffix(runtime)}"
            place.parent.mkdir()
            try:
                file = module.compile(net, torch.zeros(1, 3, *size), place, CompileOptions())
                run = module.load(file, threads)
            except (LeadlineError, RuntimeError, ValueError) as error:
                failed[name] = str(error).splitlines()[0].replace(folder, "")
                continue
            image = np.random.default_rng(0).random((1, 3, *size), np.float32)
            calls[name] = lambda run=run, image=image: run(image)  # type: ignore[misc]
        times = measure(calls, n=n, at_most_s=20.0) if calls else {}
    where = {"runtime": runtime, "threads": threads}
    rows = [{"row": name, **where, "latency_ms": found.spread()} for name, found in times.items()]
    return rows + [{"row": name, **where, "error": reason} for name, reason in failed.items()]


def alone(
    net: Net, study: Study, data: Path, training: Training, n_batches: int, images: int, say: Say
) -> dict[str, Any]:
    """What the absence of each block costs on the validation split, each criterion's scores, and how far the two agree:
    Spearman's rank correlation. Nothing is trained. `images`: at most so many of the split, evenly spaced; 0: all.
    """
    validation, blocks = parts_of(study, data)[1], removable(net)
    validation = subset(validation, evenly(images, len(validation))) if images else validation

    def validate(one: Net) -> float:
        return evaluate(predictor_of(one).answer, validation, study.protocol).metrics[study.metric]

    made = parts(training, net)
    batches = list(islice(seen(made), n_batches))
    criteria = {}
    for criterion in CRITERIA:
        say(f"scores by {criterion}")
        try:
            criteria[criterion] = block_scores(net, criterion, batches, made.loss)
        except ValueError as error:  # bn, of blocks without one
            say(str(error))
    say(f"leaving out each of {len(blocks)} blocks")
    drops = removed_alone(net, blocks, validate)
    agreement = {
        name: spearman([scores[block] for block in blocks], [drops[block] for block in blocks])
        for name, scores in criteria.items()
    }
    return {"n": len(validation), "batches": n_batches, "drops": drops, "criteria": criteria, "spearman": agreement}


def spearman(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Spearman's rank correlation of two lists: the correlation of their ranks, equal values sharing their mean rank.
    None if one list has a single value only.
    """
    ranks = [_ranks(np.asarray(values, np.float64)) for values in (a, b)]
    spread = [float(rank.std()) for rank in ranks]
    if not all(spread):
        return None
    centred = [rank - rank.mean() for rank in ranks]
    return float((centred[0] * centred[1]).mean() / (spread[0] * spread[1]))


def _ranks(values: np.ndarray) -> np.ndarray:
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    mean: np.ndarray = (last - (counts - 1) / 2)[which]
    return mean
