"""`--resume --out RUN` alone: the run's folder says the rest, and a run may be lengthened."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.tiny_pruning_nets import thin_checkpoint
from support.tiny_scenes import render, write_folder
from support.tiny_training import same

from leadline.cli.main import main
from leadline.core.spec import from_json, to_json
from leadline.distill.options import Distillation, TeacherOptions
from leadline.nn.checkpoint import load
from leadline.pipelines.compare import read_facts
from leadline.training.options import FitOptions, Training

pytestmark = pytest.mark.usefixtures("one_thread")
Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    return thin_checkpoint(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> str:
    drawn = [render(i // 3, step=0.1 * (i % 3), size=(36, 72)) for i in range(6)]
    return str(write_folder(tmp_path_factory.mktemp("rooms"), drawn))


@pytest.fixture(scope="module")
def run(source: str, rooms: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that is over; nobody may change it."""
    out = tmp_path_factory.mktemp("runs") / "run"
    assert main(words("train", source, rooms, out)) == 0
    return out


def words(verb: str, source: str, rooms: str, out: Path, *more: str, steps: int = 2) -> list[str]:
    of_all = ["--data", rooms, "--out", str(out), "--batch", "2", "--val-every", "0", "--loss", "l1"]
    of_all += ["--fit.steps", str(steps), "--fit.precision", "no", "--fit.schedule", "constant"]
    if verb == "prune":
        return ["prune", source, "--method", "l2", "--budget", "macs=0.8x", *of_all, *more]
    return [verb, "--model", source, "--workers", "0", "--view.size", "32", "64", *of_all, *more]


def test_a_run_is_lengthened_by_its_folder_and_the_number_of_steps_alone(
    source: str, rooms: str, tmp_path: Path, capsys: Captured
) -> None:
    """At a constant learning rate, two steps and then two more are four."""
    assert main(words("train", source, rooms, tmp_path / "whole", steps=4)) == 0
    run = tmp_path / "run"
    assert main(words("train", source, rooms, run)) == 0
    assert main(["train", "--resume", "--out", str(run)]) == 0  # it is over
    assert "lengthened" not in capsys.readouterr().err
    assert main(["train", "--resume", "--out", str(run), "--steps", "4"]) == 0
    assert "the run is lengthened from 2 to 4 steps" in capsys.readouterr().err
    name = f"{load(run / 'last.safetensors').spec.name}.safetensors"
    assert same(load(run / name), load(tmp_path / "whole" / name))
    assert main(["train", "--resume", f"--out={run}"]) == 0  # it is of four steps from now on
    assert main(["train", "--resume", "--out", str(run), "--steps", "3"]) == 1
    assert "fit.steps 4 there, 3 here. Give the same or more steps, or another --out" in capsys.readouterr().err
    assert (facts := read_facts(str(run))).about["steps"] == facts.options["fit.steps"] == 4  # so `compare` says, too


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--loss", "l2"), "training.loss"),
        (("--lr", "0.5"), "fit.lr 0.01"),
        (("--batch", "3"), "batch 2"),
    ],
)
def test_options_that_differ_are_refused_by_name(more: tuple[str, ...], said: str, run: Path, capsys: Captured) -> None:
    assert main(["train", "--resume", "--out", str(run), *more]) == 1
    error = capsys.readouterr().err
    assert "other options" in error and said in error


def test_a_run_whose_length_is_in_epochs_is_lengthened_in_epochs_or_steps(
    source: str, rooms: str, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert main(words("train", source, rooms, run, "--epochs", "1")) == 0
    before = json.loads((run / "report.json").read_text())["context"]["steps"]
    assert main(["train", "--resume", "--out", str(run), "--epochs", "2"]) == 0
    assert json.loads((run / "report.json").read_text())["context"]["steps"] > before
    assert main(["train", "--resume", "--out", str(run), "--steps", "7"]) == 0
    assert json.loads((run / "report.json").read_text())["context"]["steps"] == 7
    assert main(["train", "--resume", "--out", str(run)]) == 0


@pytest.mark.slow
def test_a_distillation_goes_on_with_its_teacher(source: str, rooms: str, tmp_path: Path, capsys: Captured) -> None:
    run = tmp_path / "run"
    assert main(words("distill", source, rooms, run, "--teacher", source, "--label-weight", "0.5")) == 0
    assert main(["distill", "--resume", "--out", str(run), "--steps", "3"]) == 0
    assert json.loads((run / "report.json").read_text())["context"]["steps"] == 3
    assert main(["distill", "--resume", "--out", str(run), "--label-weight", "0.4"]) == 1
    assert "label_weight 0.5 there, 0.4 here" in capsys.readouterr().err


@pytest.mark.slow
def test_a_pruned_net_is_trained_further(source: str, rooms: str, tmp_path: Path, capsys: Captured) -> None:
    out = tmp_path / "small.safetensors"
    assert main(words("prune", source, rooms, out)) == 0
    before = load(out)
    assert main(["prune", "--resume", "--out", str(out), "--steps", "3"]) == 0
    assert "lengthened from 2 to 3 steps" in capsys.readouterr().err
    after = load(out)
    assert after.spec.encoder == before.spec.encoder and not same(before, after)
    assert main(["prune", "--resume", "--out", str(out), "--steps", "2"]) == 1
    assert "training.fit.steps 3 there, 2 here. Give the same or more steps" in capsys.readouterr().err
    assert main(["prune", "--resume", "--out", str(out), "--budget", "macs=0.5x"]) == 1
    assert "budget macs=0.8x there, macs=0.5x here" in capsys.readouterr().err


def test_a_damaged_record_is_one_line(tmp_path: Path, capsys: Captured) -> None:
    for damaged in ({"requested": 3}, {"requested": {"training": {"data": 3}}}, {"requested": {"training": {"x": 1}}}):
        (tmp_path / "run.json").write_text(json.dumps(damaged))
        assert main(["train", "--resume", "--out", str(tmp_path)]) == 1
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and "give all" in error and "fault of leadline" not in error


@pytest.mark.parametrize(
    "options",
    [
        Training(
            data=("a", "b:2"), out=Path("out"), init=Path("x.tflite"), epochs=2.0, fit=FitOptions(betas=(0.5, 0.9))
        ),
        Distillation(labels=(Path("a"), Path("b")), teachers=TeacherOptions(teacher=("t",), zooms=(1.0, 1.5))),
    ],
)
def test_options_come_back_from_json(options: Training | Distillation) -> None:
    assert from_json(type(options), json.loads(json.dumps(to_json(options)))) == options


@pytest.mark.parametrize("verb", [["train"], ["distill"], ["prune", "fastdepth"]])
def test_a_folder_that_is_not_there_is_named_before_other_flags_are_asked_for(
    verb: list[str], tmp_path: Path, capsys: Captured
) -> None:
    assert main([*verb, "--resume", "--out", str(tmp_path / "nowhere")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"there is no run in {tmp_path / 'nowhere'}" in line
