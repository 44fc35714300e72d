"""The house rules, read from the source with `ast`: layers, cycles, sizes, names, and what an import costs.

An exception is a line in one of the allow-lists below and states its reason; one that is no longer needed fails too.
"""

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

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "leadline"

VERBS = ("cli_data", "cli_model", "cli_train", "cli_runtime", "cli_bench", "cli_quantize", "cli_prune")
LAYERS = (
    {"spec", "types", "report", "errors", "options", "options_prune"},
    {"nn", "data", "losses", "metrics", "protocols", "tasks", "geometry", "preprocess", "sources", "timing"},
    {"checkpoint", "foreign", "evaluate", "runtime"},
    {"train", "train_state", "optimize", "together", "autotune", "distill", "export", "compress"},
    {"predict", "results", "video", "viz", "bench", "run_parts", "narrowing", "pruning", "pruning_report"},
    {"cli", "command", "serve", "__main__"} | set(VERBS),
)
# (who, whom) of the same layer.
SIDEWAYS = {
    ("types", "spec"): "a depth map's kind is a word of the Spec",
    ("losses", "geometry"): "a loss may be defined on aligned or projected depth",
    ("metrics", "geometry"): "so may a metric",
    ("protocols", "geometry"): "a protocol names its alignment",
    ("protocols", "metrics"): "and its metrics",
    ("tasks", "losses"): "a task is a loss and its metrics",
    ("tasks", "metrics"): "a task is a loss and its metrics",
    ("sources", "preprocess"): "which files count as images is said there",
    ("data", "preprocess"): "a data set reads photographs exactly as the demo does",
    ("data", "timing"): "how many cores there are is found out in one place",
    ("data", "geometry"): "intrinsics follow a resize or crop by one formula",
    ("train", "train_state"): "what a run leaves on disk is a file of its own",
    ("train", "optimize"): "so is how weights are moved",
    ("train", "together"): "and what several processes tell each other",
    ("autotune", "train"): "it measures the loop's own steps",
    ("distill", "train"): "layer 3 is ordered: train < distill < compress",
    ("compress", "train"): "layer 3 is ordered: train < distill < compress",
    ("compress", "distill"): "layer 3 is ordered: train < distill < compress",
    ("compress", "export"): "what is compressed is judged by its exported file",
    ("results", "viz"): "layer 4 is ordered: viz < results < predict < video",
    ("bench", "predict"): "accuracy is that of the predictor, as in `leadline val`",
    ("run_parts", "predict"): "a run is validated by the predictor, as in `leadline val`",
    ("narrowing", "predict"): "a judge measures with the predictor, as `leadline val` does",
    ("narrowing", "run_parts"): "what is pruned is trained as `leadline train` does",
    ("pruning", "narrowing"): "a pruning run is ordered: run_parts < narrowing < pruning",
    ("pruning_report", "predict"): "so does what compares before and after",
    ("pruning", "run_parts"): "pruning trains as `leadline train` does",
    ("run_parts", "viz"): "and leaves pictures of what it predicts",
    ("predict", "results"): "layer 4 is ordered: viz < results < predict < video",
    **dict.fromkeys(
        [("cli", "command"), *((verb, "command") for verb in VERBS), *(("cli", verb) for verb in VERBS)],
        "the command line is ordered: command < one file per group of verbs < cli",
    ),
    ("cli_bench", "cli_runtime"): "sizes are typed in one way",
    ("cli_quantize", "cli_runtime"): "sizes are typed in one way",
    ("options_prune", "options"): "pruning trains, too",
    ("compress", "train_state"): "a search that goes on tells other options as a training does",
    ("cli_prune", "cli_data"): "how to read data is said by the same flags everywhere",
    ("cli_quantize", "cli_data"): "so are the flags that say how to read data",
    ("__main__", "cli"): "`python -m leadline` is the command line",
}
# One module and the one it imports against the rule.
EXCEPTIONS = {("leadline.runtime.eager", "leadline.checkpoint"): "PyTorch's artefact is the checkpoint itself"}
# The total was 10000 for the spine; eight runtimes, quantisation and benchmarks were 4000 lines more, the zoo with its
# training methods (stereo, LiteDepth, caches) is 4000 more, pruning 2500.
MAX_LINES, MAX_TOTAL, MAX_METHODS = 300, 20_500, 10
LONGER_FILES: dict[str, str] = {}  # path -> the reason why it is not two files
LARGER_CLASSES: dict[str, str] = {}  # module.Class -> the reason
FORBIDDEN_WORDS = {"manager", "handler", "helper", "util", "base", "factory", "wrapper", "engine", "processor", "impl"}
FORBIDDEN_WORDS |= {"helpers", "utils", "common", "misc"}
# What may be imported at the top of a module; everything else waits inside a function until it is needed.
EVERYWHERE = {"numpy", "torch", "PIL", "safetensors"}
ON_TOP = {
    "train": {"accelerate"},  # the loop is nothing without it, and only training loads the loop
    # a verb's flags are its signature
    **{part: {"tyro"} for part in ("cli", "command", *VERBS)},
}
ONLY = {  # part of the package -> the only third parties it may use at all
    **{part: {"numpy"} for part in LAYERS[0]},
    "preprocess": {"numpy", "PIL"},
}
PICKLE = {"leadline.foreign": "reads other programs' files with an unpickler that builds tensors and nothing else"}
WITHOUT_TORCH = ("spec", "types", "report", "errors", "preprocess", "sources", "runtime", "predict")


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


