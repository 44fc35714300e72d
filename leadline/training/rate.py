"""How fast a training goes, and how much of its time it waits for batches."""

from __future__ import annotations

import time


class Rate:
    """How the time goes, without the first step, which sets up workers and kernels."""

    def __init__(self) -> None:
        self.started: float | None = None
        self.images = 0
        self.waited_s = self.worked_s = self.now = 0.0

    def begin(self) -> None:
        """Call before the next batch is fetched."""
        self.now = time.perf_counter()

    def got(self, images: int) -> None:
        """A batch has come."""
        now = time.perf_counter()
        if self.started is not None:
            self.waited_s += now - self.now
            self.images += images
        self.now = now

    def end(self) -> None:
        """Its step is done."""
        now = time.perf_counter()
        if self.started is None:
            self.started = now
        else:
            self.worked_s += now - self.now

    @property
    def mean(self) -> float:
        """Images per second over the whole run, with saving and validating."""
        return self.images / (time.perf_counter() - self.started) if self.started and self.images else 0.0

    @property
    def waiting(self) -> float:
        """Part of the time in the loop's steps that went into waiting for batches."""
        return self.waited_s / (self.waited_s + self.worked_s) if self.images else 0.0
