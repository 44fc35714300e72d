"""A process that is killed with no warning loses nothing: begun again, it ends with what an undisturbed one has."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.timeout(1000)
@pytest.mark.parametrize("verb", ["train", "label", "prune"])
def test_killed_at_any_moment_a_verb_goes_on_to_the_same_bytes(verb: str) -> None:
    script = Path(__file__).parents[1] / "benchmarks" / "killed.py"
    words = [sys.executable, str(script), "--times", "4", "--verbs", verb]
    done = subprocess.run(words, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[1].split()[2] == "4"  # kills
