"""Lower precision that is never worse: a file is handed over only if this machine and real data say that it is good.

Candidates for int8, in order, until one is good: all layers; the net equalised and its biases corrected; then the
better of the two with its most sensitive 1, 2, 4, 8, 16 layers in floating point. Each is compiled for the target, and
the compiled file itself is measured: its accuracy on the data, its time against its float32 twin, call by call,
interleaved.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from leadline.compress.options import AcceptanceCriteria
from leadline.compress.quantization.equalize import equalized
from leadline.compress.quantization.sensitivity import sensitivity, with_corrected_biases
from leadline.core.agreement import agreement_of, mean_agreement
from leadline.core.answers import Answer, answer
from leadline.core.errors import AcceptanceFailed, BadData
from leadline.core.preprocess import Runner, prepare
from leadline.core.report import Report
from leadline.core.spec import Spec
from leadline.core.storage import sha256
from leadline.core.tasks import DEPTH, Task, task_of
from leadline.core.timing import Times, measure
from leadline.core.writing import may_be_written
from leadline.data.dataset import Dataset, evenly
from leadline.evaluation.evaluate import evaluate
from leadline.evaluation.metrics import HIGHER_IS_BETTER, worse_by
from leadline.evaluation.protocols import find as find_protocol
from leadline.nn.build import Net
from leadline.nn.checkpoint import find, load, read_provenance
from leadline.nn.files import read_spec
from leadline.nn.fold import fold
from leadline.runtime import Backend, installed, suffix
from leadline.runtime.export import move
from leadline.runtime.manifest import files_of
from leadline.runtime.options import CompileOptions, Precision

_COMPARED_ON = 32
"""Images on which the file's depth is compared with that of its float32 twin."""

_CANDIDATES = 7
"""All layers; equalised; and with 1, 2, 4, 8 or 16 layers in floating point."""

_RANKED_ON = 8
"""Images on which layers are ranked: the order settles quickly, and each costs one pass for each layer."""


@dataclass(frozen=True)
class Candidate:
    """One way to make the file, and what came of it: `drop`, by how much it is worse in the metric, and `ratio` = time
    over time of the float twin.
    """

    method: str
    net: Net
    keep: tuple[str, ...]
    path: Path
    drop: float = float("nan")
    ratio: float = float("nan")
    metrics: dict[str, float] = field(default_factory=dict)
    times: dict[str, Times] = field(default_factory=dict)

    def is_good(self, criteria: AcceptanceCriteria) -> bool:
        """Whether it keeps both promises."""
        return self.drop <= criteria.max_drop and self.ratio < 1

    @property
    def harm(self) -> float:
        """`drop`, for an order: what could not be measured comes last."""
        return math.inf if math.isnan(self.drop) else self.drop


