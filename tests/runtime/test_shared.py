"""One Predictor for several threads and processes: the maps of a single thread, or a sentence, never something else."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from support.tiny_runtime_nets import SIZE, Made, copied, small_net

from leadline.core.errors import BadArtefact
from leadline.core.spec import Decoder, Encoder, Preprocess, Spec
from leadline.predict.predictor import Predictor, load_predictor
from leadline.runtime import BACKENDS, backend
from leadline.runtime import conversion as converter
from leadline.runtime import runner as calls
from leadline.runtime.manifest import Manifest
from leadline.runtime.options import CompileOptions

QUICK = ("eager", "onnx", "openvino", "ncnn")  # the compilers of the others take their time
RNG = np.random.default_rng(0)
FRAMES = [RNG.integers(0, 256, (*SIZE, 3), dtype=np.uint8) for _ in range(6)]
CARD = Manifest(
    Spec("any", Encoder("none", ()), Decoder("none", ()), preprocess=Preprocess((2, 3))), "any", "fp32", (2, 3)
)
INPUT = np.zeros((1, 3, 2, 3), np.float32)


def in_two_threads(predictor: Predictor, n: int = 300) -> list[str]:
    """What went wrong when two threads asked `n` times each about the FRAMES, beside what one thread gets."""
    expected = [predictor(frame).values for frame in FRAMES]
    wrong: list[str] = []

    def ask(first: int) -> None:
        for i in range(first, first + n):
            try:
                if not np.array_equal(predictor(FRAMES[i % 6]).values, expected[i % 6]):
                    wrong.append("another map")
            except Exception as error:
                wrong.append(repr(error))

    threads = [threading.Thread(target=ask, args=(first,)) for first in (0, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return wrong


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in BACKENDS])
def test_two_threads_get_the_maps_that_one_thread_gets(name: str, made: Made) -> None:
    assert in_two_threads(load_predictor(made(name), threads=1)) == []


@pytest.mark.parametrize("name", ["openvino", "ncnn"])
def test_so_they_do_with_whole_frames_and_mirrored_pictures(name: str, made: Made) -> None:
    predictor = load_predictor(made(name, frame=SIZE), threads=1)
    assert in_two_threads(dataclasses.replace(predictor, flip=True), n=100) == []


def any_runner(call: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    return calls.runner(CARD, call)


def test_calls_take_turns_and_a_failed_one_lets_the_next_in() -> None:
    inside: list[int] = []
    seen: list[int] = []

    def call(images: np.ndarray) -> np.ndarray:
        inside.append(1)
        seen.append(len(inside))
        threading.Event().wait(0.002)
        inside.pop()
        if len(seen) == 1:
            raise RuntimeError("Infer Request is busy")
        return np.zeros((1, 1, 2, 3), np.float32)

    run = any_runner(call)
    with pytest.raises(BadArtefact, match="the any file of any fails while it runs: Infer Request is busy"):
        run(INPUT)
    threads = [threading.Thread(target=run, args=(np.repeat(INPUT, 3, axis=0),)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert seen == [1] * 10


@pytest.mark.parametrize("shape", [(1, 2, 2, 3), (2, 3), (2, 1, 2, 3)])
def test_an_output_that_is_no_map_is_refused(shape: Sequence[int]) -> None:
    with pytest.raises(BadArtefact, match="one map, float32"):
        any_runner(lambda images: np.zeros(shape, np.float32))(INPUT)


def test_two_threads_that_load_at_once_leave_the_output_as_it_was(capfd: pytest.CaptureFixture[str]) -> None:
    met = threading.Barrier(2, timeout=0.2)

    def silent() -> None:
        with converter.quiet():
            print("unheard")
            with contextlib.suppress(threading.BrokenBarrierError):
                met.wait()  # never both inside

    threads = [threading.Thread(target=silent) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print("heard")
    assert capfd.readouterr().out == "heard\n"


@pytest.mark.parametrize("name", ["eager", "onnx"])
def test_a_pickled_predictor_is_loaded_anew_and_gives_the_same(name: str, made: Made) -> None:
    predictor = dataclasses.replace(load_predictor(made(name), threads=1), flip=True)
    other = pickle.loads(pickle.dumps(predictor))
    assert (other.flip, other.manifest, other.head) == (True, predictor.manifest, predictor.head)
    assert np.array_equal(other(FRAMES[0]).values, predictor(FRAMES[0]).values)
    assert copy.deepcopy(predictor).runner is predictor.runner


@pytest.mark.slow
def test_a_pickled_predictor_whose_file_is_another_one_now_is_refused(made: Made, tmp_path: Path) -> None:
    path = copied(made("onnx"), tmp_path)
    sent = pickle.dumps(load_predictor(path, threads=1))
    backend("onnx").compile(small_net(skip="cat"), torch.zeros(1, 3, *SIZE), path, CompileOptions())
    with pytest.raises(BadArtefact, match="no longer the file that was loaded"):
        pickle.loads(sent)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.parametrize("name", ["eager", "openvino"])
def test_a_forked_process_is_told_instead_of_waiting_for_ever(name: str, made: Made) -> None:
    code = (
        "import os, signal, numpy as np; from leadline.predict.predictor import load_predictor\n"
        f"predictor = load_predictor({str(made(name))!r}, threads=2)\n"
        "if os.fork() == 0:\n"
        "    signal.alarm(60)\n"
        f"    try: predictor(np.zeros(({SIZE[0]}, {SIZE[1]}, 3), np.uint8))\n"
        "    except Exception as error: print(type(error).__name__, error, flush=True)\n"
        "    os._exit(0)\n"
        "print(os.wait()[1])"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert "NoRuntime the model was loaded before this process was forked" in done.stdout, done.stderr
    assert done.stdout.strip().endswith("\n0")
