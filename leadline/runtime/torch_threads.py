"""The number of PyTorch's threads, which is one for the whole process: who sets it puts it back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def torch_threads(n: int | None = None) -> Iterator[None]:
    """Inside, PyTorch computes with `n` threads (None: as many as now); afterwards with as many as before."""
    before = torch.get_num_threads()
    try:
        if n is not None:
            torch.set_num_threads(n)
        yield
    finally:
        torch.set_num_threads(before)


def use_threads(n: int) -> None:
    """Set the number to `n` for good, if it is another: a Runner calls this before it runs, since one that was loaded
    with another number may have run in between. It does not put it back, which would cost time in every call.
    """
    if torch.get_num_threads() != n:
        torch.set_num_threads(n)
