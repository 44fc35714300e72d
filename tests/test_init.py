"""`import leadline`: every public name, lazily, and always the same thing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import leadline

ROOT = Path(__file__).resolve().parents[1]


def fresh(code: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_public_name_means_the_same_whatever_was_imported_first() -> None:
    modules = {path.stem for path in (ROOT / "leadline").iterdir()}
    code = (
        "import importlib, leadline\n"
        "before = {name: getattr(leadline, name) for name in leadline.__all__}\n"
        f"for name in {sorted(modules & set(leadline.__all__))}: importlib.import_module('leadline.' + name)\n"
        "assert all(getattr(leadline, name) is value for name, value in before.items())\n"
        "from leadline import *\n"
        "assert all(globals()[name] is value for name, value in before.items())\n"
        "print(evaluate.__name__, callable(evaluate.evaluate))"
    )
    assert fresh(code) == "leadline.evaluation.evaluate True\n"


def test_a_name_that_is_both_public_and_a_module_is_the_module() -> None:
    for name in leadline.__all__:
        if (ROOT / "leadline" / name).is_dir() or (ROOT / "leadline" / f"{name}.py").exists():
            assert getattr(leadline, name) is sys.modules[f"leadline.{name}"]


def test_dir_shows_public_names_before_they_are_loaded() -> None:
    assert fresh("import leadline; print(set(leadline.__all__) <= set(dir(leadline)))") == "True\n"


def test_an_unknown_name_says_so() -> None:
    with pytest.raises(AttributeError, match="'leadline' has no attribute 'depht'"):
        _ = leadline.depht  # type: ignore[attr-defined]
