"""From words typed to a function call: finds the verb, makes its flags from its signature, and reports what fails.

What fails ends with a non-zero exit code and one line on standard error; LEADLINE_DEBUG=1 shows the traceback instead.
"""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import math
import os
import re
import sys
import textwrap
import warnings
from collections.abc import Callable, Mapping, Sequence
from json import dumps
from pathlib import Path
from typing import Any, Union

import tyro

from leadline import __version__
from leadline.cli.flag_names import SHORT_FLAGS, in_full, new_flag
from leadline.cli.resume import with_options_of_run
from leadline.cli.short_help import SHORT_HELP, WIDTH, all_flags, full_text, parser_of, short_text
from leadline.core.errors import LeadlineError, Lost, plainly
from leadline.core.packages import needing
from leadline.core.progress import QUIET_VARIABLE
from leadline.core.progress import command as one_command
from leadline.core.progress import progress as progress
from leadline.core.text import nearest, shown, split_list

Verb = Callable[..., int]
Verbs = Mapping[str, Union[Verb, "Verbs"]]
"""Name -> a function that returns an exit code, or further verbs. A function's docstring is its help."""
Groups = Mapping[str, tuple[str, ...]]
NO_GROUPS: Groups = {}


def run(verbs: Verbs, argv: Sequence[str], groups: Groups = NO_GROUPS) -> int:
    """Run one command; the exit code: 0 done, 1 failed, 2 not understood, 130 interrupted.

    `groups` are the titles under which the help shows the verbs.
    """
    for stream in (sys.stdout, sys.stderr):  # a name that a terminal cannot show must not stop the work
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    warnings.formatwarning = _one_line
    try:
        with one_command(quiet=bool(_QUIET & set(argv))):
            code = _run(verbs, [word for word in argv if word not in _QUIET], groups)
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


def _run(verbs: Verbs, args: list[str], groups: Groups) -> int:
    words = ["leadline"]
    while True:
        first = args.pop(0) if args else "--help"
        if first in ("-h", "--help"):
            print(_overview(verbs, " ".join(words), groups))
            return 0
        if first == "--version" and len(words) == 1:
            print(f"leadline {__version__}")
            return 0
        if first not in verbs:
            what, where = " ".join([*words[1:], "verb"]), " ".join(words)
            warn(f"there is no {what} {first!r}; {nearest(first, verbs)} (see {where} --help)")
            return 2
        words.append(first)
        found = verbs[first]
        if callable(found):
            with needing(f"`{' '.join(words)}`"):
                return _parse(found, " ".join(words), args)()
        verbs, groups = found, NO_GROUPS


def _parse(verb: Verb, prog: str, args: Sequence[str]) -> Callable[[], int]:
    """The verb with its arguments bound, to be called where its own errors are not taken for the parser's."""
    name = prog.split()[-1]
    args = [in_full(word, name) for word in _with_new_flags([_at_home(word) for word in args])]
    called = with_options_of_run(verb, args) if name in SHORT_FLAGS else verb

    @functools.wraps(called)
    def bind(*positional: Any, **flags: Any) -> Any:
        return functools.partial(called, *positional, **flags)

    if asked := {"-h", "--help", "--help-all"} & {*args}:
        parser = parser_of(bind, prog)
        short = verb in SHORT_HELP and "--help-all" not in asked
        print(short_text(verb, parser, SHORT_FLAGS.get(name, {})) if short else full_text(parser))
        return lambda: 0
    flags = [word.partition("=")[0] for word in args if re.match(r"--?[a-zA-Z]", word)]
    for flag in dict.fromkeys(flag for i, flag in enumerate(flags) if flag in flags[:i]):
        warn(f"{flag} is given twice, and the last counts; several values go behind one")
    written = io.StringIO()
    try:
        with contextlib.redirect_stderr(written):
            bound: Callable[[], int] = tyro.cli(bind, prog=prog, args=args)
            return bound
    except SystemExit:
        pass
    known = [*all_flags(parser_of(bind, prog)), *SHORT_FLAGS.get(name, {})]
    unknown = [flag for flag in flags if flag.replace("_", "-") not in known]
    if unknown:
        warn(f"there is no flag {unknown[0]}; {nearest(unknown[0], known)} (see {prog} --help)")
        return lambda: 2
    # tyro draws a box, of lines or of dashes: a title, then the reason up to a rule or an empty line.
    lines = [line.strip("│ ") for line in written.getvalue().splitlines()[1:]]
    reason = itertools.takewhile(_has_text, itertools.dropwhile(lambda line: not _has_text(line), lines))
    # of a flag's value it names the flag, of a group's values the group, which is a name of ours
    text = re.sub(r"^Error parsing (--\S+:)?(\S+: )?", r"\1 ", " ".join(reason)).strip()
    for pattern, words in _VALUES.items():
        text = re.sub(pattern, words, text)
    warn(f"{text} (see {prog} --help)")
    return lambda: 2


_VALUES = {
    r"invalid literal for int\(\) with base 10: ('.*')": r"\1 is no whole number",
    r"could not convert string to float: ('.*')": r"\1 is no number",
    r"no type in \[.*'int'.*\] could be instantiated from \[('.*')\]\.?": r"\1 is no whole number",
    r"no type in \[.*'float'.*\] could be instantiated from \[('.*')\]\.?": r"\1 is no number",
}
"""What tyro and Python say of a value -> what a reader needs."""


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


def _overview(verbs: Verbs, prog: str, groups: Groups) -> str:
    """The verbs under the titles of their groups; those of no group come last."""
    grouped = {name for names in groups.values() for name in names}
    rows = [f"usage: {prog} VERB ..."]
    for title, group in {**groups, "Others" if groups else "Verbs": tuple(verbs)}.items():
        listed = [name for name in group if name in verbs and (name not in grouped or title in groups)]
        rows += ["", f"{title}:"] if listed else []
        for name in listed:
            rows += textwrap.wrap(f"  {name:<9} {_line(verbs[name])}", WIDTH, subsequent_indent=" " * 12)
    quiet = f"--quiet (or {QUIET_VARIABLE}=1): nothing but results, warnings and errors."
    return "\n".join([*rows, "", f"{prog} VERB --help shows the flags of a verb.", quiet])


def _line(verb: Verb | Verbs) -> str:
    """What a verb does, in one line."""
    if callable(verb):
        return (verb.__doc__ or "").splitlines()[0]
    return f"Look at data sets, check and make them: {', '.join(verb)}."


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
