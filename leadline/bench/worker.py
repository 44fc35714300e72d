"""A process that measures one file: `python -m leadline.bench.worker CORES`, JSON lines in, JSON lines out.

Each line is an object with `do`, the name of a function of JOBS, and that function's arguments. The answer holds what
the function returns, or `error`. CORES are the numbers of the cores to stay on, with commas between, or `any`.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from leadline.core.answers import answer
from leadline.core.errors import LeadlineError
from leadline.core.preprocess import Runner, prepare, restore
from leadline.core.spec import Head, Preprocess, from_json
from leadline.core.tasks import protocol_for, reading_for
from leadline.core.timing import no_collection, one, repeat
from leadline.runtime.options import NOTHING_SAID, ExternalModel

Size = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Loaded:
    """The file under test: a function, how a frame becomes its input, the frame's size if it takes frames, and what its
    numbers mean.
    """

    run: Runner
    how: Preprocess
    frame: Size | None
    head: Head


_loaded: list[Loaded] = []  # the one file of this process


def load(
    file: str,
    threads: int,
    size: Size | None,
    external: dict[str, Any] | None = None,
    prepared_as: dict[str, Any] | None = None,
    device: str = "cpu",
) -> dict[str, Any]:
    """Load the file, which may be a checkpoint, and call it once. `load_ms` has the import of its runtime in it.

    `external` is what is said of a file of another program; `prepared_as` is the Preprocess of the net to compare it
    with, whose way to cut and resize it then takes.
    """
    path, precision = Path(file), {}
    start = perf_counter()
    if path.suffix == ".safetensors":
        from leadline.nn.checkpoint import load as load_net
        from leadline.runtime import check_device
        from leadline.runtime.backends.eager import runner

        check_device("eager", device)
        net = load_net(path).to(device)
        run, how, frame, head = runner(net, threads), net.spec.preprocess, None, net.spec.head
        how = dataclasses.replace(how, size=size or how.size)
    elif external is not None:
        from leadline.runtime.external import open_external

        run, found = open_external(path, from_json(ExternalModel, external), threads, device)
        how = found.preprocess if prepared_as is None else from_json(Preprocess, prepared_as)
        how, frame, precision = dataclasses.replace(how, size=found.size), None, {"precision": found.precision}
        head = found.head
    else:
        from leadline.runtime import load as load_artefact

        run, manifest = load_artefact(path, threads, device)
        how, frame = dataclasses.replace(manifest.spec.preprocess, size=manifest.size), manifest.frame
        head = manifest.spec.head
    load_ms = (perf_counter() - start) * 1000
    _loaded.append(Loaded(run, how, frame, head))
    given = _input(_loaded[0])
    return {"load_ms": load_ms, "first_ms": one(lambda: run(given)), "size": how.size, **precision}


def calls(n: int, warmup: int) -> dict[str, list[float]]:
    """Milliseconds of `n` calls of the file alone, after `warmup` unmeasured ones."""
    given = _input(_loaded[0])
    return {"ms": repeat(lambda: _loaded[0].run(given), n, warmup)}


def whole(n: int, warmup: int, frame: Size) -> dict[str, list[float]]:
    """Milliseconds of `n` ways from a frame uint8 [H,W,3] to depth [H,W] or classes: the three parts, and all of it."""
    run, how, own_frame = _loaded[0].run, _loaded[0].how, _loaded[0].frame
    picture = _picture(own_frame or frame)
    parts: dict[str, list[float]] = {part: [] for part in ("preprocess", "inference", "postprocess", "end_to_end")}
    with no_collection():
        for turn in range(warmup + n):
            times = [perf_counter()]
            given = prepare(picture, how) if own_frame is None else picture[None]
            times.append(perf_counter())
            output = run(given)
            times.append(perf_counter())
            if own_frame is None:
                answer(output, frame, _loaded[0].head, how)
            times.append(perf_counter())
            if turn >= warmup:
                spans = [*np.diff(times), times[-1] - times[0]]
                for part, seconds in zip(parts, spans, strict=True):
                    parts[part].append(float(seconds) * 1000)
    return parts


def outputs(frames: str, out: str, restored: bool) -> dict[str, Any]:
    """Write the depth of the frames uint8 [N,H,W,3] of one .npy file to another: the net's, or `restored` to frames."""
    run, how, own_frame = _loaded[0].run, _loaded[0].how, _loaded[0].frame
    depths = []
    for picture in np.load(frames):
        output = run(prepare(picture, how) if own_frame is None else picture[None])
        if _loaded[0].head.classes:  # scores, which are compared as they are
            depths.append(output[0])
            continue
        depth = output[0, 0]
        depths.append(restore(depth, picture.shape[:2], how)[0] if restored and own_frame is None else depth)
    np.save(out, np.stack(depths))
    return {}


