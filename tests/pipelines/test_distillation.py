"""`leadline distill`: a student, a teacher, images with and without depth, from the command to the weight file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from support.tiny_scenes import render, write_folder

from leadline.cli.main import main
from leadline.cli.train import run_training as train
from leadline.core.errors import BadData, BadImage, TrainingFailed
from leadline.data.options import View
from leadline.distill.options import Distillation, ExternalModel, TeacherOptions
from leadline.nn import zoo
from leadline.nn.build import build
from leadline.nn.checkpoint import load, read_provenance, save
from leadline.pipelines.distill import teacher_supervision
from leadline.pipelines.training_setup import parts
from leadline.training.options import FitOptions, Training

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`rooms` with depth, `photos` without, a teacher, and what it says of both, as label sets."""
    root = tmp_path_factory.mktemp("place")
    write_folder(root / "rooms", [render(seed, size=(72, 96)) for seed in range(6)])
    write_folder(root / "photos", [render(seed, size=(72, 96)) for seed in range(20, 25)])
    shutil.rmtree(root / "photos" / "depth")
    net = build(zoo.litedepth(), seed=4)
    net.head.start_at(3.0)
    save(net, root / "teacher.safetensors", provenance={"licences": ["the teacher's"]})
    for name in ("rooms", "photos"):
        out = str(root / "labels" / name)
        words = ["label", str(root / name), "--teacher", str(root / "teacher.safetensors"), "--out", out]
        assert main([*words, "--licences", f"{name}'"]) == 0
    return root


def run(place: Path, out: Path, data: tuple[str, ...] = ("rooms:2",), **changes: object) -> Training:
    fit = FitOptions(steps=2, precision="no", log_every=1)
    plain = {"model": "litedepth", "batch": 4, "val_every": 0, "workers": 0, "view": View(size=(64, 96)), "fit": fit}
    plain |= {"loss": ("log_l1",), **changes}
    return Training(data=tuple(str(place / one) for one in data), out=out, **plain)  # type: ignore[arg-type]


def labels(place: Path) -> tuple[Path, ...]:
    return place / "labels" / "rooms", place / "labels" / "photos"


def test_labelled_and_unlabelled_images_share_a_batch(place: Path, tmp_path: Path) -> None:
    training = run(place, tmp_path / "run")
    how = Distillation(unlabelled=(f"{place / 'photos'}:2",), labels=labels(place))
    made = parts(training, supervision=teacher_supervision(training, how))
    batch = next(made.loading(workers=0)(0))
    assert batch.valid.flatten(1).any(1).tolist() == [True, True, False, False]
    assert (batch.pseudo_depth > 0).flatten(1).any(1).all()
    value, logs = made.loss(made.net, batch)
    assert torch.isfinite(value) and set(logs) == {"truth", "distilled", "unlabelled"}


def test_the_weight_file_names_the_teacher_the_images_and_under_which_terms(place: Path, tmp_path: Path) -> None:
    training = run(place, tmp_path / "run", licences=("the data's",))
    train(training, distillation=Distillation(unlabelled=(f"{place / 'photos'}:2",), labels=labels(place)))
    said = read_provenance(tmp_path / "run" / "litedepth.safetensors")
    assert said["licences"] == ["the data's", "photos'", "rooms'", "the teacher's"]
    sets = said["distillation"]["label_sets"]
    assert [(one["data"], one["n"], one["teacher"]["name"]) for one in sets] == [
        ("rooms train", 5, "litedepth"),
        ("photos train", 5, "litedepth"),
    ]
    assert said["distillation"]["label_weight"] == 0.1 and str(tmp_path) not in json.dumps(said["distillation"])


