"""What leadline's call around a runtime costs: checks and copies, against the bare call of the very same session.

    python benchmarks/runtime_overhead.py [--runtimes onnx,openvino] [--model fastdepth] [--pairs 300]

The two alternate, each pair in the other order (A B, B A), and what counts is the median of the pairs' differences,
since other work on the machine disturbs both calls of a pair alike; `+-` is how far that median may be off, and where
the verdict hangs on it, it is `unclear`: a busy machine. Each runtime has a process of its own.

The bound: 50 microseconds or 3 % of the bare call, whichever is larger. The bare call leads from a numpy array to where
the runtime leaves its output; that ours copies the output, so that it belongs to the caller, counts against us.
"""

from __future__ import annotations

import argparse
import inspect
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

BOUND_US, BOUND_PERCENT, WARM_UP = 50.0, 3.0, 20

Bare = Callable[[], object]


def held_by(run: Any) -> dict[str, Any]:
    """What the Runner's inner call holds by name: its session."""
    inner = inspect.getclosurevars(getattr(run, "run", run)).nonlocals
    return dict(inspect.getclosurevars(inner["call"]).nonlocals if "call" in inner else inner)


def eager(held: dict[str, Any], image: Any) -> Bare:
    import torch

    net, given = held["fixed"], torch.from_numpy(image).contiguous(memory_format=torch.channels_last)
    return torch.inference_mode()(lambda: net(given))


def inductor(held: dict[str, Any], image: Any) -> Bare:
    import torch

    model, given = held["model"], torch.from_numpy(image)
    return torch.inference_mode()(lambda: model(given))


def onnx(held: dict[str, Any], image: Any) -> Bare:
    session = held["session"]
    name = session.get_inputs()[0].name
    return lambda: session.run(None, {name: image})


def openvino(held: dict[str, Any], image: Any) -> Bare:
    # a second request of the same network: the first one writes into arrays that are the callers'
    request = held["request"].get_compiled_model().create_infer_request()
    return lambda: request.infer([image], share_inputs=True, share_outputs=True)


def tvm(held: dict[str, Any], image: Any) -> Bare:
    main, given = held["main"], held["held"]
    given.copyfrom(image)
    return lambda: main(given)


def litert(held: dict[str, Any], image: Any) -> Bare:
    interpreter = held["interpreter"]
    entry, exit_ = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

    def bare() -> object:
        interpreter.set_tensor(entry, image)
        interpreter.invoke()
        return interpreter.get_tensor(exit_)

    return bare


def executorch(held: dict[str, Any], image: Any) -> Bare:
    import torch

    method, given = held["program"].load_method("forward"), torch.from_numpy(image)
    return lambda: method.execute((given,))


def ncnn(held: dict[str, Any], image: Any) -> Bare:
    net, entry, window = held["net"], held["entry"], held["window"]
    window[...] = image[0]

    def bare() -> object:
        extractor = net.create_extractor()
        extractor.input("in0", entry)
        return extractor.extract("out0")

    return bare


BARE: dict[str, Callable[[dict[str, Any], Any], Bare]] = {
    make.__name__: make for make in (eager, inductor, onnx, openvino, tvm, litert, executorch, ncnn)
}


def compare(name: str, model: str, n_pairs: int) -> dict[str, float]:
    """Medians over pairs: microseconds of the bare call, and how many more ours takes; both from one session."""
    import numpy as np

    from leadline.core.timing import no_collection, one
    from leadline.runtime import installed
    from leadline.runtime.export import export

    path = export(model, name)
    run = installed(name).load(path, None)
    size = _size(path, model)
    image = np.random.default_rng(0).random((1, 3, *size), dtype=np.float32)
    bare = BARE[name](held_by(run), image)
    ours: list[float] = []
    bares: list[float] = []
    with no_collection():
        for pair in range(WARM_UP + n_pairs):
            turns: list[tuple[list[float], Bare]] = [(ours, lambda: run(image)), (bares, bare)]
            for seen, call in turns if pair % 2 else reversed(turns):
                ms = one(call)
                if pair >= WARM_UP:
                    seen.append(ms)
    apart = (np.array(ours) - np.array(bares)) * 1000
    low, median, high = np.percentile(apart, (25, 50, 75))
    # how far the median itself may be off: 1.57 quartile ranges over the root of n (McGill et al. 1978)
    return {
        "bare_us": float(np.median(bares)) * 1000,
        "more_us": float(median),
        "within_us": float(1.57 * (high - low) / n_pairs**0.5),
    }


def _size(path: Any, model: str) -> tuple[int, int]:
    from leadline.nn.checkpoint import load
    from leadline.runtime import read_manifest

    return load(model).spec.preprocess.size if path.suffix == ".safetensors" else read_manifest(path).size


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runtimes", default=",".join(BARE))
    parser.add_argument("--model", default="fastdepth")
    parser.add_argument("--pairs", type=int, default=300)
    parser.add_argument("--only", choices=BARE)
    given = parser.parse_args()
    if given.only:
        print(json.dumps(compare(given.only, given.model, given.pairs)))
        return
    from leadline.runtime import backend

    print(f"{'runtime':<11} {'bare ms':>8} {'more us':>8} {'+-':>6} {'more %':>7}  bound us")
    for name in given.runtimes.split(","):
        if (needed := backend(name).missing()) is not None:
            print(f"{name:<11} not installed; this brings it: {needed}")
            continue
        flags = ["--only", name, "--model", given.model, "--pairs", str(given.pairs)]
        done = subprocess.run(
            [sys.executable, "-W", "ignore", __file__, *flags], capture_output=True, text=True, check=False
        )
        if done.returncode:
            print(f"{name:<11} failed: {(done.stderr.strip().splitlines() or ['no word'])[-1][:200]}")
            continue
        found = json.loads(done.stdout.splitlines()[-1])
        bound = max(BOUND_US, found["bare_us"] * BOUND_PERCENT / 100)
        more, off = found["more_us"], found["within_us"]
        verdict = "within" if more + off <= bound else "above" if more - off > bound else "unclear"
        print(
            f"{name:<11} {found['bare_us'] / 1000:8.2f} {more:8.1f} {off:6.1f} "
            f"{100 * more / found['bare_us']:7.2f}  {verdict} {bound:.0f}"
        )


if __name__ == "__main__":
    main()