def layer_of(part: str) -> int:
    return next(i for i, layer in enumerate(LAYERS) if part in layer)


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


def test_every_module_has_a_layer() -> None:
    known = set().union(*LAYERS) | {"", "weights"}
    assert {part_of(module) for module in modules()} <= known


def test_imports_point_down_or_stay_in_their_folder() -> None:
    against = set()
    for module in modules():
        here = part_of(module)
        for other in inside(module) if here else ():
            there = part_of(other)
            if there not in (here, "") and (here, there) not in SIDEWAYS and layer_of(there) >= layer_of(here):
                against.add((module, other))
    assert against == set(EXCEPTIONS)


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
    lengths = {
        p.relative_to(ROOT).as_posix(): len(p.read_text("utf-8").splitlines()) for p in (ROOT / folder).rglob("*.py")
    }
    long = {path: n for path, n in lengths.items() if n > MAX_LINES}
    assert set(long) == {path for path in LONGER_FILES if path.startswith(f"{folder}/")}, long


def test_the_package_stays_within_its_budget() -> None:
    assert sum(len(path.read_text("utf-8").splitlines()) for path in sources()) <= MAX_TOTAL


def test_no_class_has_more_than_ten_methods() -> None:
    large = {
        name: n
        for name, node in definitions()
        if isinstance(node, ast.ClassDef)
        and (n := sum(isinstance(item, ast.FunctionDef) for item in node.body)) > MAX_METHODS
    }
    assert set(large) == set(LARGER_CLASSES), large


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


def test_the_lowest_layers_need_almost_nothing() -> None:
    extra = {m: found for m in modules() if part_of(m) in ONLY and (found := outside(m) - ONLY[part_of(m)])}
    assert not extra


def test_only_one_module_touches_pickles() -> None:
    assert {m for m in modules() if any(i.name.split(".")[0] == "pickle" for i in imports(m))} == set(PICKLE)


@pytest.mark.parametrize("name", WITHOUT_TORCH)
def test_a_device_without_torch_can_import(name: str) -> None:
    assert f"leadline.{name}" in modules()
    block = "import sys; sys.modules['torch'] = None"  # the import system then raises ImportError for torch
    assert python(f"{block}; import leadline.{name}; print('ok')") == "ok\n"


def test_importing_the_package_loads_nothing_else() -> None:
    code = (
        "import sys; old = set(sys.modules); import leadline; print(*{m.split('.')[0] for m in set(sys.modules) - old})"
    )
    assert set(python(code).split()) - sys.stdlib_module_names == {"leadline"}


def test_importing_the_package_takes_less_than_50_ms() -> None:
    # The only test of a time, because a quick start is promised to the user. The best of five, since machines are busy.
    code = "import time; t = time.perf_counter(); import leadline; print(time.perf_counter() - t)"
    assert min(float(python(code)) for _ in range(5)) < 0.050
