"""MODEL may be the folder of a run: the net in it, or a line that says why there is none."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.tiny_runtime_nets import small_net

from leadline.core.errors import BadCheckpoint
from leadline.distill.teachers import open_teacher
from leadline.nn.checkpoint import find, is_run, load, save
from leadline.predict.predictor import load_predictor


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """As `leadline train` leaves it."""
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("last", "state", "small"):
        save(small_net(), folder / f"{name}.safetensors")
    (folder / "run.json").write_text("{}")
    (folder / "report.json").write_text("{}")
    return folder


def test_a_runs_folder_is_its_net(run: Path) -> None:
    assert find(run) == run / "small.safetensors" and is_run(run)
    assert load(str(run)).spec.name == load_predictor(run).name == open_teacher(run).name == small_net().spec.name


def test_a_run_that_is_not_over_is_its_last_net(run: Path) -> None:
    (run / "small.safetensors").unlink()
    assert find(run) == run / "last.safetensors"
    (run / "last.safetensors").unlink()
    with pytest.raises(BadCheckpoint, match="has not saved a net yet"):
        find(run)


def test_of_several_nets_one_has_to_be_named(run: Path) -> None:
    save(small_net(), run / "other.safetensors")
    with pytest.raises(BadCheckpoint, match=r"holds 2 nets: other\.safetensors, small\.safetensors; give one"):
        find(run)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    save(small_net(), tmp_path / "small.safetensors")
    with pytest.raises(BadCheckpoint, match=r"is a folder, and no run of leadline \(it has no run\.json or"):
        find(tmp_path)


def test_the_net_of_a_pruning_lies_beside_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "narrow"
    folder.mkdir()
    (folder / "plan.json").write_text("{}")
    save(small_net(), folder / "pruned.safetensors")  # not trained yet
    with pytest.raises(BadCheckpoint, match=r"not finished, there is no narrow\.safetensors; --resume goes on"):
        find(folder)
    save(small_net(), tmp_path / "narrow.safetensors")
    assert find(folder) == tmp_path / "narrow.safetensors"
