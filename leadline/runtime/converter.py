"""Around every converter: what is asked for is checked, it works in silence, and its failure is one sentence."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from typing import TextIO

from leadline.errors import ExportFailed, LeadlineError
from leadline.options import CompileOptions, Precision


def check(runtime: str, options: CompileOptions, precisions: Sequence[Precision]) -> None:
    """A ValueError if `runtime`, which makes files of `precisions` and does not tune, cannot do what is asked."""
    if options.precision not in precisions:
        raise ValueError(f"{runtime} makes no {options.precision} files; it makes {', '.join(precisions)}")
    if options.precision == "int8" and not len(options.calibration):
        raise ValueError("int8 needs calibration: network inputs float32 [1,3,h,w] from which ranges are learned")
    if options.trials or options.tuning is not None:
        raise ValueError(f"{runtime} has nothing to tune; trials and a tuning folder are for tvm")


@contextlib.contextmanager
def converting(runtime: str) -> Iterator[None]:
    """`quiet`, and whatever fails inside becomes an ExportFailed of one sentence. leadline's own errors pass."""
    try:
        with quiet():
            yield
    except LeadlineError:
        raise
    except ImportError as error:
        raise ExportFailed(
            f"to make files for {runtime}, {error.name} is needed: pip install 'leadline[{runtime}]'"
        ) from error
    except Exception as error:  # converters raise nearly anything
        said = " ".join(str(error).split()) or "no reason given"
        reason = said if len(said) <= 300 else f"{said[:300]} ..."
        raise ExportFailed(f"{runtime} cannot convert this net: {type(error).__name__}: {reason}") from error


_SILENT = threading.RLock()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Nothing that is printed, logged or warned of inside is seen, also what comes from C++ or a child process.

    One thread at a time: of two, the second would take the first one's silence for what is to be brought back.
    """
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