def test_a_photograph_that_cannot_be_read_is_left_out_and_named(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As `leadline label` does; an image with depth that cannot be read stops the run."""
    for name in ("photos", "rooms"):
        shutil.copytree(place / name, tmp_path / name)
        bad = tmp_path / name / "images" / "002.png"
        bad.write_bytes(bad.read_bytes()[:200])
    how = Distillation(
        unlabelled=(f"{tmp_path / 'photos'}:2",), teachers=TeacherOptions(teacher=(str(place / "teacher.safetensors"),))
    )
    train(run(place, tmp_path / "run"), distillation=how)
    assert "left out 1 of 5 images that cannot be read: " in capsys.readouterr().err
    images = json.loads((tmp_path / "run" / "run.json").read_text())["images"]
    assert images[1] == ["photos train", 4]
    with pytest.raises(BadImage, match=r"002\.png cannot be decoded"):
        train(run(tmp_path, tmp_path / "other"), distillation=how)


def test_a_student_can_learn_from_photographs_alone(place: Path, tmp_path: Path) -> None:
    training = run(place, tmp_path / "run", data=(), val_every=2)  # of what has no depth, none is validated on
    net, _ = train(training, distillation=Distillation(unlabelled=(f"{place / 'photos'}:4",), labels=labels(place)[1:]))
    assert (tmp_path / "run" / "litedepth.safetensors").exists()
    made = parts(
        training,
        supervision=teacher_supervision(
            training, Distillation(unlabelled=(f"{place / 'photos'}:4",), labels=labels(place)[1:])
        ),
    )
    assert 1.5 < float(made.net(torch.rand(1, 3, 64, 96)).mean().detach()) < 4, (
        "it starts where the teacher's answers are"
    )
    assert net.spec.preprocess.size == (64, 96)


def test_a_labelled_set_without_labels_has_its_own_depth(place: Path, tmp_path: Path) -> None:
    training = run(place, tmp_path / "run")
    made = parts(
        training,
        supervision=teacher_supervision(
            training, Distillation(unlabelled=(f"{place / 'photos'}:2",), labels=labels(place)[1:])
        ),
    )
    batch = next(made.loading(workers=0)(0))
    assert (batch.pseudo_depth > 0).flatten(1).any(1).tolist() == [False, False, True, True]


def test_a_teacher_that_is_asked_sees_what_the_student_sees(place: Path, tmp_path: Path) -> None:
    """A student that is the teacher has nothing to learn from it about any cut-out."""
    teacher = place / "teacher.safetensors"
    training = run(place, tmp_path / "run", model=str(teacher), view=View(size=load(teacher).spec.preprocess.size))
    how = Distillation(unlabelled=(f"{place / 'photos'}:2",), teachers=TeacherOptions(teacher=(str(teacher),)))
    made = parts(training, supervision=teacher_supervision(training, how))
    batch = next(made.loading(workers=0)(0))
    assert not batch.valid[2:].any()
    _, logs = made.loss(made.net.eval(), batch)
    assert logs["distilled"] < 1e-4 and logs["unlabelled"] < 1e-4 < logs["truth"]


@pytest.mark.parametrize("transform", ["view", "fastdepth", "litedepth", "hu"])
def test_a_teacher_can_be_asked_about_what_any_list_of_changes_makes(
    place: Path, tmp_path: Path, transform: str
) -> None:
    """Some make depth that is larger or smaller than the picture."""
    training = run(place, tmp_path / "run", transform=transform)
    how = Distillation(
        unlabelled=(f"{place / 'photos'}:2",),
        features=("affinity",),
        teachers=TeacherOptions(teacher=(str(place / "teacher.safetensors"),)),
    )
    made = parts(training, supervision=teacher_supervision(training, how))
    value, logs = made.loss(made.net, next(made.loading(workers=0)(0)))
    assert torch.isfinite(value) and set(logs) == {"truth", "distilled", "unlabelled", "affinity"}


def test_layers_are_compared_by_a_word(place: Path, tmp_path: Path) -> None:
    words = ["distill", "--data", f"{place / 'rooms'}:2", "--unlabelled", f"{place / 'photos'}:2", "--labels"]
    words += [*map(str, labels(place)), "--teacher", str(place / "teacher.safetensors")]
    words += [
        "--features",
        "affinity",
        "hint*0.5:decoder.logits.0",
        "--warmup-distill",
        "--model",
        "litedepth",
        "--batch",
        "4",
    ]
    words += [
        "--loss",
        "log_l1",
        "--val-every",
        "0",
        "--workers",
        "0",
        "--fit.steps",
        "2",
        "--out",
        str(tmp_path / "run"),
    ]
    assert main(words) == 0
    curves = list((tmp_path / "run" / "tensorboard").iterdir())
    assert curves and load(tmp_path / "run" / "litedepth.safetensors").spec.name == "litedepth"


@pytest.mark.parametrize("augment", ["workers", "device"])
def test_what_is_no_part_of_the_picture_is_not_taught(place: Path, tmp_path: Path, augment: str) -> None:
    view = View(size=(64, 96), rotate=30, jitter=0)
    training = run(place, tmp_path / "run", ("rooms:4",), view=view, augment=augment)
    made = parts(
        training,
        supervision=teacher_supervision(
            training, Distillation(teachers=TeacherOptions(teacher=(str(place / "teacher.safetensors"),)))
        ),
    )
    batch = next(made.loading(workers=0)(0))
    if made.finish is not None:
        batch = made.finish(batch, torch.device("cpu"))
    inside = (batch.pseudo_depth > 0)[:, 0]
    black = batch.image.amax(1) == 0
    assert 0.5 < inside.float().mean() < 0.99 and not black[inside].any()
    assert black[~inside].float().mean() > 0.95, "but for a line of pixels that lie half outside"


def test_a_fresh_net_starts_where_the_teachers_answers_are(place: Path, tmp_path: Path) -> None:
    training = run(place, tmp_path / "run", data=())
    how = Distillation(
        unlabelled=(f"{place / 'photos'}:4",), teachers=TeacherOptions(teacher=(str(place / "teacher.safetensors"),))
    )
    made = parts(training, supervision=teacher_supervision(training, how))
    batch = next(made.loading(workers=0)(0))
    assert not batch.valid.any()
    with torch.no_grad():
        answer, own = (float(net.eval()(batch.image).mean()) for net in (load(place / "teacher.safetensors"), made.net))
    assert 0.5 * answer < own < 1.5 * answer


def test_what_is_chosen_on_is_not_learned_from_by_another_door(place: Path, tmp_path: Path) -> None:
    rooms = write_folder(tmp_path / "many", [render(seed, size=(48, 64)) for seed in range(45)])
    training = run(tmp_path, tmp_path / "run", data=("many:2",), val_every=2)
    how = Distillation(
        unlabelled=(f"{rooms}:2",), teachers=TeacherOptions(teacher=(str(place / "teacher.safetensors"),))
    )
    made = parts(training, supervision=teacher_supervision(training, how))
    assert made.validation is not None and len(made.validation)
    batches, chosen = made.loading(workers=0)(0), {key.name for key in made.validation.keys}
    assert not {name for _ in range(15) for name in next(batches).name} & chosen


def test_what_is_chosen_on_does_not_depend_on_what_the_teacher_left_out(place: Path, tmp_path: Path) -> None:
    rooms = write_folder(tmp_path / "many", [render(seed, size=(48, 64)) for seed in range(45)])
    first = sorted(p for p in (rooms / "images").iterdir() if p.is_file())[0]
    content = first.read_bytes()
    first.write_bytes(content[:40])
    words = ["label", str(rooms), "--teacher", str(place / "teacher.safetensors"), "--out", str(tmp_path / "labels")]
    assert main(words) == 0
    first.write_bytes(content)
    training = run(tmp_path, tmp_path / "run", data=("many:4",), val_every=2)
    plain = parts(training).validation
    with_teacher = parts(
        training, supervision=teacher_supervision(training, Distillation(labels=(tmp_path / "labels",)))
    ).validation
    assert plain is not None and with_teacher is not None
    assert [key.name for key in with_teacher.keys] == [key.name for key in plain.keys]


def test_a_run_that_has_nothing_to_learn_from_fails(place: Path, tmp_path: Path) -> None:
    """Of nothing is the teacher as sure as that."""
    how = Distillation(
        unlabelled=(f"{place / 'photos'}:4",),
        teachers=TeacherOptions(teacher=(str(place / "teacher.safetensors"),), flip=True),
        min_confidence=1,
    )
    with pytest.raises(TrainingFailed, match=r"no batch had anything to learn from"):
        train(run(place, tmp_path / "run", (), pretrained=True), distillation=how)


def test_a_folder_of_depth_maps_cannot_be_asked_about_cut_outs(place: Path, tmp_path: Path) -> None:
    how = TeacherOptions(
        teacher=(str(place / "rooms" / "depth"),), external=ExternalModel(kind="metric", depth_scale=1000)
    )
    with pytest.raises(ValueError, match=r"knows whole pictures, .*: run `leadline label` with it first"):
        teacher_supervision(run(place, tmp_path / "run"), Distillation(teachers=how))


def test_label_sets_that_have_no_part_in_it_are_refused(place: Path, tmp_path: Path) -> None:
    training = run(place, tmp_path / "run", ("rooms:4",))
    with pytest.raises(BadData, match=r"one or more are about none of rooms train"):
        parts(training, supervision=teacher_supervision(training, Distillation(labels=labels(place))))
    how = Distillation(labels=labels(place)[:1], teachers=TeacherOptions(teacher=(str(place / "teacher.safetensors"),)))
    with pytest.raises(ValueError, match=r"label sets are given, so .* would never be used"):
        teacher_supervision(training, how)
    with pytest.raises(ValueError, match=r"weighting is dynamic, which distillation has no use for"):
        teacher_supervision(run(place, tmp_path / "run", weighting="dynamic"), Distillation(labels=labels(place)[:1]))
