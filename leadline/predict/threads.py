"""How many threads a runtime gets where nobody says: as many as it takes by itself, or one if that is faster now."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

import numpy as np

from leadline.core.machine import THREADS_VARIABLE, usable_cores
from leadline.core.timing import one
from leadline.predict.predictor import Predictor

ENOUGH_IMAGES = 8
"""Fewer images are not worth a measurement."""
_ROUNDS, _AT_MOST_MS = 5, 1000.0
_CLEARLY = 0.9
_SIDE_BY_SIDE = ("eager", "onnx", "openvino", "litert", "ncnn")
"""Runtimes of which two runners with different threads may live in one process; the others share one pool."""


def load_with_fast_threads(load: Callable[[int | None], Predictor], n_images: int) -> tuple[Predictor, str]:
    """(what `load` opens, given a number of threads or None for the runtime's own choice; why, if that is one thread).

    Threads that share their cores with other programs wait for each other: on a busy machine two threads took 2.4 s
    where one took 0.17 s. So both are called some times in turns, and one thread is taken if it needs less than 0.9 of
    the time. With one core, few images, or a runtime whose threads are the whole process's, nothing is measured.
    """
    many = load(None)
    if usable_cores() == 1 or n_images < ENOUGH_IMAGES or many.runtime not in _SIDE_BY_SIDE:
        return many, ""
    if many.runtime == "eager":  # without a number it would go on with that of the other, which is the process's
        import torch

        if (n_threads := torch.get_num_threads()) == 1:
            return many, ""
        many = load(n_threads)
    single = load(1)
    picture = np.full((*(many.frame or many.preprocess.size), 3), 128, np.uint8)
    times: dict[str, list[float]] = {"many": [], "single": []}
    while len(times["many"]) < _ROUNDS and sum(map(sum, times.values())) < _AT_MOST_MS:
        times["many"].append(one(lambda: many.answer(picture)))
        times["single"].append(one(lambda: single.answer(picture)))
    all_cores, alone = median(times["many"]), median(times["single"])
    if alone >= _CLEARLY * all_cores:
        return many, ""
    why = (
        f"1 thread for {usable_cores()} cores: a picture takes {alone:.3g} ms, with more threads {all_cores:.3g} ms; "
        f"--threads or {THREADS_VARIABLE} says otherwise"
    )
    return single, why