def quantize(
    model: str | Path,
    runtime: str,
    out: Path,
    samples: Dataset,
    *,
    precision: Precision = "int8",
    calibration: Sequence[np.ndarray] = (),
    criteria: AcceptanceCriteria = AcceptanceCriteria(),
    frame: tuple[int, int] | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Report:
    """The file `out` of `model` for `runtime` in lower precision, and what it costs and brings.

    `samples` score (with depth, never those it was calibrated on); `calibration` are network inputs float32 [1,3,h,w].
    With `frame` the file that is handed over takes camera frames; it is measured by its twin for network inputs.
    AcceptanceFailed, with the figures of every candidate, if none meets the `criteria`; nothing is written then.
    """
    module = installed(runtime)
    if precision == "fp32" or precision not in module.PRECISIONS:
        able = ", ".join(p for p in module.PRECISIONS if p != "fp32") or "nothing below fp32"
        raise ValueError(f"{runtime} cannot be quantised to {precision}; it makes {able}")
    if precision == "int8" and not len(calibration):
        raise ValueError("int8 needs calibration: network inputs float32 [1,3,h,w] from which ranges are learned")
    criteria = of_task(criteria, task_of(read_spec(model).head.kind))
    if criteria.metric not in (known := find_protocol(criteria.protocol).metrics):
        raise ValueError(f"{criteria.protocol} does not measure {criteria.metric}; it measures {', '.join(known)}")
    if out.suffix != suffix(runtime):
        raise ValueError(f"out is {out}; a file for {runtime} ends in {suffix(runtime)}")
    may_be_written(out, reads=[find(model)])
    net = load(model)
    start = {"source": sha256(find(model)), "provenance": read_provenance(model)}
    options = CompileOptions(precision=precision, calibration=tuple(calibration), **start)  # type: ignore[arg-type]
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as folder:
        work = _Work(module, net.spec, samples, criteria, Path(folder), out.name)
        say("the float32 file, which is compared with")
        floating = work.compiled(net, replace(options, precision="fp32", calibration=()))
        expected, counted = work.metrics(floating)
        say("how sensitive each layer is")
        harm = sensitivity(fold(net), options.calibration[:_RANKED_ON]) if precision == "int8" else {}
        if harm:
            worst = ", ".join(f"{name} {value:.4f}" for name, value in list(harm.items())[:3])
            say(f"most sensitive layers, and the RMSE in {net.spec.head.unit} that each brings alone: {worst}")
        tried: list[Candidate] = []
        for method, changed, keep in _candidates(net, options, list(harm), tried):
            say(f"candidate {len(tried) + 1} of at most {_CANDIDATES}: {method}, {len(keep)} layers in floating point")
            candidate = work.score(method, changed, replace(options, keep=keep), floating, expected, counted)
            tried.append(candidate)
            say(described(candidate, criteria))
            if candidate.is_good(criteria):
                break
        best = min(tried, key=lambda c: (not c.is_good(criteria), c.harm))
        if not best.is_good(criteria) and not criteria.force:
            figures = "; ".join(described(c, criteria) for c in tried)
            raise AcceptanceFailed(
                f"no {precision} file of {model} for {runtime} is worse by at most {criteria.max_drop} in "
                f"{criteria.metric} and faster than its float32 twin: {figures}. Allow more with --max-drop, take "
                "another runtime or precision, or --force the best of these"
            )
        chosen = best.path
        if frame is not None:
            chosen = work.compiled(best.net, replace(options, keep=best.keep, frame=frame))
        near = work.agreement(best.path, floating)
        report = _report(net.spec.name, chosen, best, floating, expected, tried, criteria, len(samples))
        move(chosen.parent, chosen, out)
    return replace(
        report,
        metrics={**report.metrics, **near},
        context={**report.context, "sensitivity": harm, "runtime": runtime, "precision": precision, "file": str(out)},
    )


def of_task(criteria: AcceptanceCriteria, task: Task) -> AcceptanceCriteria:
    """The criteria with the task's protocol and metric where they have those of depth by default."""
    if criteria.protocol != DEPTH.protocol:
        return criteria
    metric = task.metric if criteria.metric == DEPTH.metric else criteria.metric
    return replace(criteria, protocol=task.protocol, metric=metric)


def described(candidate: Candidate, criteria: AcceptanceCriteria) -> str:
    """One line: how it was made, what it loses, how fast it is."""
    kept = f", {len(candidate.keep)} layers kept in float" if candidate.keep else ""
    speed = f"{1 / candidate.ratio:.2f} times as fast as float32"
    if math.isinf(candidate.drop):
        return f"{candidate.method}{kept}: fails on images that float32 can be measured on, {speed}"
    change = -candidate.drop if criteria.metric in HIGHER_IS_BETTER else candidate.drop
    return f"{candidate.method}{kept}: {criteria.metric} {change:+.4f}, {speed}"


def _candidates(
    net: Net, options: CompileOptions, ranked: Sequence[str], tried: Sequence[Candidate]
) -> Iterator[tuple[str, Net, tuple[str, ...]]]:
    """(method, net, layers to keep) of each candidate; later ones look at how the earlier ones did.

    `ranked` are the layers, the most sensitive first.
    """
    yield "all layers", net, ()
    if options.precision != "int8":
        return
    folded = fold(net)
    nets = {"all layers": net, "equalised, biases corrected": equalized(folded)}
    nets["equalised, biases corrected"] = with_corrected_biases(
        nets["equalised, biases corrected"], options.calibration[:_RANKED_ON]
    )
    yield "equalised, biases corrected", nets["equalised, biases corrected"], ()
    better = min(tried[:2], key=lambda c: c.harm).method
    n = 1
    while n < len(ranked) and n <= 16:
        yield better, nets[better], tuple(ranked[:n])
        n *= 2


class _Work:
    """The folder in which candidates are made, and how they are measured."""

    def __init__(
        self, module: Backend, spec: Spec, samples: Dataset, criteria: AcceptanceCriteria, folder: Path, name: str
    ) -> None:
        self.module, self.spec, self.samples, self.criteria = module, spec, samples, criteria
        self.folder, self.name = folder, name

    def compiled(self, net: Net, options: CompileOptions) -> Path:
        place = Path(tempfile.mkdtemp(dir=self.folder))
        example = torch.zeros(1, 3, *self.spec.preprocess.size)
        return self.module.compile(net, example, place / self.name, options)

    def metrics(self, path: Path) -> tuple[dict[str, float], int]:
        """The file's metrics, and on how many images it could be measured."""
        run, how = self.module.load(path, self.criteria.threads), self.spec.preprocess

        def predict(frame: np.ndarray) -> Answer:
            return answer(run(prepare(frame, how)), (frame.shape[0], frame.shape[1]), self.spec.head, how)

        report = evaluate(predict, self.samples, self.criteria.protocol)
        return dict(report.metrics), report.n or 0

    def agreement(self, path: Path, floating: Path) -> dict[str, float]:
        """`core.agreement` of two files on the first samples, at the net's own resolution."""
        low, high = (self.module.load(one, self.criteria.threads) for one in (path, floating))
        shown = [prepare(self.samples[i].image, self.spec.preprocess) for i in evenly(_COMPARED_ON, len(self.samples))]
        near = agreement_of(self.spec.head.kind)
        return mean_agreement([near(low(x), high(x)) for x in shown])

    def score(
        self, method: str, net: Net, options: CompileOptions, floating: Path, expected: dict[str, float], counted: int
    ) -> Candidate:
        path, metric = self.compiled(net, options), self.criteria.metric
        try:
            found, n_measured = self.metrics(path)
        except BadData:  # no image could be compared
            found, n_measured = {}, 0
        low, high = (self.module.load(p, self.criteria.threads) for p in (path, floating))
        times = measure({options.precision: self._call(low), "fp32": self._call(high)}, at_most_s=30)
        drop = worse_by(metric, expected[metric], found[metric]) if n_measured >= counted else math.inf
        ratio = times[options.precision].median / times["fp32"].median
        return Candidate(method, net, options.keep, path, drop, ratio, found, times)

    def _call(self, run: Runner) -> Callable[[], object]:
        image = np.full((1, 3, *self.spec.preprocess.size), 0.5, np.float32)
        return lambda: run(image)


def _report(
    name: str,
    chosen: Path,
    best: Candidate,
    floating: Path,
    expected: dict[str, float],
    tried: Sequence[Candidate],
    criteria: AcceptanceCriteria,
    n: int,
) -> Report:
    rows: list[dict[str, Any]] = [
        {"method": c.method, "keep": list(c.keep), "drop": c.drop, "ratio": c.ratio, "metrics": c.metrics}
        for c in tried
    ]
    sizes = {key: sum(f.stat().st_size for f in files_of(p)) for key, p in (("", chosen), ("_float", floating))}
    return Report(
        name,
        protocol=criteria.protocol,
        n=n,
        metrics={**best.metrics, f"{criteria.metric}_float": expected[criteria.metric], "drop": best.drop},
        cost={f"bytes{key}": size for key, size in sizes.items()},
        latency_ms={key: times.median for key, times in best.times.items()} | {"ratio": best.ratio},
        context={
            "method": best.method,
            "keep": list(best.keep),
            "forced": not best.is_good(criteria),
            "candidates": rows,
        },
    )
