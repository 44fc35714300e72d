"""The house rules, read from the source with `ast`: order, cycles, sizes, names, and what an import costs."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from support.architecture_rules import (
    CORE_NEEDS,
    EVERYWHERE,
    FORBIDDEN_WORDS,
    MAX_LINES,
    MAX_METHODS,
    ON_TOP,
    ORDER,
    PICKLES,
    WITHOUT_TORCH,
)

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "leadline"
LEVEL = {name: level for level, names in enumerate(ORDER.split(" < ")) for name in names.split(", ")}


@dataclass(frozen=True)
class Import:
    """One import: the dotted name, and whether it stands at the top of its module (and so runs with it)."""

    name: str
    on_top: bool


def sources() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def modules() -> dict[str, ast.Module]:
    return {module_of(path): ast.parse(path.read_text("utf-8"), str(path)) for path in sources()}


@cache
def imports(module: str) -> tuple[Import, ...]:
    """Every import that can run: those under `if TYPE_CHECKING:` never do."""
    is_package = (ROOT / Path(*module.split("."))).is_dir()
    return tuple(_walk(modules()[module], module, is_package, True))


def _walk(node: ast.AST, module: str, is_package: bool, on_top: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, on_top) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            parents = module.split(".") if is_package else module.split(".")[:-1]
            start = ".".join(parents[: len(parents) - child.level + 1]) if child.level else ""
            origin = ".".join(part for part in (start, child.module) if part)
            yield from (Import(f"{origin}.{alias.name}", on_top) for alias in child.names)
        elif isinstance(child, ast.Call) and ast.unparse(child.func).endswith("import_module"):
            if child.args and isinstance(child.args[0], ast.Constant):
                yield Import(str(child.args[0].value), on_top)
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for other in child.orelse:
                yield from _walk(other, module, is_package, on_top)
        else:
            is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from _walk(child, module, is_package, on_top and not is_function)


def inside(module: str) -> set[str]:
    """The modules of the package that `module` imports: the longest dotted prefix of each import that is a module."""
    found = set()
    for name in (i.name for i in imports(module) if i.name.split(".")[0] == "leadline"):
        while name and name not in modules():
            name = name.rpartition(".")[0]
        found.add(name)
    return found - {module, ""}


def outside(module: str, *, on_top: bool = False) -> set[str]:
    """The third parties that `module` imports, by their first name."""
    names = {i.name.split(".")[0] for i in imports(module) if i.on_top or not on_top}
    return names - sys.stdlib_module_names - {"leadline", "__future__"}


def part_of(module: str) -> str:
    """`leadline.nn.build` -> `nn`; the package itself -> ''."""
    return [*module.split("."), ""][1]


def definitions() -> Iterator[tuple[str, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]]:
    for module, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{module}.{node.name}", node


def python(code: str) -> str:
    """What a fresh interpreter prints, started in the repository."""
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_every_package_has_its_place() -> None:
    assert {part_of(module) for module in modules()} == {*LEVEL, "", "__main__", "errors"}  # errors: for programs only


def test_imports_go_to_the_left_only() -> None:
    arrows = {(m, n) for m in modules() for n in inside(m) if part_of(m) in LEVEL and part_of(n) != part_of(m)}
    assert not {(m, n) for m, n in arrows if part_of(n) and LEVEL[part_of(n)] >= LEVEL[part_of(m)]}


def test_only_the_version_is_taken_from_the_package_itself() -> None:
    taken = {
        (module, i.name)
        for module in modules()
        for i in imports(module)
        if re.fullmatch(r"leadline(\.\w+)?", i.name) and i.name not in modules() and i.name != "leadline.__version__"
    }
    assert not taken, "import from the module that defines the name"


def test_imports_have_no_cycle() -> None:
    try:
        TopologicalSorter({module: inside(module) for module in modules()}).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize("folder", ["leadline", "recipes", "benchmarks", "tests"])
def test_no_file_is_longer_than_a_reader_bears(folder: str) -> None:
    lengths = {p: len(p.read_text("utf-8").splitlines()) for p in (ROOT / folder).rglob("*.py")}
    assert not {path.name: n for path, n in lengths.items() if n > MAX_LINES}


def test_no_class_has_more_than_ten_methods() -> None:
    classes = [(name, node) for name, node in definitions() if isinstance(node, ast.ClassDef)]
    assert not [name for name, node in classes if sum(isinstance(i, ast.FunctionDef) for i in node.body) > MAX_METHODS]


def test_no_name_hides_what_it_is() -> None:
    names = [*(".".join(m.split(".")[1:]) for m in modules()), *(name for name, _ in definitions())]
    last = {name: name.rpartition(".")[2] for name in names}
    words = {
        name: {w.lower() for w in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", word)} for name, word in last.items()
    }
    assert not [name for name, found in words.items() if found & FORBIDDEN_WORDS]


def test_every_module_states_its_idea() -> None:
    silent = [module for module, tree in modules().items() if tree.body and not ast.get_docstring(tree)]
    assert not silent


def test_heavy_packages_are_imported_inside_functions() -> None:
    allowed = {module: EVERYWHERE | ON_TOP.get(part_of(module), set()) for module in modules()}
    heavy = {module: found for module in modules() if (found := outside(module, on_top=True) - allowed[module])}
    assert not heavy


def test_core_needs_almost_nothing() -> None:
    assert not {m: found for m in modules() if part_of(m) == "core" and (found := outside(m) - CORE_NEEDS)}


def test_two_modules_alone_touch_pickles() -> None:
    assert [m for m in modules() if any(i.name.split(".")[0] == "pickle" for i in imports(m))] == PICKLES


def test_a_device_without_torch_can_import() -> None:
    names = [m for m in modules() if part_of(m) in WITHOUT_TORCH and "torch" not in outside(m, on_top=True)]
    assert {"leadline.core.spec", "leadline.predict.files", "leadline.runtime"} <= {*names}
    block = "import sys; sys.modules['torch'] = None"  # the import system then raises ImportError for torch
    loads = "; ".join(f"import {name}" for name in names)
    assert python(f"{block}; {loads}; print('ok')") == "ok\n"


def test_importing_the_package_loads_nothing_else() -> None:
    code = (
        "import sys; old = set(sys.modules); import leadline; print(*{m.split('.')[0] for m in set(sys.modules) - old})"
    )
    assert set(python(code).split()) - sys.stdlib_module_names == {"leadline"}
