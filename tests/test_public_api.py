"""What leadline promises to its users: names, version, annotations, docstrings."""

from __future__ import annotations

import ast
import inspect
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import leadline
from leadline.core.packages import EXTRAS
from leadline.runtime import BACKENDS

ROOT = Path(__file__).resolve().parents[1]
Function = ast.FunctionDef | ast.AsyncFunctionDef


def imported_for_type_checkers() -> set[str]:
    tree = ast.parse(Path(leadline.__file__).read_text("utf-8"))
    blocks = [n for n in tree.body if isinstance(n, ast.If) and "TYPE_CHECKING" in ast.unparse(n.test)]
    found = (node for block in blocks for node in ast.walk(block) if isinstance(node, ast.ImportFrom))
    return {alias.asname or alias.name for node in found for alias in node.names}


def public_definitions() -> Iterator[tuple[str, Function | ast.ClassDef]]:
    """Functions and classes on a module's top level and the methods of those classes, none of them private."""
    for path in sorted((ROOT / "leadline").rglob("*.py")):
        where = path.relative_to(ROOT).as_posix()
        for node in ast.parse(path.read_text("utf-8")).body:
            if not isinstance(node, Function | ast.ClassDef) or node.name.startswith("_"):
                continue
            yield f"{where}: {node.name}", node
            for item in node.body if isinstance(node, ast.ClassDef) else ():
                if isinstance(item, Function) and not item.name.startswith("_"):
                    yield f"{where}: {node.name}.{item.name}", item


def lacks_annotation(function: Function) -> bool:
    args = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    args += [extra for extra in (function.args.vararg, function.args.kwarg) if extra]
    return function.returns is None or any(a.annotation is None for a in args if a.arg not in ("self", "cls"))


def test_the_public_names_are_sorted_and_each_stands_once() -> None:
    def constants_classes_functions(name: str) -> tuple[bool, bool, str]:  # ruff's order, each group by name
        return not name.isupper(), not name[0].isupper(), name

    assert list(leadline.__all__) == sorted(set(leadline.__all__), key=constants_classes_functions)


@pytest.mark.parametrize("name", leadline.__all__)
def test_every_public_name_can_be_had(name: str) -> None:
    assert getattr(leadline, name) is not None
    assert name in dir(leadline)


def test_type_checkers_see_every_public_name() -> None:
    assert imported_for_type_checkers() | {"__version__"} == {*leadline.__all__, "__version__"}


def test_no_public_name_is_forgotten() -> None:
    for name in leadline.__all__:
        getattr(leadline, name)  # names that load on first use are there from now on
    there = {name for name, value in vars(leadline).items() if not name.startswith("_") and not inspect.ismodule(value)}
    assert there - {"annotations", "TYPE_CHECKING"} <= set(leadline.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="depht"):
        _ = leadline.depht  # type: ignore[attr-defined]


def test_the_version_is_the_same_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert project["tool"]["hatch"]["version"]["path"] == "leadline/__init__.py"
    changes = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    citation = re.search(r"^version: (\S+)", (ROOT / "CITATION.cff").read_text("utf-8"), re.MULTILINE)
    assert changes and citation
    assert leadline.__version__ == changes[1] == citation[1]


def test_every_extra_that_an_error_names_exists() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    compiled = set(BACKENDS) - {"eager"}
    named = {*EXTRAS.values(), *compiled, *(f"{name}-export" for name in compiled)}
    for path in (ROOT / "leadline").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("MissingPackage"):
                named |= {node.args[1].value} if isinstance(node.args[1], ast.Constant) else set()
    assert named <= set(extras)


def test_every_public_argument_is_annotated() -> None:
    assert not [name for name, node in public_definitions() if isinstance(node, Function) and lacks_annotation(node)]


def test_every_public_definition_says_what_it_is() -> None:
    silent = [name for name, node in public_definitions() if not ast.get_docstring(node)]
    # What overrides a method of torch's modules is described by its class's docstring.
    assert not [name for name in silent if not name.endswith((".forward", ".train"))]
