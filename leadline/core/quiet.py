"""Silence: what other programs print while they work goes nowhere."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import TextIO

from leadline.core.progress import write_waiting

_SILENT = threading.RLock()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Nothing that is printed, logged or warned of inside is seen, also what comes from C++ or a child process.

    One thread at a time: of two, the second would take the first one's silence for what is to be brought back.
    """
    write_waiting()  # the person who waits shall know for what
    with _SILENT, contextlib.ExitStack() as undo:
        level = logging.root.manager.disable
        nowhere = _nowhere()
        for stream, number in ((sys.stdout, 1), (sys.stderr, 2)):
            stream.flush()
            undo.callback(_restore, os.dup(number), number)
            os.dup2(nowhere.fileno(), number)
        undo.enter_context(contextlib.redirect_stdout(nowhere))
        undo.enter_context(contextlib.redirect_stderr(nowhere))
        undo.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        undo.callback(logging.disable, level)
        logging.disable(logging.CRITICAL)
        yield


@functools.cache
def _nowhere() -> TextIO:
    """Never closed: a package that is first imported in silence may hold on to the stream for its log."""
    return open(os.devnull, "w")


def _restore(copy: int, number: int) -> None:
    os.dup2(copy, number)
    os.close(copy)
