"""The help: short enough to be read, true of the flags that there are, and with examples that can be typed."""

from __future__ import annotations

import functools
import inspect
import shlex
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from leadline.cli.command import Verbs, run
from leadline.cli.flag_names import SHORT_FLAGS
from leadline.cli.main import GROUPS, VERBS, main
from leadline.cli.short_help import SHORT_HELP, all_flags, is_switch, parser_of, tidy

Captured = pytest.CaptureFixture[str]


def verbs_of(verbs: Verbs, before: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Callable[..., int]]]:
    for name, found in verbs.items():
        if callable(found):
            yield (*before, name), found
        else:
            yield from verbs_of(found, (*before, name))


ALL = dict(verbs_of(VERBS))
each_verb = pytest.mark.parametrize("words", ALL, ids=" ".join)


def flags_of(verb: Callable[..., int]) -> set[str]:
    return set(all_flags(parser_of(verb, "leadline")))


@each_verb
def test_the_help_of_a_verb_fits_on_two_screens(capsys: Captured, words: tuple[str, ...]) -> None:
    assert main([*words, "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 60 and max(map(len, lines)) <= 80


@each_verb
def test_the_short_help_names_at_most_ten_flags_all_of_which_exist(words: tuple[str, ...]) -> None:
    named = SHORT_HELP[ALL[words]].flags()
    assert 1 <= len(named) <= 10 and {*named} <= flags_of(ALL[words])


@each_verb
def test_the_whole_help_names_every_flag(capsys: Captured, words: tuple[str, ...]) -> None:
    assert main([*words, "--help-all"]) == 0
    typed = {word.rstrip(",") for word in capsys.readouterr().out.split()}
    assert not flags_of(ALL[words]) - typed


@each_verb
def test_the_examples_can_be_typed(words: tuple[str, ...]) -> None:
    verb = ALL[words]
    asked: list[inspect.BoundArguments] = []

    @functools.wraps(verb)
    def noted(*args: Any, **flags: Any) -> int:
        asked.append(inspect.signature(verb).bind(*args, **flags))
        return 0

    examples = SHORT_HELP[verb].examples
    for example in examples:
        program, *typed = shlex.split(example)
        assert program == "leadline" and tuple(typed[: len(words)]) == words
        assert run({words[-1]: noted}, typed[len(words) - 1 :]) == 0
    assert len(asked) == len(examples) == 2


@each_verb
def test_what_is_said_of_a_switch_is_true_of_its_first_form(words: tuple[str, ...]) -> None:
    actions = tidy(parser_of(ALL[words], "leadline"))._actions
    assert not [a.option_strings[0] for a in actions if is_switch(a) and (a.help or "Whether").startswith("Whether")]


def test_a_switch_is_shown_with_both_its_forms(capsys: Captured) -> None:
    for help_ in ("--help", "--help-all"):
        assert main(["prune", help_]) == 0
        assert "--finetune / --no-finetune" in capsys.readouterr().out


@pytest.mark.parametrize("verb", SHORT_FLAGS)
def test_a_short_name_stands_for_a_flag_and_hides_none(verb: str) -> None:
    known = flags_of(ALL[(verb,)])
    assert not known & SHORT_FLAGS[verb].keys()
    assert {*SHORT_FLAGS[verb].values()} <= known


@pytest.mark.parametrize("verb", ["train", "distill", "prune"])
def test_every_training_takes_the_words_that_people_type(verb: str) -> None:
    assert {"--lr", "--steps", "--epochs", "--batch"} <= flags_of(ALL[(verb,)]) | SHORT_FLAGS[verb].keys()


def test_every_verb_stands_under_a_title() -> None:
    grouped = [name for names in GROUPS.values() for name in names]
    assert {*VERBS} <= {*grouped} and len(grouped) == len({*grouped})


@pytest.mark.parametrize(
    ("args", "near"),
    [
        (["predict", "x", "--modle", "y"], "there is no flag --modle; nearest: --model"),
        (["train", "--data", "x", "--out", "y", "--fit.stepz=3"], "there is no flag --fit.stepz; nearest: --fit.steps"),
        (["bench", "x", "--thread", "2"], "there is no flag --thread; nearest: --threads"),
    ],
)
def test_a_misspelt_flag_is_answered_with_at_most_three(capsys: Captured, args: list[str], near: str) -> None:
    assert main(args) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and near in err
    assert err.partition("nearest: ")[2].count(",") <= 2


def test_the_negative_form_of_a_short_name_is_known(capsys: Captured) -> None:
    assert main(["train", "--data", "none", "--out", "out", "--no-compile", "--model", "nope"]) == 1
    assert "there is no flag" not in capsys.readouterr().err
