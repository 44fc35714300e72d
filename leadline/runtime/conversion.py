"""Around every converter: options are checked, its output is hidden, and its failure becomes one sentence."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from leadline.core.errors import ExportFailed, LeadlineError
from leadline.core.quiet import quiet
from leadline.core.text import reason
from leadline.runtime.options import CompileOptions, Precision


def check(runtime: str, options: CompileOptions, precisions: Sequence[Precision], *, tunes: bool = False) -> None:
    """ValueError if `runtime`, which makes files of `precisions`, cannot do what is asked. `tunes`: it has a tuner."""
    if options.precision not in precisions:
        raise ValueError(f"{runtime} makes no {options.precision} files; it makes {', '.join(precisions)}")
    if options.precision == "int8" and not len(options.calibration):
        raise ValueError("int8 needs calibration: network inputs float32 [1,3,h,w] from which ranges are learned")
    if not tunes and (options.trials or options.tuning is not None):
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
            f"to make files for {runtime}, {error.name} is needed: pip install 'leadline[{runtime}-export]'"
        ) from error
    except Exception as error:  # converters raise nearly anything
        raise ExportFailed(f"{runtime} cannot convert this net: {type(error).__name__}: {reason(error)}") from error
