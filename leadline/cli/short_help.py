"""The help of a verb: its most needed flags with examples, or all of them.

What a flag takes and means is read from the verb's parser, so both helps say the same.
"""

from __future__ import annotations

import argparse
import re
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar, cast

import tyro

WIDTH = 80
_MARGIN = 26
_Verb = TypeVar("_Verb", bound=Callable[..., int])


@dataclass(frozen=True)
class ShortHelp:
    """Names of flags with blanks between, under the title of each group, and commands that work as they stand."""

    groups: Mapping[str, str]
    examples: tuple[str, ...]

    def flags(self) -> list[str]:
        """All flags that it names."""
        return [flag for group in self.groups.values() for flag in group.split()]


SHORT_HELP: dict[Callable[..., int], ShortHelp] = {}
"""That of each verb, as `short_help` has put it down."""


def short_help(groups: Mapping[str, str], *examples: str) -> Callable[[_Verb], _Verb]:
    """A decorator: the verb's `--help` shows these groups of flags and these examples."""

    def noted(verb: _Verb) -> _Verb:
        SHORT_HELP[verb] = ShortHelp(groups, examples)
        return verb

    return noted


def parser_of(verb: Callable[..., object], prog: str) -> argparse.ArgumentParser:
    """The parser that tyro makes of a verb."""
    return cast(argparse.ArgumentParser, tyro.extras.get_parser(verb, prog=prog))  # tyro has a copy of argparse


def tidy(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """The parser with what its help needs not say left out: None among the values, and defaults that are nothing."""
    for action in parser._actions:
        text = " ".join((action.help or "").replace("%%", "%").split())
        text = re.sub(r" ?\(default: (None|''|)\)$", "", text)
        if is_switch(action):
            text = re.sub(r" ?\(default: False\)$", "", text).replace("(default: True)", "(default: yes)")
        action.help = (text[:1].upper() + text[1:]).replace("%", "%%")
        if isinstance(action.metavar, str):
            plain = re.sub(r"\{None\}\||\bNone,", "", action.metavar)
            action.metavar = re.sub(r"^\[(\S+) \[\1 \.\.\.\]\]$", r"\1 ...", plain)
    return parser


def is_switch(action: argparse.Action) -> bool:
    """Whether the flag has a `--no-` form."""
    return any(re.search(r"(^--|\.)no-", flag) for flag in action.option_strings[1:])


def all_flags(parser: argparse.ArgumentParser) -> list[str]:
    """Every flag that can be typed, but for the two of the help."""
    return [flag for action in parser._actions for flag in action.option_strings if flag not in ("-h", "--help")]


def full_text(parser: argparse.ArgumentParser) -> str:
    """The help with every flag; switches as `--x / --no-x`."""
    tidy(parser)
    pair = r"(--[\w.-]+), (--(?:[\w-]+\.)*no-[\w-]+)( ?)"  # of the blanks behind it one is given up, for the frame
    return re.sub(pair, r"\1 / \2", parser.format_help())


def short_text(verb: Callable[..., int], parser: argparse.ArgumentParser, short_names: Mapping[str, str]) -> str:
    """The help of at most 60 lines: groups, examples, and where the rest is.

    `short_names` (short -> nested) are shown in place of the nested names.
    """
    help_ = SHORT_HELP[verb]
    tidy(parser)
    by_flag = {flag: action for action in parser._actions for flag in action.option_strings}
    words = [action for action in parser._actions if not action.option_strings]
    usage = " ".join([str(action.metavar) if action.required else f"[{action.metavar}]" for action in words])
    lines = [f"usage: {parser.prog} {usage} [flags]".replace("  ", " "), ""]
    about = (verb.__doc__ or "").split("Args:")[0]
    for paragraph in filter(None, (" ".join(part.split()) for part in about.split("\n\n"))):
        lines += [*textwrap.wrap(paragraph, WIDTH), ""]
    for action in words:
        lines += _row(str(action.metavar), action)
    lines += [""] if words else []
    nested = {long: short for short, long in short_names.items()}
    for title, group in help_.groups.items():
        lines.append(f"{title}:")
        for flag in group.split():
            lines += _row(_typed(flag, by_flag[flag], nested), by_flag[flag])
        lines.append("")
    lines += ["examples:", *(f"  {example}" for example in help_.examples), ""]
    n = len({id(by_flag[flag]) for flag in all_flags(parser)})
    shows = f"all {n} flags" if n > 1 else "its only flag"
    return "\n".join([*lines, f"{parser.prog} --help-all shows {shows}. --quiet goes with each verb."])


def _typed(flag: str, action: argparse.Action, nested: Mapping[str, str]) -> str:
    """How the flag is typed: `-o, --out FILE`, `--finetune / --no-finetune`."""
    if is_switch(action):
        return " / ".join(action.option_strings)
    names = [nested.get(name, name) for name in action.option_strings]
    value = action.metavar or ""
    return f"{', '.join(names)} {value}"


def _row(typed: str, action: argparse.Action) -> list[str]:
    text = textwrap.wrap((action.help or "").replace("%%", "%"), WIDTH - _MARGIN)
    if len(typed) + 4 > _MARGIN:
        return [f"  {typed}", *(" " * _MARGIN + line for line in text)]
    first, *rest = text or [""]
    return [f"  {typed:<{_MARGIN - 2}}{first}".rstrip(), *(" " * _MARGIN + line for line in rest)]
