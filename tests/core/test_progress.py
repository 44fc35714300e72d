"""What a person who waits is told: in place on a terminal, in few plain lines elsewhere, nothing with --quiet."""

from __future__ import annotations

import io

import pytest

from leadline.core import progress as told
from leadline.core.progress import command, is_quiet, progress
from leadline.core.quiet import quiet


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_on_a_terminal_each_line_overwrites_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    with command():
        progress("one")
        progress("two\x1b[2J")
        progress("")
    assert screen.getvalue() == "\r\x1b[2Kone\r\x1b[2Ktwo\\x1b[2J\r\x1b[2K"


def test_elsewhere_lines_are_plain_and_seconds_apart(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [100.0]
    monkeypatch.setattr(told, "AFTER_S", 0.0)
    monkeypatch.setattr(told.time, "monotonic", lambda: now[0])
    with command():
        for step in range(12):
            progress(f"step {step}")
            progress("")
            now[0] += 1
    assert capsys.readouterr().err == "leadline: step 0\nleadline: step 5\nleadline: step 10\n"
    with command():
        progress("of the next command")
    assert capsys.readouterr().err == "leadline: of the next command\n"


def test_a_command_that_ends_before_the_first_line_is_due_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """The tests of the other verbs rely on it: a mistake is one line."""
    with command():
        progress("begins")
        timer = told._now.timer
    assert timer is not None and timer.finished.is_set()  # cancelled
    assert capsys.readouterr().err == ""


def test_the_last_line_that_waited_is_written_when_its_time_comes_or_before_silence(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with command():
        progress("begins")
        progress("goes on")
        with quiet():
            print("of another program")
    assert capfd.readouterr().err == "leadline: goes on\n"
    monkeypatch.setattr(told, "AFTER_S", 0.01)
    with command():
        progress("begins")
        timer = told._now.timer
        if timer is not None:  # else the machine was slow, and it is written already
            timer.join()
        assert capfd.readouterr().err == "leadline: begins\n"


@pytest.mark.parametrize(("flag", "variable", "silent"), [(True, "", True), (False, "1", True), (False, "0", False)])
def test_quiet_is_asked_for_by_flag_or_variable_and_ends_with_the_command(
    flag: bool, variable: str, silent: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(told, "AFTER_S", 0.0)
    monkeypatch.setenv("LEADLINE_QUIET", variable)
    with command(flag):
        progress("work")
        assert is_quiet() == silent
    assert not is_quiet()
    assert ("work" in capsys.readouterr().err) != silent
