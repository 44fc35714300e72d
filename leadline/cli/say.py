"""What a verb says besides its results; nothing of it with `--quiet`."""

from __future__ import annotations

from leadline.cli.command import warn
from leadline.core.progress import is_quiet


def inform(line: str) -> None:
    """As `warn`, of what is no warning."""
    if line and not is_quiet():
        warn(line)


def closing(text: str) -> None:
    """Print what a command ends with: what it has written, how many."""
    if not is_quiet():
        print(text)
