"""What glibc does with memory that is freed while a net is trained."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Numbers of mallopt's parameters, from malloc.h."""


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Inside, freed memory stays with the process: getting it back page by page takes a fifth of a step on a CPU.

    This is a setting of the whole process (mallopt). Afterwards the thresholds are those that glibc itself comes to
    once large blocks were freed, and unused memory goes back to the system. Another C library: nothing is set.
    """
    _set_thresholds(1 << 30, (1 << 31) - 1)
    try:
        yield
    finally:
        _set_thresholds(32 << 20, 64 << 20)
        with suppress(OSError, AttributeError):
            ctypes.CDLL("libc.so.6").malloc_trim(0)


def _set_thresholds(mmap: int, trim: int) -> None:
    """Blocks from `mmap` bytes on are mapped one by one; `trim` unused bytes at the end of the heap are given back."""
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(_MMAP_THRESHOLD, mmap)
        libc.mallopt(_TRIM_THRESHOLD, trim)