def memory() -> dict[str, float | None]:
    """The most memory that this process has held at once, in MiB."""
    status = Path("/proc/self/status")
    if status.exists() and (found := re.search(r"VmHWM:\s+(\d+) kB", status.read_text())):
        return {"peak_mib": int(found[1]) / 1024}  # not getrusage: its peak includes the parent's memory at the fork
    try:
        import resource
    except ImportError:  # Windows
        return {"peak_mib": None}
    return {
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)
    }


def metrics(
    file: str,
    threads: int,
    data: str,
    split: str,
    protocol: str,
    limit: int | None,
    size: tuple[int, int] | None = None,
    external: dict[str, Any] | None = None,
    device: str = "cpu",
    allow_code: bool = False,
) -> dict[str, Any]:
    """The accuracy of the file on the first `limit` images of a data set, exactly as `leadline val` finds it.

    A checkpoint runs at input `size` where that is given; an exported file has its own.
    """
    from leadline.data.dataset import subset
    from leadline.data.layouts.detect import open_dataset
    from leadline.evaluation.evaluate import evaluate
    from leadline.predict.predictor import load_predictor

    external_model = NOTHING_SAID if external is None else from_json(ExternalModel, external)
    predictor = load_predictor(file, threads=threads, device=device, external=external_model)
    how = reading_for(predictor.head.kind) | ({"allow_code": True} if allow_code else {})
    samples = open_dataset(Path(data), split, **how)
    samples = subset(samples, range(min(limit or len(samples), len(samples))))
    if size is not None and predictor.manifest is None:
        seen = dataclasses.replace(predictor.preprocess, size=(size[0], size[1]))
        predictor = dataclasses.replace(predictor, preprocess=seen)
    report = evaluate(predictor.answer, samples, protocol_for(predictor.head.kind, protocol))
    return {"metrics": dict(report.metrics), "n_images": report.n}


def export(
    model: str, runtime: str, size: Size | None, options: dict[str, Any], calibration: str | None, n_images: int
) -> dict[str, Any]:
    """The exported file, made now unless an earlier one is kept; `options` are fields of CompileOptions."""
    from leadline.nn.checkpoint import load as load_net
    from leadline.runtime.export import calibration as pictures_for
    from leadline.runtime.export import export as export_model
    from leadline.runtime.options import CompileOptions

    if calibration is not None:
        how = load_net(model).spec.preprocess
        options["calibration"] = pictures_for(calibration, dataclasses.replace(how, size=size or how.size), n_images)
    if options.get("tuning"):
        options["tuning"] = Path(options["tuning"])
    start = perf_counter()
    path = export_model(model, runtime, options=CompileOptions(**options), size=size)
    return {"file": str(path), "export_s": perf_counter() - start}


def on_device(runtime: str, device: str) -> dict[str, Any]:
    """Nothing; an error if the runtime cannot compute there."""
    from leadline.runtime import check_device

    check_device(runtime, device)
    return {}


def peaks(threads: int) -> dict[str, float]:
    """See `roofline.peaks`."""
    from leadline.bench.roofline import peaks as machine_peaks

    return machine_peaks(threads)


JOBS: dict[str, Callable[..., dict[str, Any]]] = {
    job.__name__: job for job in (load, calls, whole, outputs, memory, metrics, export, on_device, peaks)
}


def main(cores: str) -> None:
    """Answer until standard input ends."""
    _die_with_parent()
    if cores != "any":
        os.sched_setaffinity(0, [int(core) for core in cores.split(",")])
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # answers go to the real stdout; what runtimes print goes to stderr
    for line in sys.stdin:
        request = {key: tuple(v) if isinstance(v, list) else v for key, v in json.loads(line).items()}
        job = JOBS[str(request.pop("do"))]
        try:
            answer = job(**request)
        except (LeadlineError, ValueError) as error:
            answer = {"error": str(error)}
        except Exception as error:  # a row with an error, not an end of the benchmark
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


def _input(loaded: Loaded) -> np.ndarray:
    if loaded.frame is not None:
        return _picture(loaded.frame)[None]
    return prepare(_picture(loaded.how.size), loaded.how)


def _picture(size: Size) -> np.ndarray:
    """A frame uint8 [H,W,3] in which no value is special: zeros and constants are quicker than photographs."""
    return np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)


def _die_with_parent() -> None:
    """Linux ends this process when its parent ends, even while it is stopped."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # 1: PR_SET_PDEATHSIG


if __name__ == "__main__":
    main(sys.argv[1])
