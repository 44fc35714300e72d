"""From words typed to a function call: finds the verb, makes its flags from its signature, and reports what fails.

What fails ends with a non-zero exit code and one line on standard error; LEADLINE_DEBUG=1 shows the traceback instead.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import io
import itertools
import math
import os
import re
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from json import dumps
from pathlib import Path
from typing import Any, Union

import tyro

from leadline import __version__
from leadline.cli.resume import with_options_of_run
from leadline.core.errors import LeadlineError, Lost, plainly
from leadline.core.progress import QUIET_VARIABLE
from leadline.core.progress import command as one_command
from leadline.core.progress import progress as progress
from leadline.core.text import shown, split_list

Verb = Callable[..., int]
Verbs = Mapping[str, Union[Verb, "Verbs"]]
"""Name -> a function that returns an exit code, or further verbs. A function's docstring is its help."""


def run(verbs: Verbs, argv: Sequence[str]) -> int:
    """Run one command; the exit code: 0 done, 1 failed, 2 not understood, 130 interrupted."""
    for stream in (sys.stdout, sys.stderr):  # a name that a terminal cannot show must not stop the work
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    warnings.formatwarning = _one_line
    try:
        with one_command(quiet=bool(_QUIET & set(argv))):
            code = _run(verbs, [word for word in argv if word not in _QUIET])
        sys.stdout.flush()  # while a reader that has gone can still be dealt with
        return code
    except KeyboardInterrupt:
        warn("interrupted")
        return 130
    except BrokenPipeError:  # the reader, such as `head`, has gone; Python must not flush into the pipe again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (LeadlineError, ValueError, OSError) as error:
        if os.environ.get("LEADLINE_DEBUG"):
            raise
        warn(plainly(error))
        return 1
    except Exception as error:  # not foreseen: still one line, and the way to more
        if os.environ.get("LEADLINE_DEBUG"):
            raise
        warn(f"{type(error).__name__}: {error} (this is a fault of leadline; LEADLINE_DEBUG=1 shows where)")
        return 1


_QUIET = {"--quiet", "-q"}
"""Flags of every verb."""


def _run(verbs: Verbs, args: list[str]) -> int:
    words = ["leadline"]
    while True:
        first = args.pop(0) if args else "--help"
        if first in ("-h", "--help"):
            print(_overview(verbs, " ".join(words)))
            return 0
        if first == "--version" and len(words) == 1:
            print(f"leadline {__version__}")
            return 0
        if first not in verbs:
            near = difflib.get_close_matches(first, verbs, n=3) or list(verbs)
            warn(f"there is no {' '.join([*words[1:], 'verb'])} {first!r}; nearest: {', '.join(near)}")
            return 2
        words.append(first)
        found = verbs[first]
        if callable(found):
            return _parse(found, " ".join(words), args)()
        verbs = found


def _parse(verb: Verb, prog: str, args: Sequence[str]) -> Callable[[], int]:
    """The verb with its arguments bound, to be called where its own errors are not taken for the parser's."""

    args = _with_new_flags([_at_home(word) for word in args])
    if prog.split()[-1] in TRAINING_VERBS:
        args = [_in_full(word) for word in args]
        verb = with_options_of_run(verb, args)

    @functools.wraps(verb)
    def bind(*positional: Any, **flags: Any) -> Any:
        return functools.partial(verb, *positional, **flags)

    flags = [word.partition("=")[0] for word in args if re.match(r"--?[a-zA-Z]", word)]
    for flag in dict.fromkeys(flag for i, flag in enumerate(flags) if flag in flags[:i]):
        warn(f"{flag} is given twice, and the last counts; several values go behind one")
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            bound: Callable[[], int] = tyro.cli(bind, prog=prog, args=args, config=(tyro.conf.FlagCreatePairsOff,))
            return bound
    except SystemExit as stop:
        if not stop.code:  # --help
            return lambda: 0
    # tyro draws a box, of lines or of dashes: a title, then the reason up to a rule or an empty line.
    lines = [line.strip("│ ") for line in said.getvalue().splitlines()[1:]]
    reason = itertools.takewhile(_has_text, itertools.dropwhile(lambda line: not _has_text(line), lines))
    warn(f"{' '.join(reason)} (see {prog} --help)")
    return lambda: 2


OLD_FLAGS = {
    "--asking.foreign.": "--external.",
    "--asking.": "--",
    "--foreign.": "--external.",
    "--truth": "--label-weight",
    "--trust": "--min-confidence",
    "--ramped": "--warmup-distill",
    "--teach": "--distill-weight",
    "--fresh": "--reinit",
    "--again": "--retry-skipped",
    "--choose": "--val-every",
    "--imgsz": "--size",
    "--fit.still-after": "--fit.freeze-bn-after",
    "--masks.fit.still-after": "--masks.fit.freeze-bn-after",
    "--netadapt.short.still-after": "--netadapt.short.freeze-bn-after",
    "--masks.price": "--masks.regulariser",
    "--masks.steered": "--masks.controlled",
    "--masks.reach-at": "--masks.target-at",
    "--masks.speed": "--masks.lr-scale",
}
"""A flag of the release before -> the flag now, until the next release; one that ends in "." is a beginning."""


