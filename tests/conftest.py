"""What all tests share: fixed seeds, two threads, no network, and the real data where it is at hand."""

from __future__ import annotations

import itertools
import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]
BY_PARAMETER = {"test_channels_twins.py", "test_docs.py", "test_fuzz.py", "test_killed.py", "test_surgery.py"}
"""Files whose tests share nothing but what their parameters name, for example a traced net."""

# Read when the libraries load, hence before any test imports them.
os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ["HF_HUB_OFFLINE"] = "1"

# No deadline, since machines differ; derandomized, so that a failure is the same one everywhere.
settings.register_profile("leadline", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("leadline")


@pytest.fixture(autouse=True)
def seeds() -> None:
    """Every test starts from the same seeds, whatever the order."""
    random.seed(0)
    np.random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(scope="session")
def caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folders that are not there yet, one after the other: pytest would look through all others to name each."""
    root = tmp_path_factory.mktemp("caches")
    return (root / str(number) for number in itertools.count())


@pytest.fixture(autouse=True)
def own_cache(caches: Iterator[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees what the user's commands have kept, or leaves anything there."""
    monkeypatch.setenv("LEADLINE_CACHE", str(next(caches)))


@pytest.fixture(autouse=True)
def no_first_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether a command that fails says first what it does would depend on how fast the machine is."""
    monkeypatch.setattr("leadline.core.progress.AFTER_S", 3600.0)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Nets as small as those of the tests lose time to a second thread."""
    from leadline.runtime.torch_threads import torch_threads

    with torch_threads(1):
        yield


@pytest.fixture(autouse=True)
def forget_unknown_flags() -> None:
    """tyro 0.9 keeps the flags it did not know, and blames them for later mistakes in the same process."""
    if "tyro._argparse_formatter" in sys.modules:
        sys.modules["tyro._argparse_formatter"].global_unrecognized_arg_and_prog = []


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data (its README lists the sets): $LEADLINE_DATA, or shared/data beside the repository."""
    path = Path(os.environ.get("LEADLINE_DATA", ROOT.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip("no real data: set LEADLINE_DATA to its folder")
    return path


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slow tests first, so that of two processes none is left with a long one at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.hookimpl(optionalhook=True)  # pytest-xdist's
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """For `--dist loadscope`: tests of one `scope` go to one process.

    xdist's own `loadgroup` (3.8) has no effect with pytest 9.
    """
    if config.getvalue("dist") != "loadscope":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class Scopes(LoadScopeScheduling):  # type: ignore[misc]
        _split_scope = staticmethod(scope)

    return Scopes(config, log)


def scope(nodeid: str) -> str:
    """What stays in one process, since it is dear to make or has to come one after another: tests that name a runtime,
    with its files; in a file of BY_PARAMETER what the parameter names; and otherwise a file with its fixtures.
    """
    from leadline.runtime import BACKENDS

    file, _, test = nodeid.partition("::")
    parameters = test.partition("[")[2].rstrip("]")
    if "/runtime/" in file:
        return next((word for word in parameters.split("-") if word in BACKENDS), file)
    return f"{file}[{parameters}]" if Path(file).name in BY_PARAMETER else file


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu"):
        torch = pytest.importorskip("torch")
        if not torch.cuda.is_available():
            pytest.skip("no GPU")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eleven photographs to label, the seventh of which is damaged."""
    from support.tiny_scenes import write_photos

    return write_photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small net that labels them."""
    from support.tiny_training import tiny

    from leadline.nn.checkpoint import save

    return save(tiny(), tmp_path_factory.mktemp("teacher") / "tiny.safetensors", provenance={"licences": ["tests"]})
