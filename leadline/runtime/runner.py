"""The one check around every compiled call: it costs a few microseconds and turns a crash into a sentence."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np

from leadline.core.answers import n_channels
from leadline.core.errors import BadArtefact, LeadlineError, NoRuntime
from leadline.core.preprocess import Runner
from leadline.core.spec import Kind
from leadline.core.text import reason
from leadline.runtime.manifest import Manifest

FORKED = (
    "the model was loaded before this process was forked from another, and a runtime's threads do not follow: load it "
    "here, or start processes by 'spawn'"
)


def runner(
    manifest: Manifest, call: Callable[[np.ndarray], np.ndarray], lock: AbstractContextManager[object] | None = None
) -> Runner:
    """A Runner from `call`, which takes one contiguous input that fits the manifest and gives an array of its own.

    A batch runs image by image, since an artefact has batch 1. An input of another shape or type is a ValueError.

    Threads may share it: one call runs at a time, the others wait. `lock` is what they wait for where that is not the
    Runner's own: of a runtime that has one pool for the process, or `nullcontext()` for one that is safe by itself.

    What the runtime raises, and an output that is no map, is a BadArtefact. In a process that was forked after loading
    it is a NoRuntime: the runtime's threads do not follow, and the call would wait for them for ever.
    """
    shape = (3, *manifest.size) if manifest.frame is None else (*manifest.frame, 3)
    dtype = np.dtype(np.float32 if manifest.frame is None else np.uint8)
    turn: AbstractContextManager[object] = threading.Lock() if lock is None else lock
    home = os.getpid()

    def run(images: np.ndarray) -> np.ndarray:
        if images.shape[1:] != shape or images.dtype != dtype or not len(images):
            raise ValueError(f"the input is {images.dtype} {list(images.shape)}; {dtype} {['N', *shape]} is needed")
        if os.getpid() != home:
            raise NoRuntime(FORKED)
        images = np.ascontiguousarray(images)
        try:
            with turn:
                maps = [call(images[i : i + 1]) for i in range(len(images))] if len(images) > 1 else [call(images)]
        except (LeadlineError, MemoryError):
            raise
        except Exception as error:  # each runtime has its own
            raise BadArtefact(
                f"the {manifest.runtime} file of {manifest.spec.name} fails while it runs: {reason(error, 200)}; "
                "export it anew"
            ) from error
        n, whole = n_channels(manifest.spec.head), manifest.spec.head.kind == "classes"
        fits = maps[0].shape == (1, n) if whole else maps[0].ndim == 4 and maps[0].shape[:2] == (1, n)
        if not fits or maps[0].dtype != np.float32:
            raise BadArtefact(
                f"the {manifest.runtime} file of {manifest.spec.name} gives {maps[0].dtype} {list(maps[0].shape)}; "
                f"{_needed(n, manifest.spec.head.kind)} needed: "
                "its manifest belongs to another file"
            )
        return maps[0] if len(maps) == 1 else np.concatenate(maps)

    return run


class Loaded:
    """A Runner that can be pickled: where it arrives, `again(*given)` loads it anew. Copies are the same one."""

    def __init__(self, run: Runner, again: Callable[..., Runner], *given: object) -> None:
        self.run, self.again, self.given = run, again, given

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return self.run(images)

    def __reduce__(self) -> tuple[Callable[..., Runner], tuple[object, ...]]:
        return self.again, self.given

    def __copy__(self) -> Loaded:
        return self

    def __deepcopy__(self, memo: object) -> Loaded:
        return self


def _needed(n: int, kind: Kind) -> str:
    if kind in ("classes", "labels", "joint"):
        what = "depth and scores" if kind == "joint" else "scores"
        return f"{what}, float32 [1,{n}{'' if kind == 'classes' else ',h,w'}], are"
    return "one map, float32 [1,1,h,w], is"