TRAINING_VERBS = ("train", "distill", "prune")
SHORT_FLAGS = {"--lr": "--fit.lr", "--steps": "--fit.steps"}
"""What people type for flags of the training."""


def _in_full(word: str) -> str:
    flag, equals, value = word.partition("=")
    return f"{SHORT_FLAGS.get(flag, flag)}{equals}{value}"


def new_flag(flag: str) -> str:
    """The flag as it is called now; `--no-` forms and underscores as in `OLD_FLAGS`."""
    plain = flag.replace("_", "-")
    for old, new in OLD_FLAGS.items():
        if old.endswith(".") and plain.startswith(old):
            return new + plain[len(old) :]
        if plain == old:
            return new
        if plain == _negated(old):
            return _negated(new)
    return flag


def _negated(flag: str) -> str:
    """`--masks.no-controlled` of `--masks.controlled`."""
    before, dot, name = flag[2:].rpartition(".")
    return f"--{before}{dot}no-{name}"


def _with_new_flags(args: Sequence[str]) -> list[str]:
    """The arguments with the old flags as they are called now; each is named on standard error."""
    found = []
    for word in args:
        flag, equals, value = word.partition("=")
        new = new_flag(flag) if flag.startswith("--") else flag
        if new != flag:
            warn(f"{flag} is now {new}; the old name goes with the next release")
        found.append(f"{new}{equals}{value}")
    return found


def _at_home(word: str) -> str:
    """The word with the user's own folder for a leading `~`, which no shell puts behind `--flag=`; see `at_home`."""
    flag, equals, value = word.partition("=")
    return f"{flag}{equals}{at_home(value)}" if flag.startswith("--") and equals else at_home(word)


def at_home(path: str) -> str:
    """`~/x` as a path below the user's own folder, unless something is called so."""
    return os.path.expanduser(path) if path == "~" or (path[:2] == "~/" and not os.path.lexists(path)) else path


def names(text: str | None, flag: str) -> tuple[str, ...]:
    """What stands between the commas of a flag's value, each once, without blanks; None: nothing.

    ValueError if a value was given and names nothing.
    """
    found = split_list(text or "")
    if text is not None and not found:
        raise ValueError(f"--{flag} is {text!r} and names nothing; one or more names with commas between are needed")
    return found


def check_writable(path: Path) -> None:
    """A ValueError if a file could not be written at `path`; nothing is made or changed, so that a run that fails later
    leaves no empty file.
    """
    if path.is_dir():
        raise ValueError(f"{path} is a folder; a file is needed")
    above = next((folder for folder in path.absolute().parents if os.path.lexists(folder)), Path("/"))
    if not above.is_dir():
        raise ValueError(f"{path} cannot be written: {above} is no folder")
    if not os.access(path if path.exists() else above, os.W_OK):
        raise ValueError(f"{path} cannot be written: permission denied")


def write_whole(path: Path, text: str) -> None:
    """Put `text` into the file in one step, so that an old one is whole until the new one is; names that are no UTF-8
    are written out. Into a pipe or a device it goes as it is.
    """
    from leadline.core.storage import write_atomically

    content, place = text.encode("utf-8", "backslashreplace"), Path(os.path.realpath(path))
    if (place.exists() and not place.is_file()) or (place.is_file() and not os.access(place.parent, os.W_OK)):
        place.write_bytes(content)
    else:
        write_atomically(place, content)


def _has_text(line: str) -> bool:
    return bool(line.strip("─-╰╯ "))


def _overview(verbs: Verbs, prog: str) -> str:
    rows = [f"usage: {prog} {{{','.join(verbs)}}} ...", ""]
    for name, verb in verbs.items():
        text = (verb.__doc__ or "").splitlines()[0] if callable(verb) else f"Data sets: {', '.join(verb)}."
        rows.append(f"  {name:<9} {text}")
    return "\n".join(
        [
            *rows,
            "",
            f"{prog} VERB --help shows the flags of a verb.",
            f"--quiet, or {QUIET_VARIABLE}=1: on standard error nothing but warnings and errors, and no closing line.",
        ]
    )


def print_json(facts: Mapping[str, Any]) -> None:
    """Print the one JSON object of `--json`, made `storable`."""
    print(dumps(storable(facts), allow_nan=False))


def storable(value: Any) -> Any:
    """The value as JSON has it: tuples as lists, and numbers that it does not have, such as NaN, as null."""
    if isinstance(value, Mapping):
        return {key: storable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [storable(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


_python_writes = warnings.formatwarning


def _one_line(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """A warning of ours as `warn` has it, any other as Python writes it."""
    if issubclass(category, Lost):
        return f"leadline: {' '.join(str(message).split())}\n"
    return _python_writes(message, category, filename, lineno, line)


def warn(message: str) -> None:
    """Print one line on standard error, in place of what `progress` has left on a terminal, without what would move the
    cursor.
    """
    progress("")
    print(f"leadline: {shown(' '.join(message.split()))}", file=sys.stderr)


def tell(note: str) -> None:
    """As `warn`, unless there is nothing to say."""
    if note:
        warn(note)
