"""The documents hold what they say: links lead somewhere, README's Python runs, README's commands exist."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
README = (ROOT / "README.md").read_text("utf-8")


EXTENDING = (ROOT / "docs" / "extending.md").read_text("utf-8")


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def anchors(document: Path) -> set[str]:
    """The fragments of a Markdown file's headings, as GitHub spells them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_to_a_file_leads_to_one(document: Path) -> None:
    text = re.sub(r"^```.*?^```", "", document.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"\w+:", link):
            continue  # another site
        path, _, fragment = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), f"{document.name} links to {link}"
        assert not fragment or fragment in anchors(target), f"{document.name} links to {link}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_what_a_document_imports_exists(document: Path) -> None:
    found = re.findall(r"from (leadline[\w.]*) import ([\w, ]+)", document.read_text("utf-8"))
    for module, names in found if document.name not in ("CHANGELOG.md", "LOG.md") else ():
        for name in names.split(", "):
            plain = name.split(" as ")[0].strip()
            home = importlib.import_module(module)
            is_module = hasattr(home, "__path__") and importlib.util.find_spec(f"{module}.{plain}") is not None
            assert is_module or hasattr(home, plain), f"{module} has no {plain}"


def test_the_commands_of_readme_are_targets_of_make() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert set(re.findall(r"\bmake (\w+)", "\n".join(blocks("sh")))) <= targets


@pytest.mark.slow
@pytest.mark.parametrize("verb", sorted(set(re.findall(r"^leadline (\w+)", "\n".join(blocks("sh")), re.MULTILINE))))
def test_the_verbs_of_readme_exist(verb: str) -> None:
    call = f"import sys; from leadline.cli.main import main; sys.argv = ['leadline', '{verb}', '--help']; main()"
    run = subprocess.run([sys.executable, "-c", call], cwd=ROOT, capture_output=True, check=False)
    assert run.returncode == 0, run.stderr.decode()


@pytest.mark.slow
@pytest.mark.parametrize("code", blocks("python"))
def test_the_python_of_readme_runs(code: str, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.jpg")
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]},
        capture_output=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr.decode()


def test_each_snippet_of_extending_has_at_most_fifteen_lines() -> None:
    for code in blocks("python", EXTENDING):
        assert len([line for line in code.splitlines() if line.strip() and not line.startswith("# my_")]) <= 15, code


@pytest.mark.slow
def test_the_snippets_of_extending_run_in_their_order(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.jpg")
    around = {"PYTHONPATH": f"{ROOT}:{tmp_path}", "PATH": os.environ["PATH"], "LEADLINE_CACHE": str(tmp_path / "cache")}
    for code in blocks("python", EXTENDING):
        if found := re.match(r"# (my_\w+\.py)\n", code):
            (tmp_path / found[1]).write_text(code)
    commands = [[sys.executable, "-c", code] for code in blocks("python", EXTENDING) if not code.startswith("# my_")]
    for line in "".join(blocks("sh", EXTENDING)).splitlines():
        commands.append([sys.executable, "-m", *line.split()])
    for command in commands:
        run = subprocess.run(command, cwd=tmp_path, env=around, capture_output=True, check=False)
        assert run.returncode == 0, f"{command[2:]}: {run.stderr.decode()}"
    assert list((tmp_path / "depth").iterdir()) and (tmp_path / "run" / "litedepth.safetensors").exists()
